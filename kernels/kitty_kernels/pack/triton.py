"""Selects, scales, rounds and packs one page of one KV head a program; the formulas are those of ``reference.py``.

Legend: B batch, HKV KV heads, S new tokens, D head_dim, DB boosted channels, PAGE tokens of a page. A page is loaded as
four tiles, since field f of a byte holds row ``i + rows f``: bytes are made of four tiles without moving an element.

    keys    tile f = tokens 32 f .. 32 f + 31       byte (i, d) = codes of tokens i, i + 32, i + 64, i + 96 of channel d
    values  tile f = channels (D/4) f ..            byte (i, t) = codes of channels i, i + D/4, i + D/2, i + 3D/4 of token t
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from ..codec.triton import greater, high_byte, highest, lesser, low_byte, probably_highest, scale_of, widened
from ..common.triton import load_half, load_rows, page_in_new, token_pointers
from ..pages import BLOCK, FIELDS_PER_BYTE, CacheView, PackedKeys, PackedValues, PageLayout
from ..validation import HALF_TYPES
from .random_scores import random_scores

PAGE = 128
MAX_HEAD_DIM = 256
CHANNELS_PER_WARP = 32  # 128 elements a thread
# Pools and prompts grow; that must not compile a kernel anew.
SIZES = ["rows", "pages", "new_tokens", "sink_tokens", "ring", "blocks"]


@triton.jit
def job_of(jobs_ptr, rows, pages, HAS_JOBS: tl.constexpr):
    """Row, page index, destination, and whether they exist; without jobs, program n packs row n to page n."""
    index = tl.program_id(0)
    row, page, destination = index, index * 0, index
    if HAS_JOBS:
        row = tl.load(jobs_ptr + index * 3)
        page = tl.load(jobs_ptr + index * 3 + 1)
        destination = tl.load(jobs_ptr + index * 3 + 2)
    exists = (row >= 0) & (row < rows) & (page >= 0) & (destination >= 0) & (destination < pages)
    return row.to(tl.int64), page, destination.to(tl.int64), exists


@triton.jit
def exact_choice(
    scratch_ptr, head_dim, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
    stride_bn, stride_bt, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr,
    COLUMNS: tl.constexpr, PAGE: tl.constexpr, BOOSTED: tl.constexpr, IS_VARIANCE: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """The boosted channels by sums of ``|x|`` or ``(x - mean)^2`` in float64 and in token order, int1 ``[COLUMNS]``."""
    one = tl.arange(0, 1)
    total, mean = tl.zeros((1, COLUMNS), tl.float64), tl.zeros((1, COLUMNS), tl.float64)
    if IS_VARIANCE:
        for t in range(PAGE):
            pointers, exists = token_pointers(
                new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
                stride_bn, stride_bt, t + one, HAS_NEW, HAS_RING, BLOCK,
            )  # fmt: skip
            mean += load_rows(pointers, exists, HEAD_DIM, COLUMNS, VECTOR).to(tl.float64)
        mean *= 1.0 / PAGE
    for t in range(PAGE):
        pointers, exists = token_pointers(
            new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
            stride_bn, stride_bt, t + one, HAS_NEW, HAS_RING, BLOCK,
        )  # fmt: skip
        x = load_rows(pointers, exists, HEAD_DIM, COLUMNS, VECTOR).to(tl.float64)
        total += (x - mean) * (x - mean) if IS_VARIANCE else tl.abs(x)
    return highest(tl.sum(total, 0), scratch_ptr, head_dim, BOOSTED, COLUMNS)


@triton.jit
def store_channels(
    record_ptr, selected, CHANNELS_OFFSET: tl.constexpr, BOOSTED: tl.constexpr, RECORD: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Stores the boosted channels and the padding behind them; returns each one's place among them."""
    channel, tail = tl.arange(0, COLUMNS), tl.arange(0, 16)
    place = tl.cumsum(selected.to(tl.int32), 0) - 1
    tl.store(record_ptr + CHANNELS_OFFSET + place, channel.to(tl.uint8), mask=selected)
    end = CHANNELS_OFFSET + BOOSTED + tail
    tl.store(record_ptr + end, tl.zeros((16,), tl.uint8), mask=end < RECORD)
    return place


@triton.jit(do_not_specialize=SIZES)
def pack_keys_kernel(
    new_ptr, blocks_ptr, pages_ptr, jobs_ptr, table_ptr, first_new_ptr, starts_ptr, scores_ptr, head_dim,
    rows, pages, new_tokens, sink_tokens, ring, blocks, stride_nb, stride_nh, stride_ns, stride_bl, stride_bn, stride_bh,
    stride_bt, stride_tb, stride_pl, stride_pn, stride_ph,
    HEAD_DIM: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, SCALE_OFFSET: tl.constexpr, COLUMNS: tl.constexpr,
    HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr,
    BOOSTED: tl.constexpr, SELECTION: tl.constexpr, HIGH_OFFSET: tl.constexpr, CHANNELS_OFFSET: tl.constexpr,
    RECORD: tl.constexpr,
):  # fmt: skip
    # program = (job, KV head, layer)
    row, page, destination, exists = job_of(jobs_ptr, rows, pages, HAS_JOBS)
    if not exists:
        return
    head, layer = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start = sink_tokens + page * PAGE
    offset, index, first = page_in_new(
        first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, stride_ns, HAS_JOBS, HAS_NEW
    )
    column = (sink_tokens + BLOCK - 1) // BLOCK
    columns = column + ring
    if HAS_NEW:
        new_ptr += offset
    if HAS_RING:
        blocks_ptr += layer * stride_bl + head * stride_bh
        table_ptr += row * stride_tb
        column += page * (PAGE // BLOCK) % ring
    record_ptr = pages_ptr + layer * stride_pl + destination * stride_pn + head * stride_ph
    half_ptr = (record_ptr + SCALE_OFFSET).to(tl.pointer_type(tl.float16))
    # Channels of a thread. More would take more registers for their thresholds, fewer would need narrower loads.
    VECTOR: tl.constexpr = 8 if COLUMNS > 128 else 4
    tl.static_assert(PAGE == 8 * BLOCK)
    channel = tl.arange(0, COLUMNS)
    x0, x1, x2, x3 = load_half(
        0, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
        HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
    )  # fmt: skip
    z0, z1, z2, z3 = load_half(
        1, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
        HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
    )  # fmt: skip
    low = lesser(lesser(lesser(x0, x1), lesser(x2, x3)), lesser(lesser(z0, z1), lesser(z2, z3)))  # [BLOCK, COLUMNS]
    high = greater(greater(greater(x0, x1), greater(x2, x3)), greater(greater(z0, z1), greater(z2, z3)))
    low, high = tl.min(low.to(tl.float32), 0), tl.max(high.to(tl.float32), 0)  # [COLUMNS]
    if BOOSTED == 0 or BOOSTED == HEAD_DIM:
        selected = channel < BOOSTED
    elif SELECTION == "range":
        selected = highest(high.to(tl.float64) - low.to(tl.float64), record_ptr, head_dim, BOOSTED, COLUMNS)
    elif SELECTION == "random":
        score = tl.load(scores_ptr + channel, mask=channel < HEAD_DIM, other=0.0)
        selected = highest(score, record_ptr, head_dim, BOOSTED, COLUMNS)
    else:
        size = tl.abs(widened(x0)) + tl.abs(widened(x1)) + tl.abs(widened(x2)) + tl.abs(widened(x3))
        size += tl.abs(widened(z0)) + tl.abs(widened(z1)) + tl.abs(widened(z2)) + tl.abs(widened(z3))
        probable, is_doubtful = probably_highest(tl.sum(size, 0), BOOSTED, HEAD_DIM, COLUMNS)
        tl.store(record_ptr + channel, probable.to(tl.uint8), mask=channel < HEAD_DIM)
        if is_doubtful or SELECTION == "variance":
            exact = exact_choice(
                record_ptr, head_dim, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
                stride_bn, stride_bt, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, PAGE, BOOSTED, SELECTION == "variance", VECTOR,
            )  # fmt: skip
            tl.store(record_ptr + channel, exact.to(tl.uint8), mask=channel < HEAD_DIM)
        # Through memory, where the record will be: a choice of two tensors would have Triton compute both twice, once for
        # the threads of each one.
        tl.debug_barrier()
        selected = tl.load(record_ptr + channel, mask=channel < HEAD_DIM, other=0) != 0
        tl.debug_barrier()
    scale, minimum = scale_of(low, high, tl.where(selected, 15.0, 3.0))
    tl.store(half_ptr + channel, scale, mask=channel < HEAD_DIM)
    tl.store(half_ptr + HEAD_DIM + channel, minimum, mask=channel < HEAD_DIM)
    place = store_channels(record_ptr, selected, CHANNELS_OFFSET, BOOSTED, RECORD, COLUMNS)
    scale, minimum = scale.to(tl.float32)[None, :], minimum.to(tl.float32)[None, :]
    for half in tl.static_range(2):
        # Read again, from the cache next to the core: a page in registers while channels are chosen would cost more.
        x0, x1, x2, x3 = load_half(
            half, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
            HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
        )  # fmt: skip
        y0, y1, y2, y3 = widened(x0) - minimum, widened(x1) - minimum, widened(x2) - minimum, widened(x3) - minimum
        i = half * BLOCK + tl.arange(0, BLOCK)
        if BOOSTED > 0:
            high_bits, y0, y1, y2, y3 = high_byte(y0, y1, y2, y3, scale, selected[None, :])
            # Transposed, because Triton lays the first of equally scattered dimensions along the threads.
            high_ptr = record_ptr + HIGH_OFFSET + i[None, :] * BOOSTED + place[:, None]
            tl.store(high_ptr, tl.trans(high_bits), mask=selected[:, None] & (i >= 0)[None, :])  # [COLUMNS, BLOCK]
        low_ptr = tl.max_contiguous(record_ptr + i[:, None] * HEAD_DIM + channel[None, :], (1, VECTOR))
        tl.store(low_ptr, low_byte(y0, y1, y2, y3, scale), mask=(channel < HEAD_DIM)[None, :] & (i >= 0)[:, None])


@triton.jit(do_not_specialize=SIZES)
def pack_values_kernel(
    new_ptr, blocks_ptr, pages_ptr, jobs_ptr, table_ptr, first_new_ptr, starts_ptr,
    rows, pages, new_tokens, sink_tokens, ring, blocks, stride_nb, stride_nh, stride_ns, stride_bl, stride_bn, stride_bh,
    stride_bt, stride_tb, stride_pl, stride_pn, stride_ph,
    HEAD_DIM: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, SCALE_OFFSET: tl.constexpr, COLUMNS: tl.constexpr,
    HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr,
):  # fmt: skip
    # program = (job, KV head, layer)
    row, page, destination, exists = job_of(jobs_ptr, rows, pages, HAS_JOBS)
    if not exists:
        return
    head, layer = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    start = sink_tokens + page * PAGE
    offset, index, first = page_in_new(
        first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, stride_ns, HAS_JOBS, HAS_NEW
    )
    column = (sink_tokens + BLOCK - 1) // BLOCK
    columns = column + ring
    if HAS_NEW:
        new_ptr += offset
    if HAS_RING:
        blocks_ptr += layer * stride_bl + head * stride_bh
        table_ptr += row * stride_tb
        column += page * (PAGE // BLOCK) % ring
    record_ptr = pages_ptr + layer * stride_pl + destination * stride_pn + head * stride_ph
    half_ptr = (record_ptr + SCALE_OFFSET).to(tl.pointer_type(tl.float16))
    QUARTER: tl.constexpr = HEAD_DIM // 4
    i, channel = tl.arange(0, PAGE), tl.arange(0, COLUMNS)
    p0, e0 = token_pointers(
        new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn, stride_bt,
        i, HAS_NEW, HAS_RING, BLOCK,
    )  # fmt: skip
    x0, x1 = load_rows(p0, e0, QUARTER, COLUMNS, 8), load_rows(p0 + QUARTER, e0, QUARTER, COLUMNS, 8)  # [PAGE, COLUMNS]
    x2, x3 = load_rows(p0 + 2 * QUARTER, e0, QUARTER, COLUMNS, 8), load_rows(p0 + 3 * QUARTER, e0, QUARTER, COLUMNS, 8)
    in_head = (channel < QUARTER)[None, :]
    low = lesser(lesser(x0, x1), lesser(x2, x3)).to(tl.float32)
    high = greater(greater(x0, x1), greater(x2, x3)).to(tl.float32)
    low = tl.min(tl.where(in_head, low, float("inf")), 1)  # [PAGE]
    high = tl.max(tl.where(in_head, high, float("-inf")), 1)
    scale, minimum = scale_of(low, high, 3.0)
    tl.store(half_ptr + i, scale)
    tl.store(half_ptr + PAGE + i, minimum)
    scale, minimum = scale.to(tl.float32)[:, None], minimum.to(tl.float32)[:, None]
    y0, y1 = widened(x0) - minimum, widened(x1) - minimum
    y2, y3 = widened(x2) - minimum, widened(x3) - minimum
    code_ptr = record_ptr + channel[None, :] * PAGE + i[:, None]
    tl.store(code_ptr, low_byte(y0, y1, y2, y3, scale), mask=in_head & (i >= 0)[:, None])


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


def pack_keys(keys: torch.Tensor, *, boosted: int, selection: str, seed: int) -> PackedKeys:
    """See ``api.pack_keys``."""
    layout = PageLayout(keys.shape[-1], boosted, keys.shape[-2])
    return layout.keys(_pack_pages(keys, "keys", layout, selection, seed))


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
) -> None:
    """See ``api.pack_cached``. New tokens of another dtype than the blocks' are converted first, in a copy."""
    pools = {name: getattr(view, name).unsqueeze(0) for name in ("blocks", "key_pages", "value_pages")}
    new = None if new is None else new.to(view.blocks.dtype)
    _pack_jobs(view._replace(**pools), jobs, kind, selection, seed, new, first_new, starts)


def flush_layers(view: CacheView, jobs: torch.Tensor, *, kind: str, selection: str, seed: int) -> None:
    """See ``api.flush_layers``."""
    _pack_jobs(view, jobs, kind, selection, seed)


def _pack_pages(
    x: torch.Tensor, kind: str, layout: PageLayout, selection: str = "magnitude", seed: int = 0
) -> torch.Tensor:
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
    _run(kind, layout, pages, _Source(new=rows, rows=rows.shape[0]), selection, seed)
    return records


def _pack_jobs(
    view: CacheView,
    jobs: torch.Tensor,
    kind: str,
    selection: str,
    seed: int,
    new: torch.Tensor | None = None,
    first_new: torch.Tensor | None = None,
    starts: torch.Tensor | None = None,
) -> None:
    is_keys, rows = kind == "keys", view.lengths.shape[0]
    table = view.key_block_table if is_keys else view.value_block_table
    source = _Source(new, first_new, starts, jobs.contiguous(), view.blocks, table, rows, view.sink_tokens)
    _run(kind, view.layout, view.key_pages if is_keys else view.value_pages, source, selection, seed)


def _run(kind: str, layout: PageLayout, pages: torch.Tensor, source: _Source, selection: str, seed: int) -> None:
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
    grid = (source.rows if jobs is None else jobs.shape[0], pages.shape[2], pages.shape[0])
    if 0 in grid:
        return
    sizes = dict.fromkeys(SIZES, 0) | {"rows": source.rows, "pages": pages.shape[1], "sink_tokens": source.sink_tokens}
    new_strides, block_strides, table_stride = (0, 0, 0), (0, 0, 0, 0), 0
    if new is not None:
        sizes["new_tokens"], new_strides = new.shape[2], new.stride()[:3]
    if blocks is not None:
        sizes |= {"ring": table.shape[1] - -(-source.sink_tokens // BLOCK), "blocks": blocks.shape[1]}
        block_strides, table_stride = _layer_strides(blocks), table.stride(0)
    strides = (*new_strides, *block_strides, table_stride, *_layer_strides(pages)[:3])
    columns = triton.next_power_of_2(layout.head_dim if is_keys else layout.head_dim // FIELDS_PER_BYTE)
    columns = max(columns, 16 if is_keys else 4)
    options = {
        "HEAD_DIM": layout.head_dim, "PAGE": PAGE, "BLOCK": BLOCK, "COLUMNS": columns,
        "HAS_JOBS": jobs is not None, "HAS_NEW": new is not None, "HAS_RING": blocks is not None,
        "num_warps": max(1, columns // (CHANNELS_PER_WARP if is_keys else CHANNELS_PER_WARP // FIELDS_PER_BYTE)),
        "enable_fp_fusion": False,  # rounding is the result here
    }  # fmt: skip
    pointers = (new, blocks, pages, jobs, table, source.first_new, source.starts)
    with torch.cuda.device_of(pages):
        if is_keys:
            scores = _random_scores(layout.head_dim, seed, pages.device) if selection == "random" else None
            pack_keys_kernel[grid](
                *pointers, scores, layout.head_dim, *sizes.values(), *strides, **options, SCALE_OFFSET=layout.key_scale_offset,
                BOOSTED=layout.boosted, SELECTION=selection, HIGH_OFFSET=layout.key_high_offset,
                CHANNELS_OFFSET=layout.key_channels_offset, RECORD=layout.key_bytes,
                maxnreg=168 if columns <= 128 else None,  # three programs of four warps an SM
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
