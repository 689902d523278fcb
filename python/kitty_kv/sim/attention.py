"""Causal attention in float64, to hold other implementations to."""

from __future__ import annotations

import torch

QUERIES_AT_ONCE = 256  # bounds the scores, which are 8 bytes each


def exact_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None = None
) -> torch.Tensor:
    """Attends the last S of T tokens causally.

    Args:
        query: ``[B, HQ, S, D]``.
        keys, values: ``[B, HKV, T, D]``.
        scaling: factor of the scores.
        softcap: scores become ``softcap * tanh(score / softcap)``; None for none.

    Returns:
        Float64 ``[B, HQ, S, D]``.
    """
    batch, heads, count, head_dim = query.shape
    kv_heads, total = keys.shape[1:3]
    grouped = query.double().view(batch, kv_heads, heads // kv_heads, count, head_dim)
    keys, values, out = keys.double(), values.double(), torch.empty_like(grouped)
    positions = torch.arange(total, device=query.device)
    for start in range(0, count, QUERIES_AT_ONCE):
        at = slice(start, min(start + QUERIES_AT_ONCE, count))
        scores = torch.einsum("bkgsd,bktd->bkgst", grouped[:, :, :, at], keys) * scaling
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        hidden = positions > positions[total - count :][at, None]  # [S, T]
        weights = scores.masked_fill_(hidden, -torch.inf).softmax(-1)
        out[:, :, :, at] = torch.einsum("bkgst,bktd->bkgsd", weights, values)
    return out.view(query.shape)
