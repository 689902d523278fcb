"""Attention over tiles of 16-bit tokens, which lie in blocks; the legend is that of kernel.py."""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = tl.constexpr(16)


@triton.jit
def dot_16_bits(a, b, HAS_PTX: tl.constexpr):
    """Product of 16-bit operands in float32."""
    # Triton's interpreter multiplies bfloat16 as if its bits were integers; upcasting is exact.
    if not HAS_PTX:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b)


@triton.jit
def tile_offsets(
    table, ids, slot, next_slot, has_block, has_next, ot, HKV: tl.constexpr, D: tl.constexpr, MAX_BLOCKS: tl.constexpr
):
    """Where the tokens of a tile, which fill up to two blocks, begin: int64 ``[TILE]``."""
    if MAX_BLOCKS > 0:
        place = tl.arange(0, MAX_BLOCKS)
        block = tl.sum(tl.where(place == slot, ids, 0), 0)
        next_block = tl.sum(tl.where(place == next_slot, ids, 0), 0)
    else:
        block = tl.load(table + slot, mask=has_block, other=0)
        next_block = tl.load(table + next_slot, mask=has_next, other=0)
    block = tl.where(ot < BLOCK, block, next_block)
    return block.to(tl.int64) * (HKV * BLOCK * D) + (ot % BLOCK) * D


@triton.jit
def add_block_values(acc, values, weights, keep, BLOCK_VR: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr):
    """``acc * keep`` plus weights, in columns (rounded, rest), times 16-bit values ``[VR, TILE]``, float32 ``[VR, NQ]``."""
    rounded, rest = tl.split(tl.reshape(dot_16_bits(values, weights, HAS_PTX), (BLOCK_VR, NQ, 2)))
    return acc * keep[None, :] + (rounded + rest)


@triton.jit
def attend_block_values(
    m, total, offset, acc0, acc1, acc2, acc3, scores, visible, blocks, offsets, is_value, ov,
    D: tl.constexpr, BLOCK_VR: tl.constexpr, TILE: tl.constexpr, NQ: tl.constexpr, HAS_PTX: tl.constexpr,
):  # fmt: skip
    """Adds a tile of TILE tokens with scores ``[TILE, NQ]`` to the online softmax.

    Returns:
        The new ``m``, ``total``, ``offset`` and accumulators.
    """
    VR: tl.constexpr = D // 4
    values = blocks + offsets[None, :] + ov[:, None]
    mask = is_value[None, :] & (ov < VR)[:, None]
    values0 = tl.load(values, mask=mask, other=0.0)  # [VR, TILE]
    values1 = tl.load(values + VR, mask=mask, other=0.0)
    values2 = tl.load(values + 2 * VR, mask=mask, other=0.0)
    values3 = tl.load(values + 3 * VR, mask=mask, other=0.0)
    m_new = tl.maximum(m, tl.max(scores, 0))
    weight = tl.where(visible, tl.exp2(scores - m_new[None, :]), 0.0)
    keep = tl.exp2(m - m_new)
    total = total * keep + tl.sum(weight, 0)
    # A weight and what rounding it leaves are two 16-bit columns, so that the product is exact in the weights.
    rounded = weight.to(values0.dtype)
    rest = (weight - rounded.to(tl.float32)).to(values0.dtype)
    weights = tl.reshape(tl.join(rounded, rest), (TILE, 2 * NQ))
    acc0 = add_block_values(acc0, values0, weights, keep, BLOCK_VR, NQ, HAS_PTX)
    acc1 = add_block_values(acc1, values1, weights, keep, BLOCK_VR, NQ, HAS_PTX)
    acc2 = add_block_values(acc2, values2, weights, keep, BLOCK_VR, NQ, HAS_PTX)
    acc3 = add_block_values(acc3, values3, weights, keep, BLOCK_VR, NQ, HAS_PTX)
    return m_new, total, offset * keep, acc0, acc1, acc2, acc3
