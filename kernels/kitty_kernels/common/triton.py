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
    first_new_ptr, starts_ptr, row, head, start, stride_nb, stride_nh, stride_ns, HAS_JOBS: tl.constexpr, HAS_NEW: tl.constexpr,
):  # fmt: skip
    """Of a page that begins at position ``start``: its offset among the new tokens, its index in S, its first new token."""
    index, first = start * 0, start * 0
    if HAS_JOBS and HAS_NEW:
        first = tl.load(first_new_ptr + row) - start
        index = tl.load(starts_ptr + row) - first
    return row * stride_nb + head * stride_nh + index.to(tl.int64) * stride_ns, index, first


@triton.jit
def token_pointers(
    new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn, stride_bt,
    inside, HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Addresses of a page's tokens ``inside [TOKENS]`` in one row and head, and whether they exist.

    New are those from ``first`` on, at ``index + inside`` of S. The others lie in the ring: the page begins in ``column`` of
    the row's table, which has ``columns``, and goes on ``ring`` columns before its end.
    """
    if HAS_NEW:
        pointers, exists = new_ptr + inside * stride_ns, (inside + index >= 0) & (inside + index < new_tokens)
    if HAS_RING:
        is_old = (inside < first) if HAS_NEW else (inside >= 0)
        slot = column + inside // BLOCK
        block = tl.load(table_ptr + tl.where(slot < columns, slot, slot - ring), mask=is_old, other=-1)
        old = blocks_ptr + (block.to(tl.int64) * stride_bn + (inside % BLOCK) * stride_bt)
        in_pool = (block >= 0) & (block < blocks)
        if HAS_NEW:
            pointers, exists = tl.where(is_old, old, pointers), tl.where(is_old, in_pool, exists)
        else:
            pointers, exists = old, in_pool
    return pointers, exists


@triton.jit
def load_rows(pointers, exists, channels, COLUMNS: tl.constexpr, VECTOR: tl.constexpr):
    """The first ``channels`` channels at addresses ``[TOKENS]``, else zeros: ``[TOKENS, COLUMNS]``.

    A thread loads VECTOR channels at once at most; Triton would take as many as 16 bytes hold.
    """
    channel = tl.arange(0, COLUMNS)
    tile = tl.max_contiguous(pointers[:, None] + channel[None, :], (1, VECTOR))
    return tl.load(tile, mask=exists[:, None] & (channel < channels)[None, :], other=0.0)


@triton.jit
def load_block(
    start, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
    HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """A page's tokens ``start ..``, as many as a block has, 16-bit ``[BLOCK, COLUMNS]``; see ``token_pointers``.

    One block has one address: rows lie at constant distances from it, so they need neither registers nor arithmetic, and
    whether it exists is asked once.
    """
    token, channel = start + tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    in_head = (channel < HEAD_DIM)[None, :] & (token >= start)[:, None]
    if HAS_RING:
        slot = column + start // BLOCK
        block = tl.load(table_ptr + tl.where(slot < columns, slot, slot - ring))
        exists = (block >= 0) & (block < blocks)
        if HAS_NEW:
            exists = exists & (start < first)
        row_ptr = blocks_ptr + block.to(tl.int64) * stride_bn + ((token - start)[:, None] * HEAD_DIM + channel[None, :])
        x = tl.load(tl.max_contiguous(row_ptr, (1, VECTOR)), mask=exists & in_head, other=0.0)
    if HAS_NEW:
        begin = tl.maximum(start, first) if HAS_RING else start
        exists = (begin + index >= 0) & (start + BLOCK + index <= new_tokens)
        begin = tl.where(exists, begin, start + BLOCK)
        row_ptr = (new_ptr + token * stride_ns)[:, None] + channel[None, :]
        mask = (token >= begin)[:, None] & in_head
        if HAS_RING:
            x = tl.load(tl.max_contiguous(row_ptr, (1, VECTOR)), mask=mask, other=x)
        else:
            x = tl.load(tl.max_contiguous(row_ptr, (1, VECTOR)), mask=mask, other=0.0)
    return x


@triton.jit
def load_half(
    half, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
    HAS_NEW: tl.constexpr, HAS_RING: tl.constexpr, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr,
    VECTOR: tl.constexpr,
):  # fmt: skip
    """What BLOCK rows of bytes are made of: the first or second block of each field's tokens, four of ``[BLOCK, COLUMNS]``."""
    start = half * BLOCK
    x0 = load_block(
        start, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks, stride_bn,
        HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
    )  # fmt: skip
    x1 = load_block(
        start + 2 * BLOCK, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
    )  # fmt: skip
    x2 = load_block(
        start + 4 * BLOCK, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
    )  # fmt: skip
    x3 = load_block(
        start + 6 * BLOCK, new_ptr, index, first, new_tokens, stride_ns, blocks_ptr, table_ptr, column, columns, ring, blocks,
        stride_bn, HAS_NEW, HAS_RING, BLOCK, HEAD_DIM, COLUMNS, VECTOR,
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
