"""Attention of new tokens to the last ``window`` tokens of their row, in rows that hold different numbers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .dense_attention import QUERY_BLOCK, dense_attention

_NOWHERE = 1 << 62  # a position that no query reaches


class UnevenRows(NamedTuple):
    """Rows before the call, where they differ or the call has padding."""

    lengths: Sequence[int]  # real tokens, those that the window has passed included
    held: Sequence[int]  # tokens that are still here
    real: torch.Tensor | None  # bool [B, S], the call's real tokens; None for all


def sliding_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    window: int,
    past: int,
    uneven: UnevenRows | None,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    """Attends S new tokens to what is held and to each other, blocks of queries at a time.

    Args:
        query: ``[B, HQ, S, D]``.
        keys, values: ``[B, HKV, past + S, D]``, a row's held tokens at the end of the first ``past``.
        window: a query sees its row's last ``window`` tokens, itself included.
        past: columns that were held before the call.
        uneven: None if all rows hold ``past`` tokens and gain S.
        scaling: factor of the scores.
        softcap: scores become ``softcap * tanh(score / softcap)``; None for none.

    Returns:
        ``[B, HQ, S, D]``; zero at padding.
    """
    count = query.shape[2]
    if uneven is None:
        first = max(0, past - (window - 1))
        keys, values, past = keys[:, :, first:], values[:, :, first:], past - first
        if past + count <= window:
            return dense_attention(query, keys, values, scaling, softcap=softcap)
        token_at = torch.arange(past + count, device=query.device)[None]
        query_at = token_at[:, past:]
    else:
        token_at, query_at = _positions(uneven, window, past, count, query.device)
    blocks = []
    for start in range(0, count, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, count)
        seen = slice(max(0, past + start - (window - 1)) if uneven is None else 0, past + end)
        token, position = token_at[:, None, seen], query_at[:, start:end, None]
        mask = ((token <= position) & (token > position - window)).unsqueeze(1)  # [B, 1, s, t]
        part = (query[:, :, start:end], keys[:, :, seen], values[:, :, seen])
        blocks.append(dense_attention(*part, scaling, mask, softcap))
    out = torch.cat(blocks, dim=2)
    if uneven is None or uneven.real is None:
        return out
    return out.masked_fill(~uneven.real.to(out.device)[:, None, :, None], 0)


def _positions(
    rows: UnevenRows, window: int, past: int, count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions in their row of ``past + S`` tokens and of S queries, int64 ``[B, n]``; padding sees only itself."""
    lengths, held = torch.tensor([rows.lengths, rows.held], device=device)[:, :, None]  # [B, 1]
    column = torch.arange(past, device=device)
    old = torch.where(column >= past - held, lengths - past + column, _NOWHERE)  # [B, past]
    if rows.real is None:
        new = lengths + torch.arange(count, device=device)
    else:
        real = rows.real.to(device)
        # Each padding has a far position of its own, so that its row of weights is not empty.
        own = _NOWHERE + (window + 1) * torch.arange(1, count + 1, device=device)
        new = torch.where(real, lengths + real.cumsum(1) - 1, own)
    return torch.cat((old, new), dim=1), new
