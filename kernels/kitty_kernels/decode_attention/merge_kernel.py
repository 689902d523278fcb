"""Merges what the splits of a row found."""

from __future__ import annotations

import triton
import triton.language as tl

from .launch_kernel import NOT_SPECIALIZED, await_last_kernel


@triton.jit(do_not_specialize=NOT_SPECIALIZED)
def merge_kernel(
    partial_ptr, lse_ptr, out_ptr, splits, queries, new_tokens, stride_ob, stride_oh, stride_os,
    HKV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, CHANNELS: tl.constexpr, BLOCK_SPLITS: tl.constexpr,
    HAS_PDL: tl.constexpr,
):  # fmt: skip
    """Program (row, KV head, query; CHANNELS channels): the splits' partial outputs, weighted by their share of the softmax."""
    pid = tl.program_id(0).to(tl.int64)
    column = pid % queries
    head = (pid // queries) % HKV
    row = pid // (queries * HKV)
    od = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    osplit = tl.arange(0, BLOCK_SPLITS)
    m = -1.0e30
    total = 0.0
    acc = tl.zeros([CHANNELS], tl.float32)
    await_last_kernel(HAS_PDL)
    for begin in tl.range(0, splits, BLOCK_SPLITS):
        is_split = begin + osplit < splits
        lse = tl.load(lse_ptr + pid * splits + begin + osplit, mask=is_split, other=float("-inf"))  # [BLOCK_SPLITS]
        partial = tl.load(
            partial_ptr + (pid * splits + begin + osplit)[:, None] * D + od[None, :],
            mask=is_split[:, None] & (od < D)[None, :],
            other=0.0,
        )  # [BLOCK_SPLITS, CHANNELS]
        m_new = tl.maximum(m, tl.max(lse, 0))
        weight = tl.exp2(lse - m_new)
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
