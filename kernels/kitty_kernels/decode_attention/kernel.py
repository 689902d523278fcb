"""Split attention over packed pages and 16-bit blocks in Triton; the maths and the byte counts are in README.md.

Legend: D head_dim, VR = D/4 rows of a value page, R = PAGE/4 rows of a key page, DB boosted channels, NQ queries that one
program serves (heads of a group times new tokens), TILE tokens of a 16-bit tile. Every BLOCK_* is the power of two at or
above its size.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .block_kernel import attend_block_values, dot_16_bits, tile_offsets
from .launch_kernel import NOT_SPECIALIZED, await_last_kernel
from .page_kernel import (
    STEPS,
    add_page_values,
    attend_page_values,
    half_at,
    page_scores,
    quantized_query,
    to_int8_pairs,
    whole_page_scores,
)

PAGE = tl.constexpr(128)
BLOCK = tl.constexpr(16)
TILE = tl.constexpr(32)
R = tl.constexpr(32)
LOG2_E = tl.constexpr(1.4426950408889634)
# What an item of work costs, in units of a quarter of a page.
PAGE_COST = tl.constexpr(4)
MIXED_COST = tl.constexpr(3)
PARTIAL_COST = tl.constexpr(6)
PLAIN_COST = tl.constexpr(3)
# Stands for minus infinity where differences are taken. (A constexpr stands on the right of an operator only: Triton's
# interpreter loses what it meets on the left.)
LOWEST = tl.constexpr(-1.0e30)


@triton.jit
def capped(scores, softcap, HAS_SOFTCAP: tl.constexpr):
    """Scores in units of log2; with a soft-cap they come in as natural ``score / softcap``."""
    if HAS_SOFTCAP:
        # tanh(x) = 1 - 2 / (e^2x + 1)
        scores = (1.0 - 2.0 / (tl.exp2(scores * (2.0 * LOG2_E)) + 1.0)) * (softcap * LOG2_E)
    return scores


@triton.jit
def page_at(pool, ids, number, place, HKV: tl.constexpr, head, BYTES: tl.constexpr):
    """Record of the page whose id stands at ``place`` of ``ids``; ``number`` counts the places."""
    index = tl.sum(tl.where(number == place, ids, 0), 0) * HKV + head
    return pool + index.to(tl.int64) * BYTES


@triton.jit
def share_of(cost, start, EACH: tl.constexpr, count):
    """How many of ``count`` items, of cost EACH and behind ``start`` on the line of all costs, begin before ``cost``."""
    return tl.minimum(tl.cdiv(tl.maximum(cost - start, 0), EACH), count)


@triton.jit(do_not_specialize=NOT_SPECIALIZED)
def decode_kernel(
    q_ptr, partial_ptr, lse_ptr, length_ptr, first_ptr,
    key_ptr, key_table_ptr, key_count_ptr, value_ptr, value_table_ptr, value_count_ptr,
    block_ptr, key_block_ptr, value_block_ptr,
    stride_qb, stride_qh, stride_qs, stride_kt, stride_vt, stride_kb, stride_vb,
    scaling, softcap, window, key_width, value_width, key_blocks, value_blocks, new_tokens, queries, splits,
    HKV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, DB: tl.constexpr, NQ: tl.constexpr, SINK: tl.constexpr,
    KEY_HIGH: tl.constexpr, KEY_SCALE: tl.constexpr, KEY_MINIMUM: tl.constexpr, KEY_CHANNELS: tl.constexpr,
    KEY_BYTES: tl.constexpr, VALUE_SCALE: tl.constexpr, VALUE_BYTES: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_DB: tl.constexpr, BLOCK_VR: tl.constexpr, MAX_PAGES: tl.constexpr,
    HAS_FIRST: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_PTX: tl.constexpr, HAS_PDL: tl.constexpr,
    IS_SHORT: tl.constexpr, MAX_BLOCKS: tl.constexpr, STAGES: tl.constexpr,
    TILE_STAGES: tl.constexpr,
):  # fmt: skip
    """Program (row and KV head, split, block of NQ queries): a row's work is a line of half-packed pages, partly visible tiles,
    16-bit tiles and packed pages, in this order; every split takes an equal stretch of its cost. Writes normalized partial
    outputs and their log2-sum-exp."""
    await_last_kernel(HAS_PDL)
    # Only a constant divisor leaves row and head in the scalar registers that addresses want.
    row = tl.program_id(0) // HKV
    head = tl.program_id(0) % HKV
    split = tl.program_id(1)
    VR: tl.constexpr = D // 4
    HAS_BOOST: tl.constexpr = DB > 0

    on = tl.arange(0, NQ)
    od = tl.arange(0, BLOCK_D)
    ob = tl.arange(0, BLOCK_DB)
    orow = tl.arange(0, R)
    ov = tl.arange(0, BLOCK_VR)
    column = tl.program_id(2) * NQ + on  # query = head of the group * S + new token
    is_query = column < queries
    group_head = column // new_tokens
    new_token = column % new_tokens
    q_base = q_ptr + row.to(tl.int64) * stride_qb + head * GROUP * stride_qh
    q_column = group_head * stride_qh + new_token * stride_qs  # [NQ]
    q_raw = tl.load(
        q_base + q_column[None, :] + od[:, None], mask=is_query[None, :] & (od < D)[:, None], other=0.0
    )  # [D, NQ]
    unit = scaling / softcap if HAS_SOFTCAP else scaling * LOG2_E
    q = q_raw.to(tl.float32) * unit

    # Tables that are short are read whole, without waiting for what the lengths say of them.
    op = tl.arange(0, MAX_PAGES)
    key_block_row = key_block_ptr + row * stride_kb
    value_block_row = value_block_ptr + row * stride_vb
    key_block_ids = key_block_row
    value_block_ids = value_block_row
    if MAX_BLOCKS > 0:
        oblock = tl.arange(0, MAX_BLOCKS)
        key_block_ids = tl.load(key_block_row + oblock, mask=oblock < key_blocks, other=0)
        value_block_ids = tl.load(value_block_row + oblock, mask=oblock < value_blocks, other=0)
    if IS_SHORT:
        all_key_ids = tl.load(key_table_ptr + row * stride_kt + op, mask=op < key_width, other=0)
        all_value_ids = tl.load(value_table_ptr + row * stride_vt + op, mask=op < value_width, other=0)
    length = tl.load(length_ptr + row)
    first = length - new_tokens
    if HAS_FIRST:
        first = tl.load(first_ptr + row)
    position = first + new_token  # [NQ]
    last = tl.minimum(first + new_tokens - 1, length - 1)
    key_pages = tl.load(key_count_ptr + row)
    value_pages = tl.load(value_count_ptr + row)

    # Pages [page_start, page_end) are packed on both sides and seen whole by every query; behind them, up to mixed_end, are
    # such whose values are in 16 bits still; what else is packed on any side is taken in partly visible tiles, from page_end
    # on as from window_start to page_start.
    seen_pages = tl.maximum(tl.maximum(first, 0) + 1 - SINK, 0) // PAGE
    page_end = tl.minimum(tl.minimum(key_pages, value_pages), seen_pages)
    mixed_end = tl.maximum(tl.minimum(key_pages, seen_pages), page_end)
    page_start = 0
    window_start = 0
    if HAS_WINDOW:
        # The last query's window starts latest, the first query's earliest.
        mixed_end = page_end
        page_start = tl.minimum(tl.maximum(last + 1 - window - SINK + PAGE - 1, 0) // PAGE, page_end)
        window_start = tl.minimum(tl.maximum(tl.maximum(first, 0) + 1 - window - SINK, 0) // PAGE, page_start)
    packed_end = tl.maximum(tl.maximum(key_pages, value_pages), mixed_end)

    SINK_TILES: tl.constexpr = (SINK + TILE - 1) // TILE
    SINK_BLOCKS: tl.constexpr = (SINK + BLOCK - 1) // BLOCK
    TILES_A_PAGE: tl.constexpr = PAGE // TILE
    window_tiles = (page_start - window_start) * TILES_A_PAGE
    mixed = mixed_end - page_end
    partial = window_tiles + (packed_end - mixed_end) * TILES_A_PAGE
    plain = SINK_TILES + tl.cdiv(tl.maximum(length - SINK - packed_end * PAGE, 0), TILE)
    partial_at = mixed * (TILES_A_PAGE * MIXED_COST)
    plain_at = partial_at + partial * PARTIAL_COST
    pages_at = plain_at + plain * PLAIN_COST
    share = tl.cdiv(pages_at + (page_end - page_start) * PAGE_COST, splits)
    low_cost = split * share
    high_cost = low_cost + share

    m = tl.full([NQ], LOWEST, tl.float32)
    total = tl.zeros([NQ], tl.float32)
    offset = tl.zeros([NQ], tl.float32)  # weights times value minima, the same for every channel
    acc0 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc1 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc2 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc3 = tl.zeros([BLOCK_VR, NQ], tl.float32)

    begin = share_of(low_cost, pages_at, PAGE_COST, page_end - page_start)
    count = share_of(high_cost, pages_at, PAGE_COST, page_end - page_start) - begin
    begin += page_start
    if not IS_SHORT:
        # On their way while tiles are worked on.
        first_key_ids = tl.load(key_table_ptr + row * stride_kt + begin + op, mask=op < count, other=0)
        first_value_ids = tl.load(value_table_ptr + row * stride_vt + begin + op, mask=op < count, other=0)
    ot = tl.arange(0, TILE)
    # The second column of each query is zero here and takes the rest of a rounded weight below.
    q_pairs = tl.reshape(tl.join(q_raw, tl.zeros_like(q_raw)), (BLOCK_D, 2 * NQ))
    key_ring = tl.maximum(key_blocks - SINK_BLOCKS, 1)
    value_ring = tl.maximum(value_blocks - SINK_BLOCKS, 1)
    head_blocks = block_ptr + head * (BLOCK * D)
    # Programs may share a half-packed page: each scores all of it and takes its own tiles.
    first_tile = share_of(low_cost, 0, MIXED_COST, mixed * TILES_A_PAGE)
    end_tile = share_of(high_cost, 0, MIXED_COST, mixed * TILES_A_PAGE)
    # Even a loop of no items takes half a microsecond to find that out.
    if first_tile < end_tile:
        for item in tl.range(first_tile // TILES_A_PAGE, tl.cdiv(end_tile, TILES_A_PAGE), num_stages=1):
            if IS_SHORT:
                key_id = tl.sum(tl.where(op == page_end + item, all_key_ids, 0), 0)
            else:
                key_id = tl.load(key_table_ptr + row * stride_kt + page_end + item)
            key = key_ptr + (key_id * HKV + head).to(tl.int64) * KEY_BYTES
            s0, s1, s2, s3 = whole_page_scores(
                key, q, q_base + q_column, is_query, unit, od, ob, orow, D, DB, NQ, KEY_HIGH, KEY_SCALE, KEY_MINIMUM, KEY_CHANNELS,
                BLOCK_D, BLOCK_DB, HAS_PTX,
            )  # fmt: skip
            # A field holds the tokens of a tile.
            place_begin = tl.maximum(first_tile - item * TILES_A_PAGE, 0)
            for place in tl.range(
                place_begin, tl.minimum(end_tile - item * TILES_A_PAGE, TILES_A_PAGE), num_stages=TILE_STAGES
            ):
                behind = (page_end + item) * PAGE + place * TILE
                offsets = tile_offsets(
                    value_block_row, value_block_ids, (behind // BLOCK) % value_ring + SINK_BLOCKS,
                    (behind // BLOCK + 1) % value_ring + SINK_BLOCKS, place >= 0, place >= 0, ot, HKV, D, MAX_BLOCKS,
                )  # fmt: skip
                scores = tl.where(place < 2, tl.where(place == 0, s0, s1), tl.where(place == 2, s2, s3))
                m, total, offset, acc0, acc1, acc2, acc3 = attend_block_values(
                    m, total, offset, acc0, acc1, acc2, acc3, capped(scores, softcap, HAS_SOFTCAP), tl.full([TILE, NQ], 1, tl.int1),
                    head_blocks, offsets, ot < TILE, ov, D, BLOCK_VR, TILE, NQ, HAS_PTX,
                )  # fmt: skip

    partial_begin = share_of(low_cost, partial_at, PARTIAL_COST, partial)
    partial_end = share_of(high_cost, partial_at, PARTIAL_COST, partial)
    if partial_begin < partial_end:
        for tile in tl.range(partial_begin, partial_end, num_stages=1):
            page_tile = tl.where(
                tile < window_tiles, tile + window_start * TILES_A_PAGE, tile - window_tiles + mixed_end * TILES_A_PAGE
            )
            page = page_tile // TILES_A_PAGE
            behind = page_tile * TILE
            token = behind + SINK + ot  # [TILE]
            visible = (token < length)[:, None] & (token[:, None] <= position[None, :])  # [TILE, NQ]
            if HAS_WINDOW:
                visible = visible & (token[:, None] > position[None, :] - window)
            number = behind // BLOCK
            has_next = behind + SINK + BLOCK < length
            scores = tl.zeros([TILE, NQ], tl.float32)
            if page < key_pages:
                key_id = tl.load(key_table_ptr + row * stride_kt + page)
                key = key_ptr + (key_id * HKV + head).to(tl.int64) * KEY_BYTES
                s0, s1, s2, s3 = whole_page_scores(
                    key, q, q_base + q_column, is_query, unit, od, ob, orow, D, DB, NQ, KEY_HIGH, KEY_SCALE, KEY_MINIMUM,
                    KEY_CHANNELS, BLOCK_D, BLOCK_DB, HAS_PTX,
                )  # fmt: skip
                # Which field holds the tokens is known at run time only; all four products cost less than shifting bytes.
                place = page_tile % TILES_A_PAGE
                scores = tl.where(place < 2, tl.where(place == 0, s0, s1), tl.where(place == 2, s2, s3))
            else:
                offsets = tile_offsets(
                    key_block_row, key_block_ids, number % key_ring + SINK_BLOCKS, (number + 1) % key_ring + SINK_BLOCKS,
                    tile >= 0, has_next, ot, HKV, D, MAX_BLOCKS,
                )  # fmt: skip
                keys = tl.load(
                    head_blocks + offsets[:, None] + od[None, :],
                    mask=(token < length)[:, None] & (od < D)[None, :],
                    other=0.0,
                )  # [TILE, D]
                exact, _ = tl.split(tl.reshape(dot_16_bits(keys, q_pairs, HAS_PTX), (TILE, NQ, 2)))
                scores = exact * unit
            scores = tl.where(visible, capped(scores, softcap, HAS_SOFTCAP), LOWEST)
            if page < value_pages:
                value_id = tl.load(value_table_ptr + row * stride_vt + page)
                value = value_ptr + (value_id * HKV + head).to(tl.int64) * VALUE_BYTES
                inside = (page_tile % TILES_A_PAGE) * TILE + ot  # places in the page
                m, total, offset, acc0, acc1, acc2, acc3 = attend_page_values(
                    m, total, offset, acc0, acc1, acc2, acc3, scores, visible, value, inside, ov, VR, VALUE_SCALE, BLOCK_VR, TILE, NQ,
                    HAS_PTX,
                )  # fmt: skip
            else:
                offsets = tile_offsets(
                    value_block_row, value_block_ids, number % value_ring + SINK_BLOCKS, (number + 1) % value_ring + SINK_BLOCKS,
                    tile >= 0, has_next, ot, HKV, D, MAX_BLOCKS,
                )  # fmt: skip
                m, total, offset, acc0, acc1, acc2, acc3 = attend_block_values(
                    m, total, offset, acc0, acc1, acc2, acc3, scores, visible, head_blocks, offsets, token < length, ov, D, BLOCK_VR,
                    TILE, NQ, HAS_PTX,
                )  # fmt: skip

    plain_begin = share_of(low_cost, plain_at, PLAIN_COST, plain)
    plain_end = share_of(high_cost, plain_at, PLAIN_COST, plain)
    if plain_begin < plain_end:
        for tile in tl.range(plain_begin, plain_end, num_stages=TILE_STAGES):
            behind = packed_end * PAGE + (tile - SINK_TILES) * TILE
            is_sink = tile < SINK_TILES
            token = tl.where(is_sink, tile * TILE, behind + SINK) + ot  # [TILE]
            is_token = token < tl.where(is_sink, tl.minimum(length, SINK), length)
            number = tl.maximum(behind, 0) // BLOCK
            has_next = tl.where(is_sink, tile * TILE + BLOCK < SINK, behind + SINK + BLOCK < length)
            key_offsets = tile_offsets(
                key_block_row, key_block_ids, tl.where(is_sink, tile * (TILE // BLOCK), number % key_ring + SINK_BLOCKS),
                tl.where(is_sink, tile * (TILE // BLOCK) + 1, (number + 1) % key_ring + SINK_BLOCKS),
                tile >= 0, has_next, ot, HKV, D, MAX_BLOCKS,
            )  # fmt: skip
            value_offsets = tile_offsets(
                value_block_row, value_block_ids, tl.where(is_sink, tile * (TILE // BLOCK), number % value_ring + SINK_BLOCKS),
                tl.where(is_sink, tile * (TILE // BLOCK) + 1, (number + 1) % value_ring + SINK_BLOCKS),
                tile >= 0, has_next, ot, HKV, D, MAX_BLOCKS,
            )  # fmt: skip
            keys = tl.load(
                head_blocks + key_offsets[:, None] + od[None, :], mask=is_token[:, None] & (od < D)[None, :], other=0.0
            )  # [TILE, D]
            exact, _ = tl.split(tl.reshape(dot_16_bits(keys, q_pairs, HAS_PTX), (TILE, NQ, 2)))
            visible = is_token[:, None] & (token[:, None] <= position[None, :])  # [TILE, NQ]
            if HAS_WINDOW:
                visible = visible & (token[:, None] > position[None, :] - window)
            scores = tl.where(visible, capped(exact * unit, softcap, HAS_SOFTCAP), LOWEST)
            m, total, offset, acc0, acc1, acc2, acc3 = attend_block_values(
                m, total, offset, acc0, acc1, acc2, acc3, scores, visible, head_blocks, value_offsets, is_token, ov, D,
                BLOCK_VR, TILE, NQ, HAS_PTX,
            )  # fmt: skip

    for chunk in tl.range(0, count, MAX_PAGES):
        chunk_begin = begin + chunk
        chunk_count = tl.minimum(count - chunk, MAX_PAGES)
        op_token = tl.arange(0, PAGE)
        number = op - chunk_begin  # of a page in the chunk, at its place in the ids
        if IS_SHORT:
            # What lies behind the row's pages is not defined.
            key_ids = tl.where(number < chunk_count, all_key_ids, 0)
            value_ids = tl.where(number < chunk_count, all_value_ids, 0)
        else:
            number = op
            key_ids = first_key_ids
            value_ids = first_value_ids
            if chunk > 0:
                key_ids = tl.load(key_table_ptr + row * stride_kt + chunk_begin + op, mask=op < chunk_count, other=0)
                value_ids = tl.load(
                    value_table_ptr + row * stride_vt + chunk_begin + op, mask=op < chunk_count, other=0
                )
        # Which channels are boosted is known two pages ahead and their queries one page ahead, since gathering is slow.
        key_now = page_at(key_ptr, key_ids, number, 0, HKV, head, KEY_BYTES)
        key_next = page_at(key_ptr, key_ids, number, 1, HKV, head, KEY_BYTES)
        q_boosted = tl.zeros([BLOCK_DB, NQ], q_raw.dtype)
        scale_boosted = tl.zeros([BLOCK_DB], tl.float16)
        channel_next = tl.zeros([BLOCK_DB], tl.uint8)
        if HAS_BOOST:
            channel = tl.load(key_now + KEY_CHANNELS + ob, mask=ob < DB, other=0).to(tl.int32)
            q_boosted = tl.load(
                q_base + q_column[None, :] + channel[:, None], mask=is_query[None, :] & (ob < DB)[:, None], other=0.0
            )
            scale_boosted = tl.load(half_at(key_now, KEY_SCALE) + channel)
            channel_next = tl.load(key_next + KEY_CHANNELS + ob, mask=ob < DB, other=0)
        for i in tl.range(0, chunk_count, num_stages=STAGES):
            key = page_at(key_ptr, key_ids, number, i, HKV, head, KEY_BYTES)
            value = page_at(value_ptr, value_ids, number, i, HKV, head, VALUE_BYTES)
            scale = tl.load(half_at(key, KEY_SCALE) + od, mask=od < D, other=0.0).to(tl.float32)
            minimum = tl.load(half_at(key, KEY_MINIMUM) + od, mask=od < D, other=0.0).to(tl.float32)
            low = tl.load(key + orow[:, None] * D + od[None, :], mask=(od < D)[None, :], other=0)  # [R, D]

            bias = tl.sum(q * minimum[:, None], 0)  # [NQ]
            scaled, boosted, factor, step = quantized_query(
                q, q_boosted.to(tl.float32) * unit, scale, scale_boosted.to(tl.float32), HAS_BOOST
            )
            pairs = to_int8_pairs(scaled, factor, BLOCK_D, NQ)
            high = low
            boosted_pairs = pairs
            if HAS_BOOST:
                high = tl.load(
                    key + KEY_HIGH + orow[:, None] * DB + ob[None, :], mask=(ob < DB)[None, :], other=0
                )  # [R, DB]
                boosted_pairs = to_int8_pairs(boosted, factor, BLOCK_DB, NQ)
                channel = channel_next.to(tl.int32)
                key_next = page_at(key_ptr, key_ids, number, i + 1, HKV, head, KEY_BYTES)
                key_after = page_at(key_ptr, key_ids, number, i + 2, HKV, head, KEY_BYTES)
                q_boosted = tl.load(
                    q_base + q_column[None, :] + channel[:, None],
                    mask=is_query[None, :] & (ob < DB)[:, None],
                    other=0.0,
                )
                scale_boosted = tl.load(half_at(key_next, KEY_SCALE) + channel)
                channel_next = tl.load(key_after + KEY_CHANNELS + ob, mask=ob < DB, other=0)

            s0 = page_scores(low, high, 0, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)  # [R, NQ]
            s1 = page_scores(low, high, 1, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            s2 = page_scores(low, high, 2, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            s3 = page_scores(low, high, 3, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            # Field f holds tokens R f .. R f + R - 1: [R, NQ, f low bit last] -> [f, R, NQ] -> [PAGE, NQ]
            scores = tl.join(tl.join(s0, s2), tl.join(s1, s3))
            scores = tl.reshape(tl.permute(scores, (2, 3, 0, 1)), (PAGE, NQ))
            scores = capped(scores, softcap, HAS_SOFTCAP)

            code = tl.load(
                value + ov[:, None] * PAGE + op_token[None, :], mask=(ov < VR)[:, None], other=0
            )  # [VR, PAGE]
            value_scale = tl.load(half_at(value, VALUE_SCALE) + op_token).to(tl.float32)
            value_minimum = tl.load(half_at(value, VALUE_SCALE + 2 * PAGE) + op_token).to(tl.float32)
            # Weights are relative to the page's own maximum, so that their integers use all 15 bits in every page.
            page_max = tl.max(scores, 0)
            weight = tl.exp2(scores - page_max[None, :])  # [PAGE, NQ]
            m_new = tl.maximum(m, page_max)
            keep = tl.exp2(m - m_new)
            gain = tl.exp2(page_max - m_new)
            m = m_new
            total = total * keep + gain * tl.sum(weight, 0)
            offset = offset * keep + gain * tl.sum(weight * value_minimum[:, None], 0)
            step = tl.max(value_scale, 0) * (1.0 / STEPS)
            pairs = to_int8_pairs(weight * value_scale[:, None], tl.full([NQ], 1.0, tl.float32) / step, PAGE, NQ)
            gain = gain * step
            acc0 = add_page_values(acc0, code, 0, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
            acc1 = add_page_values(acc1, code, 1, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
            acc2 = add_page_values(acc2, code, 2, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
            acc3 = add_page_values(acc3, code, 3, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)

    inverse = tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0)
    lse = tl.where(total > 0, m + tl.log2(tl.where(total > 0, total, 1.0)), float("-inf"))
    # A query that stands on none of the row's tokens is padding.
    lse = tl.where((position >= 0) & (position < length), lse, float("-inf"))
    at = ((row * HKV + head) * queries + column).to(tl.int64) * splits + split  # [NQ]
    tl.store(lse_ptr + at, lse, mask=is_query)
    out = partial_ptr + at[None, :] * D + ov[:, None]
    mask = is_query[None, :] & (ov < VR)[:, None]
    tl.store(out, (acc0 + offset[None, :]) * inverse[None, :], mask=mask)
    tl.store(out + VR, (acc1 + offset[None, :]) * inverse[None, :], mask=mask)
    tl.store(out + 2 * VR, (acc2 + offset[None, :]) * inverse[None, :], mask=mask)
    tl.store(out + 3 * VR, (acc3 + offset[None, :]) * inverse[None, :], mask=mask)
