"""Attention over packed pages: their codes as they lie, as int8, against 16-bit integers in two int8 columns.

The legend is that of kernel.py.

Three ideas carry it. Scales are folded away: a page's key scales into the query, its value scales into the weights, so
that codes meet the tensor core raw. Codes stay where they lie in their byte: ``byte & (3 << 2f)`` is the 8-bit integer
``code * 4^f``, four of them by one AND. The other operand, the scaled query or the weights, becomes a 16-bit integer in
two 8-bit columns (high, low) of one product, which fill the columns that a few query heads would leave empty.
"""

from __future__ import annotations

import triton
import triton.language as tl

PAGE = tl.constexpr(128)
R = tl.constexpr(32)
# Largest integer whose two bytes, low one rounded to signed, both fit: 127 * 256 + 127.
STEPS = tl.constexpr(32639.0)


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
def half_at(record, offset):
    """Pointer to float16 parts of a byte record."""
    return (record + offset).to(tl.pointer_type(tl.float16))


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
def whole_page_scores(
    key, q, queries, is_query, unit, od, ob, orow, D: tl.constexpr, DB: tl.constexpr, NQ: tl.constexpr, KEY_HIGH: tl.constexpr,
    KEY_SCALE: tl.constexpr, KEY_MINIMUM: tl.constexpr, KEY_CHANNELS: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_DB: tl.constexpr, HAS_PTX: tl.constexpr,
):  # fmt: skip
    """Scores of a key page that is not worth preparing ahead: of its four fields, float32 ``[R, NQ]`` each.

    ``q`` is ``[D, NQ]`` times ``unit``; ``queries`` points to where each of them begins, ``[NQ]``.
    """
    HAS_BOOST: tl.constexpr = DB > 0
    scale = tl.load(half_at(key, KEY_SCALE) + od, mask=od < D, other=0.0).to(tl.float32)
    minimum = tl.load(half_at(key, KEY_MINIMUM) + od, mask=od < D, other=0.0).to(tl.float32)
    low = tl.load(key + orow[:, None] * D + od[None, :], mask=(od < D)[None, :], other=0)  # [R, D]
    high = low
    q_boosted = tl.zeros([BLOCK_DB, NQ], tl.float32)
    scale_boosted = tl.zeros([BLOCK_DB], tl.float32)
    if HAS_BOOST:
        channel = tl.load(key + KEY_CHANNELS + ob, mask=ob < DB, other=0).to(tl.int32)
        high = tl.load(key + KEY_HIGH + orow[:, None] * DB + ob[None, :], mask=(ob < DB)[None, :], other=0)  # [R, DB]
        q_boosted = tl.load(
            queries[None, :] + channel[:, None], mask=is_query[None, :] & (ob < DB)[:, None], other=0.0
        ).to(tl.float32)
        scale_boosted = tl.load(half_at(key, KEY_SCALE) + channel).to(tl.float32)
    bias = tl.sum(q * minimum[:, None], 0)
    scaled, boosted, factor, step = quantized_query(q, q_boosted * unit, scale, scale_boosted, HAS_BOOST)
    pairs = to_int8_pairs(scaled, factor, BLOCK_D, NQ)
    boosted_pairs = pairs
    if HAS_BOOST:
        boosted_pairs = to_int8_pairs(boosted, factor, BLOCK_DB, NQ)
    s0 = page_scores(low, high, 0, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
    s1 = page_scores(low, high, 1, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
    s2 = page_scores(low, high, 2, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
    s3 = page_scores(low, high, 3, pairs, boosted_pairs, step, bias, NQ, HAS_BOOST, HAS_PTX)
    return s0, s1, s2, s3


@triton.jit
def add_page_values(
    acc, code, F: tl.constexpr, pairs, keep, gain, BLOCK_VR: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr
):
    """``acc * keep`` plus weights times the channels in field F of a value page, float32 ``[VR, NQ]``."""
    product = tl.dot(field(code, F, HAS_PTX), pairs, out_dtype=tl.int32)
    weight: tl.constexpr = 1.0 if F == 0 else (0.25 if F == 1 else 0.0625)
    return acc * keep[None, :] + from_int8_pairs(product, BLOCK_VR, NQ) * (gain * weight)[None, :]


@triton.jit
def attend_page_values(
    m, total, offset, acc0, acc1, acc2, acc3, scores, visible, value, inside, ov, VR: tl.constexpr, VALUE_SCALE: tl.constexpr,
    BLOCK_VR: tl.constexpr, TILE: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr,
):  # fmt: skip
    """The same for TILE tokens of a value page, at places ``inside``."""
    code = tl.load(value + ov[:, None] * PAGE + inside[None, :], mask=(ov < VR)[:, None], other=0)  # [VR, TILE]
    scale = tl.load(half_at(value, VALUE_SCALE) + inside).to(tl.float32)
    minimum = tl.load(half_at(value, VALUE_SCALE + 2 * PAGE) + inside).to(tl.float32)
    m_new = tl.maximum(m, tl.max(scores, 0))
    weight = tl.where(visible, tl.exp2(scores - m_new[None, :]), 0.0)
    keep = tl.exp2(m - m_new)
    total = total * keep + tl.sum(weight, 0)
    offset = offset * keep + tl.sum(weight * minimum[:, None], 0)
    step = tl.max(scale, 0) * (1.0 / STEPS)
    gain = tl.full([NQ], 1.0, tl.float32)
    pairs = to_int8_pairs(weight * scale[:, None], gain / step, TILE, NQ)
    gain = gain * step
    acc0 = add_page_values(acc0, code, 0, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
    acc1 = add_page_values(acc1, code, 1, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
    acc2 = add_page_values(acc2, code, 2, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
    acc3 = add_page_values(acc3, code, 3, pairs, keep, gain, BLOCK_VR, NQ, HAS_PTX)
    return m_new, total, offset, acc0, acc1, acc2, acc3
