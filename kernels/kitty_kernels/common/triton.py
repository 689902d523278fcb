"""What kernels of several operations need: where a row's 16-bit tokens lie (``CacheView`` has the rule), and casts."""

from __future__ import annotations

import os

import triton
import triton.language as tl

# The interpreter has no inline assembly; Triton, too, decides when kernels are defined.
IS_COMPILED = tl.constexpr(os.environ.get("TRITON_INTERPRET") != "1")


@triton.jit
def block_offsets(
    table_ptr,  # the row's entries
    token,  # int32 [TOKENS], positions in the row
    wanted,  # int1 [TOKENS]; nothing is read where this is not set
    sink_tokens,
    ring,  # blocks of the ring
    blocks,  # blocks of the pool
    stride_bn,
    stride_bt,
    BLOCK: tl.constexpr,
):
    """Offsets of tokens in the pool of blocks, int64 ``[TOKENS]``, and whether their blocks exist."""
    sink_blocks = (sink_tokens + BLOCK - 1) // BLOCK
    behind = token - sink_tokens
    is_sink = behind < 0
    # A row without a ring has no place for tokens behind the sinks; dividing by nothing would stop the interpreter.
    slot = tl.where(is_sink, token // BLOCK, sink_blocks + (behind // BLOCK) % tl.maximum(ring, 1))
    wanted = wanted & (token >= 0) & (slot < sink_blocks + ring)
    block = tl.load(table_ptr + slot, mask=wanted, other=-1)
    offset = tl.where(is_sink, token, behind) % BLOCK
    return block.to(tl.int64) * stride_bn + offset * stride_bt, wanted & (block >= 0) & (block < blocks)


@triton.jit
def page_in_new(
    first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr,
):  # fmt: skip
    """Of a page that begins at position ``start``: where its row and head begin among the new tokens, its index in S, and its
    first new token."""
    index, first = start * 0, start * 0
    if HAS_JOBS and HAS_NEW:
        first = tl.load(first_new_ptr + row) - start
        index = tl.load(starts_ptr + row) - first
    return row * stride_nb + head * stride_nh, index, first


@triton.jit
def token_pointers(
    new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn, stride_bt,
    inside, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Addresses of a page's tokens ``inside [TOKENS]`` in one row and head.

    New are those from ``first`` on, at ``index + inside`` of S. The others lie in the ring: the page begins in ``column`` of
    the row's table, which has ``columns``, and goes on ``ring`` columns before its end. Whatever the counters and the table
    say, the addresses are of new tokens and blocks that exist.
    """
    if HAS_NEW:
        place = tl.minimum(tl.maximum(inside + index, 0), new_tokens - 1)
        pointers = new_ptr + place.to(tl.int64) * stride_ns
    if HAS_RING:
        is_old = (inside < first) if HAS_NEW else (inside >= 0)
        slot = column + inside // BLOCK
        block = tl.load(table_ptr + tl.where(slot < columns, slot, slot - ring), mask=is_old, other=0)
        block = tl.minimum(tl.maximum(block, 0), blocks - 1)
        old = blocks_ptr + (block.to(tl.int64) * stride_bn + (inside % BLOCK) * stride_bt)
        pointers = tl.where(is_old, old, pointers) if HAS_NEW else old
    return pointers


@triton.jit
def load_rows(pointers, exists, channels, COLUMNS: tl.constexpr, VECTOR: tl.constexpr):
    """The first ``channels`` channels at addresses ``[TOKENS]``, else zeros: ``[TOKENS, COLUMNS]``.

    A thread loads VECTOR channels at once at most; Triton would take as many as 16 bytes hold.
    """
    channel = tl.arange(0, COLUMNS)
    tile = tl.max_contiguous(pointers[:, None] + channel[None, :], (1, VECTOR))
    return tl.load(tile, mask=exists[:, None] & (channel < channels)[None, :], other=0.0)


@triton.jit
def outer(rows, columns, VECTOR: tl.constexpr):
    """``rows + columns [ROWS, COLUMNS]``, or transposed where VECTOR is 0, for columns that do not lie next to each other.

    A thread then has VECTOR columns at most. Triton would take as many as 16 bytes hold; of two dimensions of which none is
    contiguous, it lays the first along the threads.
    """
    return (
        tl.max_contiguous(rows[:, None] + columns[None, :], (1, VECTOR))
        if VECTOR > 0
        else rows[None, :] + columns[:, None]
    )


@triton.jit
def outer_mask(rows, columns, VECTOR: tl.constexpr):
    return (rows[:, None] & columns[None, :]) if VECTOR > 0 else (rows[None, :] & columns[:, None])


@triton.jit
def load_block(
    start, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
    STRIDE_NS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """Channels of a page's tokens ``start ..``, as many as a block has: 16-bit, laid out as ``outer``; see ``token_pointers``.

    A block has one address and its rows constant distances from it, which take no arithmetic; so do new tokens.
    """
    inside = tl.arange(0, BLOCK)
    mask = outer_mask(inside >= 0, in_head, VECTOR)
    if HAS_RING:
        slot = column + start // BLOCK
        # Whatever the table says, only blocks are read.
        block = tl.load(table_ptr + tl.where(slot < columns, slot, slot - ring))
        block = tl.minimum(tl.maximum(block, 0), blocks - 1)
        tile = blocks_ptr + block.to(tl.int64) * stride_bn + outer(inside * HEAD_DIM, channel, VECTOR)
        x = tl.load(tile, mask=((start < first) & mask) if HAS_NEW else mask, other=0.0)
    if HAS_NEW:
        begin = tl.maximum(first - start, 0) if HAS_RING else 0
        place = index + start
        begin = tl.where((place + begin >= 0) & (place + BLOCK <= new_tokens), begin, BLOCK)
        tile = new_ptr + place.to(tl.int64) * STRIDE_NS + outer(inside * STRIDE_NS, channel, VECTOR)
        mask = outer_mask(inside >= begin, in_head, VECTOR)
        x = tl.load(tile, mask=mask, other=x) if HAS_RING else tl.load(tile, mask=mask, other=0.0)
    return x


@triton.jit
def load_half(
    half, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
    STRIDE_NS: tl.constexpr, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr,
    HEAD_DIM: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """What BLOCK rows of bytes are made of: the first or second block of each field's tokens; see ``load_block``."""
    start = half * BLOCK
    x0 = load_block(
        start, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    x1 = load_block(
        start + 2 * BLOCK, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    x2 = load_block(
        start + 4 * BLOCK, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    x3 = load_block(
        start + 6 * BLOCK, channel, in_head, new_ptr, index, first, new_tokens, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, STRIDE_NS, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, VECTOR,
    )  # fmt: skip
    return x0, x1, x2, x3


@triton.jit
def narrowed(x, DTYPE: tl.constexpr):
    """Float32 x as DTYPE, rounded to nearest even."""
    if not IS_COMPILED and tl.bfloat16 == DTYPE:
        # The interpreter rounds differently; after this nothing is left to round.
        bits = x.to(tl.int32, bitcast=True)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).to(tl.float32, bitcast=True)
    return x.to(DTYPE)
