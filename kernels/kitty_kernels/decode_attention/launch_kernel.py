"""What the kernels of an attention share about their launch."""

from __future__ import annotations

import triton
import triton.language as tl

# Counts that change as rows grow must not compile anything anew.
NOT_SPECIALIZED = (
    "stride_kt", "stride_vt", "stride_kb", "stride_vb", "window", "key_width", "value_width", "key_blocks", "value_blocks",
    "new_tokens", "queries", "splits",
)  # fmt: skip


@triton.jit
def await_last_kernel(HAS_PDL: tl.constexpr):
    """Lets the next kernel of the stream start launching, and waits until the last one has ended and its writes are seen."""
    if HAS_PDL:
        tl.inline_asm_elementwise(
            "griddepcontrol.wait; griddepcontrol.launch_dependents; mov.u32 $0, 0;",
            "=r",
            [],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
