"""Selects, scales, rounds and packs one page of one KV head a program; the formulas are those of ``reference.py``.

Legend: B batch, HKV KV heads, S new tokens, D head_dim, DB boosted channels, PAGE tokens of a page. A page is loaded as
four tiles, since field f of a byte holds row ``i + rows f``: bytes are made of four tiles without moving an element.

    keys    tile f = tokens 32 f .. 32 f + 31       byte (i, d) = codes of tokens i, i + 32, i + 64, i + 96 of channel d
    values  tile f = channels (D/4) f ..            byte (i, t) = codes of channels i, i + D/4, i + D/2, i + 3D/4 of token t
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..codec.triton import (
    greater,
    high_byte,
    highest,
    lesser,
    low_byte,
    over_rows,
    probably_highest,
    scale_of,
    settled,
    widened,
)
from ..common.triton import load_half, load_rows, outer, outer_mask, page_in_new, token_pointers

# Pools and prompts grow; that must not compile a kernel anew.
SIZES = ["kv_heads", "rows", "pages", "new_tokens", "sink_tokens", "ring", "blocks"]


@triton.jit
def job_of(jobs_ptr, kv_heads, rows, pages, HAS_JOBS: tl.constexpr):
    """Head, row, page index, destination, and whether they exist; without jobs, row n is packed to page n.

    Heads come first: their tokens lie next to each other.
    """
    index = tl.program_id(0) // kv_heads
    head = tl.program_id(0) % kv_heads
    row, page, destination = index, index * 0, index
    if HAS_JOBS:
        row = tl.load(jobs_ptr + index * 3)
        page = tl.load(jobs_ptr + index * 3 + 1)
        destination = tl.load(jobs_ptr + index * 3 + 2)
    exists = (row >= 0) & (row < rows) & (page >= 0) & (destination >= 0) & (destination < pages)
    return head.to(tl.int64), row.to(tl.int64), page, destination.to(tl.int64), exists


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
            pointers = token_pointers(
                new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
                stride_bn, stride_bt, t + one, HAS_NEW, HAS_RING, BLOCK,
            )  # fmt: skip
            mean += load_rows(pointers, one >= 0, HEAD_DIM, COLUMNS, VECTOR).to(tl.float64)
        mean *= 1.0 / PAGE
    for t in range(PAGE):
        pointers = token_pointers(
            new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
            stride_bn, stride_bt, t + one, HAS_NEW, HAS_RING, BLOCK,
        )  # fmt: skip
        x = load_rows(pointers, one >= 0, HEAD_DIM, COLUMNS, VECTOR).to(tl.float64)
        total += (x - mean) * (x - mean) if IS_VARIANCE else tl.abs(x)
    return highest(tl.sum(total, 0), scratch_ptr, head_dim, BOOSTED, COLUMNS)


@triton.jit
def store_channels(
    record_ptr, selected, CHANNELS_OFFSET: tl.constexpr, BOOSTED: tl.constexpr, RECORD: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Stores the boosted channels and the padding behind them."""
    channel, tail = tl.arange(0, COLUMNS), tl.arange(0, 16)
    place = tl.cumsum(selected.to(tl.int32), 0) - 1
    tl.store(record_ptr + CHANNELS_OFFSET + place, channel.to(tl.uint8), mask=selected)
    end = CHANNELS_OFFSET + BOOSTED + tail
    tl.store(record_ptr + end, tl.zeros((16,), tl.uint8), mask=end < RECORD)


@triton.jit(do_not_specialize=SIZES)
def pack_keys_kernel(
    new_ptr, blocks_ptr, pages_ptr, jobs_ptr, table_ptr, first_new_ptr, starts_ptr, scores_ptr, head_dim,
    kv_heads, rows, pages, new_tokens, sink_tokens, ring, blocks, stride_nb, stride_nh, stride_ns, stride_bl, stride_bn, stride_bh,
    stride_bt, stride_tb, stride_pl, stride_pn, stride_ph,
    HEAD_DIM: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, SCALE_OFFSET: tl.constexpr, COLUMNS: tl.constexpr,
    HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr,
    BOOSTED: tl.constexpr, SELECTION: tl.constexpr, HIGH_OFFSET: tl.constexpr, CHANNELS_OFFSET: tl.constexpr,
    RECORD: tl.constexpr, BOOSTED_BLOCK: tl.constexpr, STRIDE_NS: tl.constexpr,
):  # fmt: skip
    # program = (KV head of a job, layer)
    head, row, page, destination, exists = job_of(jobs_ptr, kv_heads, rows, pages, HAS_JOBS)
    if not exists:
        return
    layer = tl.program_id(1).to(tl.int64)
    start = sink_tokens + page * PAGE
    offset, index, first = page_in_new(
        first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, HAS_JOBS, HAS_NEW
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
    in_head = channel < HEAD_DIM
    x0, x1, x2, x3 = load_half(
        0, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    z0, z1, z2, z3 = load_half(
        1, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    low = lesser(lesser(lesser(x0, x1), lesser(x2, x3)), lesser(lesser(z0, z1), lesser(z2, z3)))  # [BLOCK, COLUMNS]
    high = greater(greater(greater(x0, x1), greater(x2, x3)), greater(greater(z0, z1), greater(z2, z3)))
    size = tl.abs(widened(x0)) + tl.abs(widened(x1)) + tl.abs(widened(x2)) + tl.abs(widened(x3))
    size += tl.abs(widened(z0)) + tl.abs(widened(z1)) + tl.abs(widened(z2)) + tl.abs(widened(z3))
    low, high, score = over_rows(low.to(tl.float32), high.to(tl.float32), size)  # [COLUMNS]
    if BOOSTED == 0 or BOOSTED == HEAD_DIM:
        selected = channel < BOOSTED
    elif SELECTION == "range":
        selected = highest(high.to(tl.float64) - low.to(tl.float64), record_ptr, head_dim, BOOSTED, COLUMNS)
    elif SELECTION == "query":
        # scores_ptr: float32 weights [LAYERS, kv_heads, D], or without jobs [rows, D].
        which = layer * kv_heads + head if HAS_JOBS else row
        weight = tl.abs(tl.load(scores_ptr + which * HEAD_DIM + channel, mask=in_head, other=0.0))
        score = (high.to(tl.float64) - low.to(tl.float64)) * weight.to(tl.float64)
        selected = highest(score, record_ptr, head_dim, BOOSTED, COLUMNS)
    elif SELECTION == "random":
        score = tl.load(scores_ptr + channel, mask=in_head, other=0.0)
        selected = highest(score, record_ptr, head_dim, BOOSTED, COLUMNS)
    else:
        probable, is_doubtful = probably_highest(score, BOOSTED, HEAD_DIM, COLUMNS)
        chosen = settled(probable.to(tl.int32))
        if is_doubtful or SELECTION == "variance":
            exact = exact_choice(
                record_ptr, head_dim, new_ptr, index, first, new_tokens, STRIDE_NS, blocks_ptr, table_ptr, column, columns, ring,
                blocks, stride_bn, stride_bt, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, PAGE, BOOSTED,
                SELECTION == "variance", VECTOR,
            )  # fmt: skip
            chosen = settled(exact.to(tl.int32))
        selected = chosen != 0
    scale, minimum = scale_of(low, high, tl.where(selected, 15.0, 3.0))
    tl.store(half_ptr + channel, scale, mask=in_head)
    tl.store(half_ptr + HEAD_DIM + channel, minimum, mask=in_head)
    store_channels(record_ptr, selected, CHANNELS_OFFSET, BOOSTED, RECORD, COLUMNS)
    scale, minimum = scale.to(tl.float32)[None, :], minimum.to(tl.float32)[None, :]
    for half in tl.static_range(2):
        # Read again, from the cache next to the core: a page in registers while channels are chosen would cost more.
        x0, x1, x2, x3 = load_half(
            half, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
            stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
        )  # fmt: skip
        y0, y1, y2, y3 = widened(x0) - minimum, widened(x1) - minimum, widened(x2) - minimum, widened(x3) - minimum
        i = half * BLOCK + tl.arange(0, BLOCK)
        low_ptr = record_ptr + outer(i * HEAD_DIM, channel, VECTOR)
        tl.store(
            low_ptr, low_byte(y0, y1, y2, y3, scale).to(tl.uint8), mask=outer_mask(i >= 0, in_head, VECTOR)
        )  # [BLOCK, COLUMNS]
    if BOOSTED > 0:
        # What a boosted channel's low plane holds is not yet that of 4 bits.
        tl.debug_barrier()
        j = tl.arange(0, BOOSTED_BLOCK)
        is_boosted = j < BOOSTED
        channel = tl.load(record_ptr + CHANNELS_OFFSET + j, mask=is_boosted, other=0).to(tl.int32)  # [BOOSTED_BLOCK]
        scale = tl.load(half_ptr + channel).to(tl.float32)[:, None]
        minimum = tl.load(half_ptr + HEAD_DIM + channel).to(tl.float32)[:, None]
        for half in tl.static_range(2):
            x0, x1, x2, x3 = load_half(
                half, channel, is_boosted, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
                stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, 0,
            )  # fmt: skip
            y0, y1, y2, y3 = widened(x0) - minimum, widened(x1) - minimum, widened(x2) - minimum, widened(x3) - minimum
            bits, y0, y1, y2, y3 = high_byte(y0, y1, y2, y3, scale)  # [BOOSTED_BLOCK, BLOCK]
            i = half * BLOCK + tl.arange(0, BLOCK)
            mask = outer_mask(i >= 0, is_boosted, 0)
            tl.store(
                tl.max_contiguous(record_ptr + HIGH_OFFSET + outer(i * BOOSTED, j, 0), (1, 1)),
                bits.to(tl.uint8),
                mask=mask,
            )
            tl.store(
                record_ptr + outer(i * HEAD_DIM, channel, 0), low_byte(y0, y1, y2, y3, scale).to(tl.uint8), mask=mask
            )


@triton.jit(do_not_specialize=SIZES)
def pack_values_kernel(
    new_ptr, blocks_ptr, pages_ptr, jobs_ptr, table_ptr, first_new_ptr, starts_ptr,
    kv_heads, rows, pages, new_tokens, sink_tokens, ring, blocks, stride_nb, stride_nh, stride_ns, stride_bl, stride_bn, stride_bh,
    stride_bt, stride_tb, stride_pl, stride_pn, stride_ph,
    HEAD_DIM: tl.constexpr, PAGE: tl.constexpr, BLOCK: tl.constexpr, SCALE_OFFSET: tl.constexpr, COLUMNS: tl.constexpr,
    HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr,
):  # fmt: skip
    # program = (KV head of a job, layer)
    head, row, page, destination, exists = job_of(jobs_ptr, kv_heads, rows, pages, HAS_JOBS)
    if not exists:
        return
    layer = tl.program_id(1).to(tl.int64)
    start = sink_tokens + page * PAGE
    offset, index, first = page_in_new(
        first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, HAS_JOBS, HAS_NEW
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
    pointers = token_pointers(
        new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn, stride_bt,
        i, HAS_NEW, HAS_RING, BLOCK,
    )  # fmt: skip
    every = i >= 0
    x0, x1 = load_rows(pointers, every, QUARTER, COLUMNS, 8), load_rows(pointers + QUARTER, every, QUARTER, COLUMNS, 8)
    pointers += 2 * QUARTER
    x2, x3 = load_rows(pointers, every, QUARTER, COLUMNS, 8), load_rows(pointers + QUARTER, every, QUARTER, COLUMNS, 8)
    low = lesser(lesser(x0, x1), lesser(x2, x3)).to(tl.float32)  # [PAGE, COLUMNS]
    high = greater(greater(x0, x1), greater(x2, x3)).to(tl.float32)
    in_head = (channel < QUARTER)[None, :]
    low = tl.min(tl.where(in_head, low, float("inf")), 1)  # [PAGE]
    high = tl.max(tl.where(in_head, high, float("-inf")), 1)
    scale, minimum = scale_of(low, high, 3.0)
    tl.store(half_ptr + i, scale)
    tl.store(half_ptr + PAGE + i, minimum)
    scale, minimum = scale.to(tl.float32)[:, None], minimum.to(tl.float32)[:, None]
    y0, y1, y2, y3 = widened(x0) - minimum, widened(x1) - minimum, widened(x2) - minimum, widened(x3) - minimum
    codes = low_byte(y0, y1, y2, y3, scale).to(tl.uint8)
    tl.store(record_ptr + channel[None, :] * PAGE + i[:, None], codes, mask=in_head & every[:, None])
