"""Launches the kernels of ``kernel.py``: one program for each job, KV head and layer."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import triton

from ..pages import BLOCK, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues, PageLayout
from ..validation import HALF_TYPES, check_half_blocks
from .kernel import SIZES, pack_keys_kernel, pack_values_kernel
from .random_scores import random_scores

PAGE = 128
MAX_HEAD_DIM = 256
CHANNELS_PER_WARP = 32  # 128 elements a thread


class _Choice(NamedTuple):
    """How boosted channels are chosen."""

    selection: str = "magnitude"
    seed: int = 0
    weights: torch.Tensor | None = None  # float32 [LAYERS, HKV, D], or of each row [rows, D], contiguous


_NONE = _Choice()


class _Source(NamedTuple):
    """Where the tokens of pages lie; what is None is not there."""

    new: torch.Tensor | None = None  # [rows, HKV, S, D]
    first_new: torch.Tensor | None = None
    starts: torch.Tensor | None = None
    jobs: torch.Tensor | None = None  # None: row n has one page, n
    blocks: torch.Tensor | None = None  # [LAYERS, NB, HKV, BLOCK, D]
    table: torch.Tensor | None = None
    rows: int = 0
    sink_tokens: int = 0


def pack_keys(
    keys: torch.Tensor, *, boosted: int, selection: str, seed: int, weights: torch.Tensor | None
) -> PackedKeys:
    """See ``api.pack_keys``."""
    layout = PageLayout(keys.shape[-1], boosted, keys.shape[-2])
    weights = None if weights is None else weights.reshape(-1, layout.head_dim).contiguous()
    return layout.keys(_pack_pages(keys, "keys", layout, _Choice(selection, seed, weights)))


def pack_values(values: torch.Tensor) -> PackedValues:
    """See ``api.pack_values``."""
    layout = PageLayout(values.shape[-1], 0, values.shape[-2])
    return layout.values(_pack_pages(values, "values", layout))


def pack_cached(
    view: CacheView,
    jobs: torch.Tensor,
    *,
    kind: str,
    new: torch.Tensor | None,
    first_new: torch.Tensor | None,
    starts: torch.Tensor | None,
    selection: str,
    seed: int,
    weights: torch.Tensor | None,
) -> None:
    """See ``api.pack_cached``. New tokens of another dtype than the blocks' are converted first, in a copy."""
    pools = {name: getattr(view, name).unsqueeze(0) for name in ("blocks", "key_pages", "value_pages")}
    new = None if new is None else new.to(view.blocks.dtype)
    choice = _Choice(selection, seed, weights)
    _pack_jobs(view._replace(**pools), jobs, kind, choice, new, first_new, starts)


def flush_layers(
    view: CacheView, jobs: torch.Tensor, *, kind: str, selection: str, seed: int, weights: torch.Tensor | None
) -> None:
    """See ``api.flush_layers``."""
    _pack_jobs(view, jobs, kind, _Choice(selection, seed, weights))


def _pack_pages(x: torch.Tensor, kind: str, layout: PageLayout, choice: _Choice = _NONE) -> torch.Tensor:
    """Packs ``[..., PAGE, D]`` to records, each page as a row of its own; copies x only if it has no such view."""
    if x.dtype not in HALF_TYPES:
        raise TypeError(
            f"Cannot pack {kind} with impl='triton': {kind} must be float16 or bfloat16, got {x.dtype}; "
            "convert them or choose impl='reference'."
        )
    rows = x.reshape(-1, 1, *x.shape[-2:])
    rows = rows if rows.stride(-1) == 1 else rows.contiguous()
    size = layout.key_bytes if kind == "keys" else layout.value_bytes
    records = torch.empty(*x.shape[:-2], size, dtype=torch.uint8, device=x.device)
    pages = records.view(1, rows.shape[0], 1, size)
    _run(kind, layout, pages, _Source(new=rows, rows=rows.shape[0]), choice)
    return records


def _pack_jobs(
    view: CacheView,
    jobs: torch.Tensor,
    kind: str,
    choice: _Choice,
    new: torch.Tensor | None = None,
    first_new: torch.Tensor | None = None,
    starts: torch.Tensor | None = None,
) -> None:
    check_half_blocks("pack pages", view)
    is_keys, rows = kind == "keys", view.lengths.shape[0]
    table = view.key_block_table if is_keys else view.value_block_table
    source = _Source(new, first_new, starts, jobs.contiguous(), view.blocks, table, rows, view.sink_tokens)
    _run(kind, view.layout, view.key_pages if is_keys else view.value_pages, source, choice)


def _run(kind: str, layout: PageLayout, pages: torch.Tensor, source: _Source, choice: _Choice) -> None:
    """Launches one program for each job, head and layer; pages are ``[LAYERS, N, HKV, bytes]``."""
    if layout.page_size != PAGE or layout.head_dim > MAX_HEAD_DIM:
        raise ValueError(
            f"Cannot pack {kind} with impl='triton': it packs {PAGE} tokens a page and head_dim up to {MAX_HEAD_DIM}, "
            f"got {layout.page_size} and {layout.head_dim}; choose impl='reference'."
        )
    if source.blocks is not None and source.blocks.stride(3) != layout.head_dim:
        raise ValueError(
            f"Cannot pack {kind} with impl='triton': the tokens of a block must lie {layout.head_dim} elements apart, "
            f"got blocks with stride {source.blocks.stride(3)}."
        )
    new, blocks, table, jobs, is_keys = source.new, source.blocks, source.table, source.jobs, kind == "keys"
    new = None if new is None or not new.shape[2] else new
    layers, _, kv_heads = pages.shape[:3]
    grid = ((source.rows if jobs is None else jobs.shape[0]) * kv_heads, layers)
    has_ring = blocks is not None and blocks.shape[1] > 0
    if 0 in grid or (new is None and not has_ring):
        return
    sizes = dict.fromkeys(SIZES, 0) | {"kv_heads": kv_heads, "rows": source.rows, "pages": pages.shape[1]}
    sizes["sink_tokens"] = source.sink_tokens
    new_strides, block_strides, table_stride = (0, 0, 0), (0, 0, 0, 0), 0
    if new is not None:
        sizes["new_tokens"], new_strides = new.shape[2], new.stride()[:3]
    if has_ring:
        sizes |= {"ring": table.shape[1] - -(-source.sink_tokens // BLOCK), "blocks": blocks.shape[1]}
        block_strides, table_stride = _layer_strides(blocks), table.stride(0)
    strides = (*new_strides, *block_strides, table_stride, *_layer_strides(pages)[:3])
    columns = triton.next_power_of_2(layout.head_dim if is_keys else layout.head_dim // FIELDS_PER_BYTE)
    columns = max(columns, 16 if is_keys else 4)
    options = {
        "HEAD_DIM": layout.head_dim, "PAGE": PAGE, "BLOCK": BLOCK, "COLUMNS": columns,
        "HAS_JOBS": jobs is not None, "HAS_NEW": new is not None, "HAS_RING": has_ring,
        "num_warps": max(1, columns // (CHANNELS_PER_WARP if is_keys else CHANNELS_PER_WARP // FIELDS_PER_BYTE)),
        "enable_fp_fusion": False,  # rounding is the result here
    }  # fmt: skip
    pointers = (new, blocks, pages, jobs, table, source.first_new, source.starts)
    with torch.cuda.device_of(pages):
        if is_keys:
            scores = choice.weights
            if choice.selection == "random":
                scores = _random_scores(layout.head_dim, choice.seed, pages.device)
            pack_keys_kernel[grid](
                *pointers, scores, layout.head_dim, *sizes.values(), *strides, **options, SCALE_OFFSET=layout.key_scale_offset,
                BOOSTED=layout.boosted, SELECTION=choice.selection, HIGH_OFFSET=layout.key_high_offset,
                CHANNELS_OFFSET=layout.key_channels_offset, RECORD=layout.key_bytes, STRIDE_NS=new_strides[2],
                BOOSTED_BLOCK=triton.next_power_of_2(max(layout.boosted, 1)),
                maxnreg=96 if new is None else 128,  # five or four programs of four warps a multiprocessor
            )  # fmt: skip
        else:
            pack_values_kernel[grid](
                *pointers, *sizes.values(), *strides, **options, SCALE_OFFSET=layout.value_scale_offset
            )


def _layer_strides(pool: torch.Tensor) -> tuple[int, ...]:
    # Of one layer it would say how large the pool is.
    return (0 if pool.shape[0] == 1 else pool.stride(0), *pool.stride()[1:4])


@functools.lru_cache(maxsize=16)
def _random_scores(head_dim: int, seed: int, device: torch.device) -> torch.Tensor:
    """Copied to the device once, so that a CUDA graph can be captured after a first call."""
    return random_scores(head_dim, seed).to(device)
