"""Causal attention over 16-bit keys and values, the same call that stock Transformers makes for ``sdpa``."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def dense_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attends the last S of T tokens causally.

    Repeats KV heads, and leaves the mask away where causality alone is meant, as ``sdpa_attention_forward`` of
    Transformers does, so that the ``fp16`` preset equals the stock cache to the bit.

    Args:
        query: ``[B, HQ, S, D]``.
        keys, values: ``[B, HKV, T, D]``.
        scaling: factor of the scores.
        mask: bool, broadcastable to ``[B, 1, S, T]``, True where attention is allowed; None for causal.

    Returns:
        ``[B, HQ, S, D]``.
    """
    groups = query.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    new_tokens, total = query.shape[2], keys.shape[2]
    if mask is None and 1 < new_tokens < total:
        mask = torch.ones(new_tokens, total, dtype=torch.bool, device=query.device).tril(total - new_tokens)
    is_causal = mask is None and new_tokens > 1
    return F.scaled_dot_product_attention(
        query.contiguous(),
        keys.contiguous(),
        values.contiguous(),
        attn_mask=mask,
        scale=scaling,
        is_causal=is_causal,
    )


def folded_attention(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attends one query a row, ``[B, HQ, 1, D]``, to all of ``[B, HKV, T, D]`` without repeating KV heads."""
    grouped = query.reshape(query.shape[0], keys.shape[1], -1, query.shape[3])  # [B, HKV, HQ/HKV, D]
    return F.scaled_dot_product_attention(grouped, keys, values, scale=scaling).reshape(query.shape)
