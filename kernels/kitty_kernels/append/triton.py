"""Copies new tokens to their blocks; which block, the counters on the device say.

Legend: B batch, HKV KV heads, S new tokens, D head_dim. Of S new tokens of a row only its sinks and the last ones, as many as
the ring holds, can be due, so a prompt does not launch a program for each of its tokens: candidate c is, of a row's real
tokens, number c while ``c < sink_tokens``, and then one of the last ``ring * BLOCK``.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..common.triton import block_offsets, load_rows, narrowed
from ..pages import BLOCK, CacheView
from ..validation import check_half_blocks

TOKENS_PER_PROGRAM = 16


@triton.jit
def copy_side(
    new_ptr, blocks_ptr, table_ptr, pages, s, token, is_real, is_in_ring, sink_tokens, page_size, ring, blocks,
    stride_ns, stride_bn, stride_bt, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Copies tokens ``[TOKENS]`` of one row and head that no page holds."""
    is_due = is_real & ((token < sink_tokens) | (is_in_ring & (token >= sink_tokens + pages * page_size)))
    offsets, exists = block_offsets(table_ptr, token, is_due, sink_tokens, ring, blocks, stride_bn, stride_bt, BLOCK)
    x = load_rows(new_ptr + s.to(tl.int64) * stride_ns, exists, HEAD_DIM, COLUMNS, 8)  # [TOKENS, COLUMNS]
    channel = tl.arange(0, COLUMNS)
    pointers = (blocks_ptr + offsets)[:, None] + channel[None, :]
    x = x if x.dtype == blocks_ptr.dtype.element_ty else narrowed(x.to(tl.float32), blocks_ptr.dtype.element_ty)
    tl.store(pointers, x, mask=exists[:, None] & (channel < HEAD_DIM)[None, :])


@triton.jit(do_not_specialize=["new_tokens", "sink_tokens", "key_ring", "value_ring", "blocks"])
def append_kernel(
    keys_ptr, values_ptr, blocks_ptr, key_table_ptr, value_table_ptr, key_pages_ptr, value_pages_ptr,
    first_new_ptr, starts_ptr, counts_ptr, new_tokens, sink_tokens, page_size, key_ring, value_ring, blocks,
    stride_kb, stride_kh, stride_ks, stride_vb, stride_vh, stride_vs, stride_bn, stride_bh, stride_bt, stride_ktb, stride_vtb,
    BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, COLUMNS: tl.constexpr, TOKENS: tl.constexpr, IS_LONG: tl.constexpr,
):  # fmt: skip
    # program = (TOKENS candidates, KV head, row)
    head, row = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    first, start, count = tl.load(first_new_ptr + row), tl.load(starts_ptr + row), tl.load(counts_ptr + row)
    number = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)  # of the row's real tokens
    is_real = number >= 0
    if IS_LONG:
        ring_tokens = tl.maximum(key_ring, value_ring) * BLOCK
        behind = count - ring_tokens + (number - sink_tokens)
        # A token is a candidate once, though the two ranges may overlap.
        is_real = (number < sink_tokens) | (behind >= sink_tokens)
        number = tl.where(number < sink_tokens, number, behind)
    s = start + number
    is_real = is_real & (number >= 0) & (number < count) & (s >= 0) & (s < new_tokens)
    token = first + number
    blocks_ptr += head * stride_bh
    copy_side(
        keys_ptr + row * stride_kb + head * stride_kh, blocks_ptr, key_table_ptr + row * stride_ktb,
        tl.load(key_pages_ptr + row), s, token, is_real, number >= count - key_ring * BLOCK, sink_tokens, page_size, key_ring,
        blocks, stride_ks, stride_bn, stride_bt, BLOCK, HEAD_DIM, COLUMNS,
    )  # fmt: skip
    copy_side(
        values_ptr + row * stride_vb + head * stride_vh, blocks_ptr, value_table_ptr + row * stride_vtb,
        tl.load(value_pages_ptr + row), s, token, is_real, number >= count - value_ring * BLOCK, sink_tokens, page_size,
        value_ring, blocks, stride_vs, stride_bn, stride_bt, BLOCK, HEAD_DIM, COLUMNS,
    )  # fmt: skip


def append(
    keys: torch.Tensor,
    values: torch.Tensor,
    view: CacheView,
    *,
    first_new: torch.Tensor,
    starts: torch.Tensor,
    counts: torch.Tensor,
) -> None:
    """See ``api.append``."""
    check_half_blocks("append", view)
    rows, kv_heads, new_tokens, head_dim = keys.shape
    rings = [table.shape[1] - view.sink_blocks for table in (view.key_block_table, view.value_block_table)]
    candidates = view.sink_tokens + max(rings) * BLOCK
    is_long = new_tokens > candidates
    candidates = min(candidates, new_tokens)
    tokens = min(TOKENS_PER_PROGRAM, triton.next_power_of_2(max(candidates, 1)))
    grid = (triton.cdiv(candidates, tokens), kv_heads, rows)
    if 0 in grid:
        return
    columns = triton.next_power_of_2(head_dim)
    with torch.cuda.device_of(keys):
        append_kernel[grid](
            keys, values, view.blocks, view.key_block_table, view.value_block_table, view.key_page_counts,
            view.value_page_counts, first_new, starts, counts, new_tokens, view.sink_tokens, view.layout.page_size, *rings,
            view.blocks.shape[0], *keys.stride()[:3], *values.stride()[:3], *view.blocks.stride()[:3],
            view.key_block_table.stride(0), view.value_block_table.stride(0),
            BLOCK=BLOCK, HEAD_DIM=head_dim, COLUMNS=columns, TOKENS=tokens, IS_LONG=is_long,
            num_warps=max(1, min(4, tokens * columns // 512)),
        )  # fmt: skip
