"""Scores, scales and codes of ``pack/reference.py`` for kernels, bit for bit.

No element is divided: ``round_half_even(y / s) >= k`` if and only if ``y > (k - 1/2) s`` for odd k, or
``y >= (k - 1/2) s`` for even k, where ``(k - 1/2) s`` is exact in float32; ``pack/README.md`` has the proof. A code is found by
halving its range, one comparison a bit. A comparison is one saturating multiply-add and its result the number 1.0 or 0.0,
which the next one can use; predicates would cost three times as many instructions.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..common.triton import IS_COMPILED

SCALE_FLOOR = tl.constexpr(1e-4)
# Two float32 numbers as large as a threshold, which is at least 2^-15, differ by more than 2^-40 or not at all.
STEEP = tl.constexpr(2.0**48)
# Added to an integer below 2^23, it leaves that integer in the lower bits.
INTEGER = tl.constexpr(2.0**23)
# A float32 sum of 128 numbers that are not negative, in any order, is closer than 2^-17 of itself to the exact sum.
DOUBT = tl.constexpr(1.01 * 2.0**-16)


@triton.jit
def lesser(a, b):
    """Elementwise minimum of 16-bit tensors."""
    if IS_COMPILED:
        NAME: tl.constexpr = "min.bf16x2 $0, $1, $2;" if a.dtype == tl.bfloat16 else "min.f16x2 $0, $1, $2;"
        out = tl.inline_asm_elementwise(NAME, "=r,r,r", [a, b], dtype=a.dtype, is_pure=True, pack=2)
    else:
        out = tl.minimum(a, b)
    return out


@triton.jit
def greater(a, b):
    """Elementwise maximum of 16-bit tensors."""
    if IS_COMPILED:
        NAME: tl.constexpr = "max.bf16x2 $0, $1, $2;" if a.dtype == tl.bfloat16 else "max.f16x2 $0, $1, $2;"
        out = tl.inline_asm_elementwise(NAME, "=r,r,r", [a, b], dtype=a.dtype, is_pure=True, pack=2)
    else:
        out = tl.maximum(a, b)
    return out


@triton.jit
def widened(x):
    """16-bit x as float32."""
    if IS_COMPILED and x.dtype == tl.bfloat16:
        # Triton would take each half out of its register before it shifts it.
        out = tl.inline_asm_elementwise(
            "shl.b32 $0, $2, 16; and.b32 $1, $2, 0xffff0000;", "=f,=f,r", [x], dtype=tl.float32, is_pure=True, pack=2
        )
    else:
        out = x.to(tl.float32)
    return out


@triton.jit
def extremes_and_sum(low, high, total, other_low, other_high, other_total):
    return tl.minimum(low, other_low), tl.maximum(high, other_high), total + other_total


@triton.jit
def over_rows(low, high, size):
    """Minimum, maximum and sum of float32 tensors over their first dimension."""
    if IS_COMPILED:
        # At once, since all threads wait for each other in every reduction; the interpreter takes seconds for that.
        low, high, total = tl.reduce((low, high, size), 0, extremes_and_sum)
    else:
        low, high, total = tl.min(low, 0), tl.max(high, 0), tl.sum(size, 0)
    return low, high, total


@triton.jit
def settled(x):
    """Int32 x, which Triton then hands over to the threads that need it instead of having them compute it again."""
    if IS_COMPILED:
        x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=False, pack=1)
    return x


@triton.jit
def is_above(y, threshold):
    """1.0 where ``STEEP y + threshold > 0``, else 0.0; ``threshold`` comes from ``above`` or ``at_least``."""
    if IS_COMPILED:
        out = tl.inline_asm_elementwise(
            "fma.rn.sat.f32 $0, $1, 0f57800000, $2;", "=f,f,f", [y, threshold], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        out = tl.where(y * STEEP + threshold > 0, 1.0, 0.0)
    return out


@triton.jit
def above(bound):
    """Threshold of ``y > bound``, bound positive."""
    return bound * -STEEP


@triton.jit
def at_least(bound):
    """Threshold of ``y >= bound``, that is of ``y`` above the number before ``bound``."""
    return (bound.to(tl.int32, bitcast=True) - 1).to(tl.float32, bitcast=True) * -STEEP


@triton.jit
def scale_of(low, high, levels):
    """Scale and minimum as they are stored, float16; zero has no sign."""
    scale = tl.maximum(tl.div_rn(high - low, levels), SCALE_FLOOR).to(tl.float16)
    return scale, (low.to(tl.float16).to(tl.float32) + 0.0).to(tl.float16)


@triton.jit
def add_two_bits(packed, y, weight: tl.constexpr, upper, step, lower):
    """Adds ``weight clamp(round_half_even(y / s), 0, 3)``; upper, step, lower are those of 1.5 s, 2 s and 0.5 s."""
    two = is_above(y, upper)
    one = is_above(y, tl.fma(two, step, lower))
    return tl.fma(one, weight, tl.fma(two, 2.0 * weight, packed))


@triton.jit
def low_byte(y0, y1, y2, y3, scale):
    """Bytes of four 2-bit codes, int32; ``scale`` is float32 and broadcasts."""
    upper, step, lower = at_least(1.5 * scale), above(2.0 * scale), above(0.5 * scale)
    packed = add_two_bits(tl.full(y0.shape, INTEGER, tl.float32), y0, 1.0, upper, step, lower)
    packed = add_two_bits(packed, y1, 4.0, upper, step, lower)
    packed = add_two_bits(packed, y2, 16.0, upper, step, lower)
    packed = add_two_bits(packed, y3, 64.0, upper, step, lower)
    return packed.to(tl.int32, bitcast=True) & 0xFF


@triton.jit
def take_high_bits(packed, y, weight: tl.constexpr, scale, eights, fours):
    """Adds the upper two of four bits times ``weight`` and takes them from y, exactly."""
    eight = is_above(y, eights)
    y = tl.fma(eight, -8.0 * scale, y)
    four = is_above(y, fours)
    return tl.fma(four, weight, tl.fma(eight, 2.0 * weight, packed)), tl.fma(four, -4.0 * scale, y)


@triton.jit
def high_byte(y0, y1, y2, y3, scale):
    """Bytes of the upper two bits of four 4-bit codes, int32, and what is left of y; ``scale`` broadcasts."""
    eights, fours = at_least(7.5 * scale), at_least(3.5 * scale)
    packed, y0 = take_high_bits(tl.full(y0.shape, INTEGER, tl.float32), y0, 1.0, scale, eights, fours)
    packed, y1 = take_high_bits(packed, y1, 4.0, scale, eights, fours)
    packed, y2 = take_high_bits(packed, y2, 16.0, scale, eights, fours)
    packed, y3 = take_high_bits(packed, y3, 64.0, scale, eights, fours)
    return packed.to(tl.int32, bitcast=True) & 0xFF, y0, y1, y2, y3


@triton.jit
def highest(score, scratch_ptr, head_dim, COUNT: tl.constexpr, COLUMNS: tl.constexpr):
    """Marks the COUNT highest float64 scores, int1 ``[COLUMNS]``; none is negative; ties go to the lower channel.

    Every thread needs every score, so they pass through ``scratch_ptr``, 8 D bytes that this program will overwrite.
    D is no constant, lest the loop be unrolled and take the registers that the common case needs.
    """
    channel = tl.arange(0, COLUMNS)
    # Numbers that are not negative are ordered as their bits are.
    order = score.to(tl.int64, bitcast=True)
    scratch_ptr = scratch_ptr.to(tl.pointer_type(tl.int64))
    tl.debug_barrier()
    tl.store(scratch_ptr + channel, order, mask=channel < head_dim)
    tl.debug_barrier()
    rank = tl.zeros((COLUMNS,), tl.int32)
    for other in range(head_dim):
        beaten_by = tl.load(scratch_ptr + other)
        rank += ((beaten_by > order) | ((beaten_by == order) & (other < channel))).to(tl.int32)
    tl.debug_barrier()
    return (rank < COUNT) & (channel < head_dim)


@triton.jit
def probably_highest(score, COUNT: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr):
    """Like ``highest`` from float32 sums, and whether exact sums could choose others."""
    channel = tl.arange(0, COLUMNS)
    score = tl.where(channel < HEAD_DIM, score, -1.0)
    beats = tl.where(score[:, None] > score[None, :], 1.0, 0.0)  # [COLUMNS, COLUMNS]
    selected = (tl.sum(beats, 0) < COUNT) & (channel < HEAD_DIM)
    worst = tl.min(tl.where(selected, score, float("inf")), 0)
    best_other = tl.max(tl.where(selected, -1.0, score), 0)
    # Equal sums at the boundary are all selected, and no sum is above one that is no number.
    is_tied = tl.sum(selected.to(tl.int32), 0) != COUNT
    return selected, is_tied | ((worst - best_other) <= worst * DOUBT)
