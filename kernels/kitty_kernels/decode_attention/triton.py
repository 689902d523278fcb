"""Launches the split attention and the merge; see kernel.py."""

from __future__ import annotations

import dataclasses
import functools
import os

import torch
import triton

from ..pages import CacheView
from .api import MAX_TRITON_QUERIES
from .kernel import decode_kernel
from .merge_kernel import merge_kernel

# Pages whose ids a program keeps in registers at a time.
_MAX_PAGES = 64
# Blocks likewise.
_MAX_BLOCKS = 32
# Warps of about 250 registers that a multiprocessor holds at once.
_WARPS_A_MULTIPROCESSOR = 8
# Pages that cost as much as what is in 16 bits without a window: the sinks, a page whose values are not packed yet, a tail.
_MORE_PAGES = 8
_MAX_BLOCK_SPLITS = 256
# Floats of partial outputs that a merging warp reads at once.
_MERGED_AT_ONCE = 1024
# Left to itself, the assembler may stop at 168 registers, to fit more warps, and spill.
_MAX_REGISTERS = 255


def decode_attention(
    query: torch.Tensor,
    view: CacheView,
    *,
    scaling: float,
    first_positions: torch.Tensor | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """See ``api.decode_attention``."""
    _check(query, view)
    # Triton launches on the current device, which need not be the tensors' where a model lies on several.
    with torch.cuda.device_of(query):
        return _launch(query, view, scaling, first_positions, window, softcap)


def _launch(
    query: torch.Tensor,
    view: CacheView,
    scaling: float,
    first_positions: torch.Tensor | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    batch, query_heads, new_tokens, head_dim = query.shape
    kv_heads = view.blocks.shape[1]
    layout = view.layout
    queries = query_heads // kv_heads * new_tokens
    columns = columns_of(queries, head_dim)
    warps = warps_of(columns, head_dim)
    column_blocks = triton.cdiv(queries, columns)
    pages = min(view.key_table.shape[1], view.value_table.shape[1])
    splits = choose_splits(batch * kv_heads * column_blocks * warps, pages, multiprocessors(query.device))
    if query.stride(3) != 1:
        query = query.contiguous()
    out = torch.empty((batch, query_heads, new_tokens, head_dim), dtype=query.dtype, device=query.device)
    partial = torch.empty(batch * kv_heads * queries, splits, head_dim, dtype=torch.float32, device=query.device)
    lse = torch.empty(batch * kv_heads * queries, splits, dtype=torch.float32, device=query.device)
    constants = kernel_constants(layout, view.sink_tokens, kv_heads, query_heads // kv_heads, columns)
    widths = view.key_table.shape[1], view.value_table.shape[1]
    blocks = view.key_block_table.shape[1], view.value_block_table.shape[1]
    launch = launch_options(query.device)
    # Elsewhere reading ahead makes the assembler spill registers.
    reads_ahead = _capability(query.device) >= 90 and head_dim <= 128 and _takes_eight_columns()
    decode_kernel[(batch * kv_heads, splits, column_blocks)](
        query, partial, lse, view.lengths, view.lengths if first_positions is None else first_positions,
        view.key_pages, view.key_table, view.key_page_counts,
        view.value_pages, view.value_table, view.value_page_counts,
        view.blocks, view.key_block_table, view.value_block_table,
        query.stride(0), query.stride(1), query.stride(2),
        view.key_table.stride(0), view.value_table.stride(0),
        view.key_block_table.stride(0), view.value_block_table.stride(0),
        scaling, 1.0 if softcap is None else softcap, 0 if window is None else window,
        *widths, *blocks, new_tokens, queries, splits,
        HAS_FIRST=first_positions is not None, HAS_WINDOW=window is not None, HAS_SOFTCAP=softcap is not None,
        HAS_PTX=query.device.type == "cuda", IS_SHORT=reads_ahead and max(widths) <= _MAX_PAGES,
        TILE_STAGES=2 if reads_ahead else 1,
        MAX_BLOCKS=_MAX_BLOCKS if reads_ahead and max(blocks) <= _MAX_BLOCKS else 0,
        **constants, **launch, num_warps=warps, maxnreg=_MAX_REGISTERS,
    )  # fmt: skip
    # All partial outputs of a query are on their way at once.
    block_splits = min(_MAX_BLOCK_SPLITS, triton.next_power_of_2(splits))
    channels = min(constants["BLOCK_D"], max(16, _MERGED_AT_ONCE // block_splits))
    merge_kernel[(batch * kv_heads * queries, triton.cdiv(head_dim, channels))](
        partial, lse, out, splits, queries, new_tokens, out.stride(0), out.stride(1), out.stride(2),
        HKV=kv_heads, GROUP=query_heads // kv_heads, D=head_dim, CHANNELS=channels, BLOCK_SPLITS=block_splits,
        **launch, num_warps=max(1, block_splits * channels // _MERGED_AT_ONCE),
    )  # fmt: skip
    return out


@functools.cache
def launch_options(device: torch.device) -> dict[str, bool]:
    """Programmatic dependent launch, where the GPU and Triton have it: a kernel starts while the one before it ends."""
    has_it = not _is_interpreted() and _capability(device) >= 90 and _knows_dependent_launch()
    return {"HAS_PDL": True, "launch_pdl": True} if has_it else {"HAS_PDL": False}


def kernel_constants(layout, sink_tokens: int, kv_heads: int, group: int, columns: int) -> dict[str, int]:
    """The constants that specialize ``decode_kernel``, for a launch or for compiling ahead of time."""
    return {
        "HKV": kv_heads,
        "GROUP": group,
        "D": layout.head_dim,
        "DB": layout.boosted,
        "NQ": columns,
        "SINK": sink_tokens,
        "KEY_HIGH": layout.key_high_offset,
        "KEY_SCALE": layout.key_scale_offset,
        "KEY_MINIMUM": layout.key_minimum_offset,
        "KEY_CHANNELS": layout.key_channels_offset,
        "KEY_BYTES": layout.key_bytes,
        "VALUE_SCALE": layout.value_scale_offset,
        "VALUE_BYTES": layout.value_bytes,
        # A tensor core takes 32 bytes of each side at a time, and 16 rows. Not smaller than 64 for small heads: Triton 3.6
        # computes wrong products of an int8 [32, 8] operand there (seen on SM 9.0 only; the tests of head_dim 64 catch it).
        "BLOCK_D": max(64, triton.next_power_of_2(layout.head_dim)),
        "BLOCK_DB": max(64 if layout.head_dim <= 64 else 32, triton.next_power_of_2(layout.boosted)),
        "BLOCK_VR": max(16, triton.next_power_of_2(layout.head_dim // 4)),
        "MAX_PAGES": _MAX_PAGES,
        "STAGES": 2,
    }


def columns_of(queries: int, head_dim: int) -> int:
    """How many queries a program serves: two columns each, and a tensor core has 8; early Triton wants 16."""
    least = 4 if _takes_eight_columns() else 8
    # Eight queries of more than 128 channels do not fit into registers. Of up to 64 they are not proven: on an H200 the tiny Qwen3
    # of the plug-in's table (D 32, 16 new tokens, float16) was further from float64 than rounding explains, and four were not.
    most = 8 if 64 < head_dim <= 128 else least
    return max(least, min(most, triton.next_power_of_2(queries)))


def warps_of(columns: int, head_dim: int) -> int:
    """Warps of a program: as few as hold it without spilling registers (``kitty_kernels.ahead_of_time`` checks it)."""
    return 2 if columns > 4 or head_dim > 128 else 1


def choose_splits(warps: int, pages: int, multiprocessors: int) -> int:
    """Splits of a row's work: as many as the GPU holds at once, none without work.

    ``warps`` are those of one split of everything; ``pages`` is what the tables hold, not what rows use: those counts stay on the device.
    """
    work = pages + _MORE_PAGES
    room = multiprocessors * _WARPS_A_MULTIPROCESSOR // warps
    return max(min(room, work), 1)


@functools.cache
def multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


@functools.cache
def _capability(device: torch.device) -> int:
    """Of the GPU that Triton compiles for, 90 for SM 9.0."""
    return 90 if _is_interpreted() else triton.runtime.driver.active.get_current_target().arch


def _is_interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _knows_dependent_launch() -> bool:
    from triton.backends.nvidia.compiler import CUDAOptions

    return any(field.name == "launch_pdl" for field in dataclasses.fields(CUDAOptions))


@functools.cache
def _triton_version() -> tuple[int, ...]:
    return tuple(int(part) for part in triton.__version__.split(".")[:2])


@functools.cache
def _takes_eight_columns() -> bool:
    return _triton_version() >= (3, 2) or _is_interpreted()


def _check(query: torch.Tensor, view: CacheView) -> None:
    if query.shape[2] > MAX_TRITON_QUERIES:
        raise ValueError(
            f"Cannot attend with impl='triton': query has {query.shape[2]} tokens a row, the kernel takes 1 to "
            f"{MAX_TRITON_QUERIES}; attend a longer chunk densely, or use impl='reference'."
        )
    if query.dtype not in (torch.float16, torch.bfloat16):
        raise TypeError(f"Cannot attend with impl='triton': query must be float16 or bfloat16, got {query.dtype}.")
    if view.blocks.dtype != query.dtype:
        raise TypeError(
            f"Cannot attend with impl='triton': query is {query.dtype}, the cache's blocks {view.blocks.dtype}; "
            "they must be the same."
        )
    if view.layout.page_size != 128:
        raise ValueError(f"Cannot attend with impl='triton': page_size must be 128, got {view.layout.page_size}.")
    if view.layout.head_dim % 4 or view.layout.head_dim > 256:
        raise ValueError(
            f"Cannot attend with impl='triton': head_dim must be a multiple of 4 up to 256, got {view.layout.head_dim}."
        )
