"""What kernels and operations are for, by their names."""

from __future__ import annotations

import re

# The first that fits counts.
_PATTERNS = {
    "attention": r"decode_kernel|merge_kernel|await_last_kernel|scaled_dot_product|_attention|flash|fmha",
    "append and pack": r"append_kernel|pack_keys_kernel|pack_values_kernel|dequantize",
    "matmul": r"gemm|gemv|cutlass|nvjet|cublas|splitk|xmma|aten::(mm|bmm|addmm|baddbmm|linear|matmul|dot|mv)$|mkldnn|triton_\w*_mm",
    "sampling": r"argmax|maxops|topk|multinomial|isfinite|aten::(max|sort|searchsorted|item|_local_scalar_dense)$",
    "copies": r"memcpy|memset|catarray|aten::(copy_|cat|clone|contiguous|_to_copy|to|index_copy_|stack)$",
    "norms and elementwise": r"triton_(poi|red|per)_|elementwise|reduce_kernel|unrolled|vectorized|index|silu|"
    r"aten::(add|sub|mul|div|neg|pow|mean|rsqrt|silu|sum|cos|sin|exp|softmax|_softmax|where|tril|masked_fill|amax)_?$",
}
GROUPS = (*_PATTERNS, "other")


def group_of(name: str) -> str:
    """One of ``GROUPS`` for the name of a GPU kernel, or of a torch operation on a CPU."""
    return next((group for group, pattern in _PATTERNS.items() if re.search(pattern, name, re.IGNORECASE)), "other")
