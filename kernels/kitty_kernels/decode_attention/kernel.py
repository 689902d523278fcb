"""Split attention over packed pages and 16-bit blocks in Triton; the maths and the byte counts are in README.md.

Legend: D head_dim, VR = D/4 rows of a value page, R = PAGE/4 rows of a key page, DB boosted channels, NQ queries that one
program serves (heads of a group times new tokens), TILE tokens of a 16-bit tile. Every BLOCK_* is the power of two at or
above its size.

Three ideas carry it. Scales are folded away: a page's key scales into the query, its value scales into the weights, so
that codes meet the tensor core raw. Codes stay where they lie in their byte: ``byte & (3 << 2f)`` is the 8-bit integer
``code * 4^f``, four of them by one AND. The other operand, the scaled query or the weights, becomes a 16-bit integer in
two 8-bit columns (high, low) of one product, which fill the columns that a few query heads would leave empty.
"""

from __future__ import annotations

import triton
import triton.language as tl

PAGE = tl.constexpr(128)
BLOCK = tl.constexpr(16)
TILE = tl.constexpr(32)
R = tl.constexpr(32)
# Largest integer whose two bytes, low one rounded to signed, both fit: 127 * 256 + 127.
STEPS = tl.constexpr(32639.0)
LOG2_E = tl.constexpr(1.4426950408889634)
# Stands for minus infinity where differences are taken. (A constexpr stands on the right of an operator only: Triton's
# interpreter loses what it meets on the left.)
LOWEST = tl.constexpr(-1.0e30)


@triton.jit
def field(x, F: tl.constexpr, HAS_PTX: tl.constexpr):
    """Field F of every byte as int8: ``code * 4^F`` for F < 3, ``code * 16`` for F = 3, whose top bit would be a sign."""
    if HAS_PTX:
        if F == 0:
            out = tl.inline_asm_elementwise(
                "and.b32 $0, $1, 0x03030303;", "=r,r", [x], dtype=tl.int8, is_pure=True, pack=4
            )
        elif F == 1:
            out = tl.inline_asm_elementwise(
                "and.b32 $0, $1, 0x0C0C0C0C;", "=r,r", [x], dtype=tl.int8, is_pure=True, pack=4
            )
        elif F == 2:
            out = tl.inline_asm_elementwise(
                "and.b32 $0, $1, 0x30303030;", "=r,r", [x], dtype=tl.int8, is_pure=True, pack=4
            )
        else:
            out = tl.inline_asm_elementwise(
                "{.reg .b32 t; shr.b32 t, $1, 2; and.b32 $0, t, 0x30303030;}",
                "=r,r",
                [x],
                dtype=tl.int8,
                is_pure=True,
                pack=4,
            )
    elif F == 3:
        out = ((x >> 2) & 0x30).to(tl.int8)
    else:
        out = (x & (3 << (2 * F))).to(tl.int8)
    return out


@triton.jit
def to_int8_pairs(x, factor, ROWS: tl.constexpr, NQ: tl.constexpr):
    """``round(x * factor)``, at most STEPS in size, as int8 columns (high, low): float32 ``[ROWS, NQ]`` to ``[ROWS, 2 NQ]``.

    The integer is ``256 high + low``.
    """
    # Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum.
    bits = (x * factor[None, :] + 12582912.0).to(tl.int32, bitcast=True)
    low = bits.to(tl.int8)
    high = ((bits + 128) >> 8).to(tl.int8)
    return tl.reshape(tl.join(high, low), (ROWS, 2 * NQ))


@triton.jit
def from_int8_pairs(product, ROWS: tl.constexpr, NQ: tl.constexpr):
    """Puts the columns (high, low) of an int32 product together: ``[ROWS, 2 NQ]`` to float32 ``[ROWS, NQ]``."""
    high, low = tl.split(tl.reshape(product, (ROWS, NQ, 2)))
    return (high * 256 + low).to(tl.float32)


@triton.jit
def capped(scores, softcap, HAS_SOFTCAP: tl.constexpr):
    """Scores in units of log2; with a soft-cap they come in as natural ``score / softcap``."""
    if HAS_SOFTCAP:
        # tanh(x) = 1 - 2 / (e^2x + 1)
        scores = (1.0 - 2.0 / (tl.exp2(scores * (2.0 * LOG2_E)) + 1.0)) * (softcap * LOG2_E)
    return scores


@triton.jit
def quantized_query(q, q_boosted, scale, scale_boosted, HAS_BOOST: tl.constexpr):
    """Folds a page's key scales into the query and finds the integer grid of the products.

    The high plane counts four times, so that both planes add up in one accumulator.

    Returns:
        Scaled queries ``[D, NQ]`` and ``[DB, NQ]`` (times 4), integers a unit ``[NQ]`` and units an integer ``[NQ]``.
    """
    scaled = q * scale[:, None]
    largest = tl.max(tl.abs(scaled), 0)
    boosted = scaled
    if HAS_BOOST:
        boosted = q_boosted * (scale_boosted * 4.0)[:, None]
        largest = tl.maximum(largest, tl.max(tl.abs(boosted), 0))
    step = tl.maximum(largest, 1e-30) * (1.0 / STEPS)
    return scaled, boosted, 1.0 / step, step


@triton.jit
def page_scores(
    low, high, F: tl.constexpr, pairs, boosted_pairs, step, bias, NQ: tl.constexpr, HAS_BOOST: tl.constexpr,
    HAS_PTX: tl.constexpr,
):  # fmt: skip
    """Scores of the tokens in field F of a key page, float32 ``[R, NQ]``."""
    product = tl.dot(field(low, F, HAS_PTX), pairs, out_dtype=tl.int32)
    if HAS_BOOST:
        product = tl.dot(field(high, F, HAS_PTX), boosted_pairs, product, out_dtype=tl.int32)
    weight: tl.constexpr = 1.0 if F == 0 else (0.25 if F == 1 else 0.0625)
    return from_int8_pairs(product, R, NQ) * (step * weight)[None, :] + bias[None, :]


@triton.jit
def dot_16_bits(a, b, HAS_PTX: tl.constexpr):
    """Product of 16-bit operands in float32."""
    # Triton's interpreter multiplies bfloat16 as if its bits were integers; upcasting is exact.
    if not HAS_PTX:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b)


@triton.jit
def page_at(pool, ids, number, place, HKV: tl.constexpr, head, BYTES: tl.constexpr):
    """Record of the page whose id stands at ``place`` of ``ids``; ``number`` counts the places."""
    index = tl.sum(tl.where(number == place, ids, 0), 0) * HKV + head
    return pool + index.to(tl.int64) * BYTES


@triton.jit
def half_at(record, offset):
    """Pointer to float16 parts of a byte record."""
    return (record + offset).to(tl.pointer_type(tl.float16))


@triton.jit
def add_page_values(
    acc, code, F: tl.constexpr, pairs, keep, gain, BLOCK_VR: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr
):
    """``acc * keep`` plus weights times the channels in field F of a value page, float32 ``[VR, NQ]``."""
    product = tl.dot(field(code, F, HAS_PTX), pairs, out_dtype=tl.int32)
    weight: tl.constexpr = 1.0 if F == 0 else (0.25 if F == 1 else 0.0625)
    return acc * keep[None, :] + from_int8_pairs(product, BLOCK_VR, NQ) * (gain * weight)[None, :]


@triton.jit
def add_block_values(acc, values, weights, keep, gain, BLOCK_VR: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr):
    """``acc * keep`` plus weights, in columns (rounded, rest), times 16-bit values ``[VR, TILE]``, float32 ``[VR, NQ]``."""
    rounded, rest = tl.split(tl.reshape(dot_16_bits(values, weights, HAS_PTX), (BLOCK_VR, NQ, 2)))
    return acc * keep[None, :] + (rounded + rest) * gain[None, :]


@triton.jit
def block_place(table, token, mask, ring, SINK: tl.constexpr, SINK_BLOCKS: tl.constexpr):
    """Block and place in it of each 16-bit token, by the rules of ``pages.CacheView``."""
    behind = token - SINK
    slot = tl.where(token < SINK, token // BLOCK, (behind // BLOCK) % ring + SINK_BLOCKS)
    inside = tl.where(token < SINK, token % BLOCK, behind % BLOCK)
    return tl.load(table + slot, mask=mask, other=0).to(tl.int64), inside


@triton.jit
def decode_kernel(
    q_ptr, partial_ptr, lse_ptr, length_ptr, first_ptr,
    key_ptr, key_table_ptr, key_count_ptr, value_ptr, value_table_ptr, value_count_ptr,
    block_ptr, key_block_ptr, value_block_ptr,
    stride_qb, stride_qh, stride_qs, stride_kt, stride_vt, stride_kb, stride_vb,
    scaling, softcap, window, key_ring, value_ring, new_tokens, queries, splits,
    HKV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, DB: tl.constexpr, NQ: tl.constexpr, SINK: tl.constexpr,
    KEY_HIGH: tl.constexpr, KEY_SCALE: tl.constexpr, KEY_MINIMUM: tl.constexpr, KEY_CHANNELS: tl.constexpr,
    KEY_BYTES: tl.constexpr, VALUE_SCALE: tl.constexpr, VALUE_BYTES: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_DB: tl.constexpr, BLOCK_VR: tl.constexpr, MAX_PAGES: tl.constexpr,
    HAS_FIRST: tl.constexpr, HAS_WINDOW: tl.constexpr, HAS_SOFTCAP: tl.constexpr, HAS_PTX: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Program (row and KV head, split, block of NQ queries): a row's work is a list of tiles of TILE 16-bit or partly visible
    tokens, then of whole visible pages; every split takes an equal run of it. Writes normalized partial outputs and their
    log2-sum-exp."""
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

    length = tl.load(length_ptr + row)
    first = length - new_tokens
    if HAS_FIRST:
        first = tl.load(first_ptr + row)
    position = first + new_token  # [NQ]
    last = tl.minimum(first + new_tokens - 1, length - 1)
    key_pages = tl.load(key_count_ptr + row)
    value_pages = tl.load(value_count_ptr + row)
    # Pages that are packed on both sides and that every query sees whole.
    page_end = tl.minimum(tl.minimum(key_pages, value_pages), tl.maximum(tl.maximum(first, 0) + 1 - SINK, 0) // PAGE)
    page_start = 0
    tile_skip = 0
    if HAS_WINDOW:
        # The last query's window starts latest, the first query's earliest.
        page_start = tl.minimum(tl.maximum(last + 1 - window - SINK + PAGE - 1, 0) // PAGE, page_end)
        tile_skip = tl.minimum(tl.maximum(tl.maximum(first, 0) + 1 - window - SINK, 0) // PAGE, page_start)

    SINK_TILES: tl.constexpr = (SINK + TILE - 1) // TILE
    SINK_BLOCKS: tl.constexpr = (SINK + BLOCK - 1) // BLOCK
    TILES_A_PAGE: tl.constexpr = PAGE // TILE
    start_tiles = (page_start - tile_skip) * TILES_A_PAGE
    tiles = start_tiles + tl.cdiv(tl.maximum(length - SINK - page_end * PAGE, 0), TILE) + SINK_TILES
    # A tile takes about as long as a page.
    work = tl.cdiv(tiles + page_end - page_start, splits)
    tile_begin = split * work
    tile_end = tl.minimum(tile_begin + work, tiles)
    begin = tl.maximum(tile_begin - tiles, 0) + page_start
    count = tl.minimum(tl.maximum(tile_begin + work - tiles, 0) + page_start, page_end) - begin

    m = tl.full([NQ], LOWEST, tl.float32)
    total = tl.zeros([NQ], tl.float32)
    offset = tl.zeros([NQ], tl.float32)  # weights times value minima, the same for every channel
    acc0 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc1 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc2 = tl.zeros([BLOCK_VR, NQ], tl.float32)
    acc3 = tl.zeros([BLOCK_VR, NQ], tl.float32)

    ot = tl.arange(0, TILE)
    # The second column of each query is zero here and takes the rest of a rounded weight below.
    q_pairs = tl.reshape(tl.join(q_raw, tl.zeros_like(q_raw)), (BLOCK_D, 2 * NQ))
    for tile in tl.range(tile_begin, tile_end, num_stages=1):
        # Where the tile's tokens are. All loads come first, each masked where the other kind holds them, so that their
        # latencies overlap.
        behind = tile - SINK_TILES  # tiles behind the sinks
        page_tile = tl.where(
            behind < start_tiles,
            behind + tile_skip * TILES_A_PAGE,
            behind - start_tiles + page_end * TILES_A_PAGE,
        )
        page = page_tile // TILES_A_PAGE
        inside = (page_tile % TILES_A_PAGE) * TILE + ot  # places in the page
        has_key_page = (behind >= 0) & (page < key_pages)
        has_value_page = (behind >= 0) & (page < value_pages)
        token = tl.where(behind < 0, tile * TILE, page_tile * TILE + SINK) + ot  # [TILE]
        is_token = token < tl.where(behind < 0, tl.minimum(length, SINK), length)
        key_block = is_token & (has_key_page == 0)
        value_block = is_token & (has_value_page == 0)
        key_id = tl.load(key_table_ptr + row * stride_kt + page, mask=has_key_page, other=0)
        value_id = tl.load(value_table_ptr + row * stride_vt + page, mask=has_value_page, other=0)
        key = key_ptr + (key_id * HKV + head).to(tl.int64) * KEY_BYTES
        value = value_ptr + (value_id * HKV + head).to(tl.int64) * VALUE_BYTES
        key_block_id, key_inside = block_place(
            key_block_ptr + row * stride_kb, token, key_block, key_ring, SINK, SINK_BLOCKS
        )
        value_block_id, value_inside = block_place(
            value_block_ptr + row * stride_vb, token, value_block, value_ring, SINK, SINK_BLOCKS
        )
        keys = tl.load(
            block_ptr + (((key_block_id * HKV + head) * BLOCK + key_inside) * D)[:, None] + od[None, :],
            mask=key_block[:, None] & (od < D)[None, :],
            other=0.0,
        )  # [TILE, D]
        values = block_ptr + (((value_block_id * HKV + head) * BLOCK + value_inside) * D)[None, :] + ov[:, None]
        is_value = value_block[None, :] & (ov < VR)[:, None]
        values0 = tl.load(values, mask=is_value, other=0.0)  # [VR, TILE]
        values1 = tl.load(values + VR, mask=is_value, other=0.0)
        values2 = tl.load(values + 2 * VR, mask=is_value, other=0.0)
        values3 = tl.load(values + 3 * VR, mask=is_value, other=0.0)
        scale = tl.load(half_at(key, KEY_SCALE) + od, mask=has_key_page & (od < D), other=0.0).to(tl.float32)
        minimum = tl.load(half_at(key, KEY_MINIMUM) + od, mask=has_key_page & (od < D), other=0.0).to(tl.float32)
        code = tl.load(
            value + ov[:, None] * PAGE + inside[None, :], mask=has_value_page & (ov < VR)[:, None], other=0
        )  # [VR, TILE]
        value_scale = tl.load(half_at(value, VALUE_SCALE) + inside, mask=has_value_page, other=0.0).to(tl.float32)
        value_minimum = tl.load(half_at(value, VALUE_SCALE + 2 * PAGE) + inside, mask=has_value_page, other=0.0)
        value_minimum = value_minimum.to(tl.float32)

        exact, _ = tl.split(tl.reshape(dot_16_bits(keys, q_pairs, HAS_PTX), (TILE, NQ, 2)))
        scores = exact * unit  # [TILE, NQ]
        if has_key_page:
            low = tl.load(key + orow[:, None] * D + od[None, :], mask=(od < D)[None, :], other=0)  # [R, D]
            high = tl.zeros([R, BLOCK_DB], tl.uint8)
            q_boosted = tl.zeros([BLOCK_DB, NQ], tl.float32)
            scale_boosted = tl.zeros([BLOCK_DB], tl.float32)
            if HAS_BOOST:
                channel = tl.load(key + KEY_CHANNELS + ob, mask=ob < DB, other=0).to(tl.int32)
                high = tl.load(key + KEY_HIGH + orow[:, None] * DB + ob[None, :], mask=(ob < DB)[None, :], other=0)
                q_boosted = tl.load(
                    q_base + q_column[None, :] + channel[:, None],
                    mask=is_query[None, :] & (ob < DB)[:, None],
                    other=0.0,
                ).to(tl.float32)
                scale_boosted = tl.load(half_at(key, KEY_SCALE) + channel).to(tl.float32)
            scaled, boosted, factor, step = quantized_query(q, q_boosted * unit, scale, scale_boosted, HAS_BOOST)
            pairs = to_int8_pairs(scaled, factor, BLOCK_D, NQ)
            boosted_pairs = pairs
            if HAS_BOOST:
                boosted_pairs = to_int8_pairs(boosted, factor, BLOCK_DB, NQ)
            bias = tl.sum(q * minimum[:, None], 0)
            # Which field holds the tokens is known at run time only; all four products cost less than shifting bytes.
            place = page_tile % TILES_A_PAGE
            s0 = page_scores(low, high, 0, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            s1 = page_scores(low, high, 1, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            s2 = page_scores(low, high, 2, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            s3 = page_scores(low, high, 3, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
            scores = tl.where(place < 2, tl.where(place == 0, s0, s1), tl.where(place == 2, s2, s3))
        visible = is_token[:, None] & (token[:, None] <= position[None, :])  # [TILE, NQ]
        if HAS_WINDOW:
            visible = visible & (token[:, None] > position[None, :] - window)
        scores = tl.where(visible, capped(scores, softcap, HAS_SOFTCAP), LOWEST)

        tile_max = tl.max(scores, 0)
        weight = tl.where(visible, tl.exp2(scores - tile_max[None, :]), 0.0)
        m_new = tl.maximum(m, tile_max)
        keep = tl.exp2(m - m_new)
        gain = tl.exp2(tile_max - m_new)
        m = m_new
        total = total * keep + gain * tl.sum(weight, 0)
        offset = offset * keep + gain * tl.sum(weight * value_minimum[:, None], 0)
        # A weight and what rounding it leaves are two 16-bit columns, so that the product is exact in the weights.
        rounded = weight.to(q_raw.dtype)
        rest = (weight - rounded.to(tl.float32)).to(q_raw.dtype)
        weights = tl.reshape(tl.join(rounded, rest), (TILE, 2 * NQ))
        acc0 = add_block_values(acc0, values0, weights, keep, gain, BLOCK_VR, NQ, HAS_PTX)
        acc1 = add_block_values(acc1, values1, weights, keep, gain, BLOCK_VR, NQ, HAS_PTX)
        acc2 = add_block_values(acc2, values2, weights, keep, gain, BLOCK_VR, NQ, HAS_PTX)
        acc3 = add_block_values(acc3, values3, weights, keep, gain, BLOCK_VR, NQ, HAS_PTX)
        if has_value_page:
            step = tl.max(value_scale, 0) * (1.0 / STEPS)
            one = tl.full([NQ], 1.0, tl.float32)
            value_pairs = to_int8_pairs(weight * value_scale[:, None], one / step, TILE, NQ)
            gain = gain * step
            acc0 = add_page_values(acc0, code, 0, value_pairs, one, gain, BLOCK_VR, NQ, HAS_PTX)
            acc1 = add_page_values(acc1, code, 1, value_pairs, one, gain, BLOCK_VR, NQ, HAS_PTX)
            acc2 = add_page_values(acc2, code, 2, value_pairs, one, gain, BLOCK_VR, NQ, HAS_PTX)
            acc3 = add_page_values(acc3, code, 3, value_pairs, one, gain, BLOCK_VR, NQ, HAS_PTX)

    op = tl.arange(0, MAX_PAGES)
    for chunk in tl.range(0, count, MAX_PAGES):
        chunk_begin = begin + chunk
        chunk_count = tl.minimum(count - chunk, MAX_PAGES)
        op_token = tl.arange(0, PAGE)
        key_ids = tl.load(key_table_ptr + row * stride_kt + chunk_begin + op, mask=op < chunk_count, other=0)
        value_ids = tl.load(value_table_ptr + row * stride_vt + chunk_begin + op, mask=op < chunk_count, other=0)
        # Which channels are boosted is known two pages ahead and their queries one page ahead, since gathering is slow.
        key_now = page_at(key_ptr, key_ids, op, 0, HKV, head, KEY_BYTES)
        key_next = page_at(key_ptr, key_ids, op, 1, HKV, head, KEY_BYTES)
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
            key = page_at(key_ptr, key_ids, op, i, HKV, head, KEY_BYTES)
            value = page_at(value_ptr, value_ids, op, i, HKV, head, VALUE_BYTES)
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
                key_next = page_at(key_ptr, key_ids, op, i + 1, HKV, head, KEY_BYTES)
                key_after = page_at(key_ptr, key_ids, op, i + 2, HKV, head, KEY_BYTES)
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


@triton.jit
def merge_kernel(
    partial_ptr, lse_ptr, out_ptr, splits, queries, new_tokens, stride_ob, stride_oh, stride_os,
    HKV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_SPLITS: tl.constexpr,
):  # fmt: skip
    """Program (row, KV head, query): the splits' partial outputs, weighted by their share of the softmax."""
    pid = tl.program_id(0).to(tl.int64)
    column = pid % queries
    head = (pid // queries) % HKV
    row = pid // (queries * HKV)
    od = tl.arange(0, BLOCK_D)
    osplit = tl.arange(0, BLOCK_SPLITS)
    m = -1.0e30
    total = 0.0
    acc = tl.zeros([BLOCK_D], tl.float32)
    for begin in tl.range(0, splits, BLOCK_SPLITS):
        is_split = begin + osplit < splits
        lse = tl.load(lse_ptr + pid * splits + begin + osplit, mask=is_split, other=float("-inf"))  # [BLOCK_SPLITS]
        m_new = tl.maximum(m, tl.max(lse, 0))
        weight = tl.exp2(lse - m_new)
        partial = tl.load(
            partial_ptr + (pid * splits + begin + osplit)[:, None] * D + od[None, :],
            mask=is_split[:, None] & (od < D)[None, :],
            other=0.0,
        )  # [BLOCK_SPLITS, D]
        keep = tl.exp2(m - m_new)
        total = total * keep + tl.sum(weight, 0)
        acc = acc * keep + tl.sum(partial * weight[:, None], 0)
        m = m_new
    acc = acc * tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0)
    out = (
        out_ptr
        + row * stride_ob
        + (head * GROUP + column // new_tokens) * stride_oh
        + (column % new_tokens) * stride_os
    )
    tl.store(out + od, acc.to(out_ptr.dtype.element_ty), mask=od < D)
