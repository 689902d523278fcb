"""Causal attention over 16-bit keys and values, the same call that stock Transformers makes for ``sdpa``."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .continued_attention import continued_attention

# Bounds the score matrix where scores are formed: HQ x QUERY_BLOCK x T floats.
QUERY_BLOCK = 256


def dense_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attends the last S of T tokens causally.

    Repeats KV heads, and leaves the mask away where causality alone is meant, as ``sdpa_attention_forward`` of
    Transformers does, so that the ``fp16`` preset equals the stock cache to the bit.

    Args:
        query: ``[B, HQ, S, D]``.
        keys, values: ``[B, HKV, T, D]``.
        scaling: factor of the scores.
        mask: bool, broadcastable to ``[B, 1, S, T]``, True where attention is allowed; None for causal.
        softcap: scores become ``softcap * tanh(score / softcap)``; None for none.

    Returns:
        ``[B, HQ, S, D]``.
    """
    new_tokens, total = query.shape[2], keys.shape[2]
    groups = query.shape[1] // keys.shape[1]
    # Stock attention has no such case to be equal to.
    if mask is None and softcap is None and 1 < new_tokens < total and query.device.type == "cuda":
        return continued_attention(query, keys, values, scaling)
    if mask is None and (1 < new_tokens < total or (softcap is not None and new_tokens > 1)):
        mask = causal_mask(new_tokens, total, query.device)
    if softcap is not None:
        return _softcapped_attention(query, keys, values, scaling, mask, softcap)
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
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


def causal_mask(new_tokens: int, total: int, device: torch.device) -> torch.Tensor:
    """What the last S of T tokens see, bool ``[S, T]``."""
    return torch.ones(new_tokens, total, dtype=torch.bool, device=device).tril(total - new_tokens)


def _softcapped_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    mask: torch.Tensor | None,
    softcap: float,
) -> torch.Tensor:
    """Forms the scores, which no fused attention of torch caps; softmax in at least float32, as ``eager`` does."""
    grouped = query.unflatten(1, (keys.shape[1], -1))  # [B, HKV, G, S, D]
    keys, values = keys.unsqueeze(2), values.unsqueeze(2)  # [B, HKV, 1, T, D]
    blocks = []
    for start in range(0, query.shape[2], QUERY_BLOCK):
        at = slice(start, start + QUERY_BLOCK)
        scores = (grouped[:, :, :, at] @ keys.transpose(-1, -2)) * scaling  # [B, HKV, G, s, T]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        scores = torch.tanh(scores / softcap) * softcap
        if mask is not None:
            hidden = ~mask[..., at, :]  # [s, T], or [B, 1, s, T]
            scores = scores.masked_fill(hidden if hidden.ndim == 2 else hidden.unsqueeze(2), float("-inf"))
        blocks.append(scores.softmax(-1).to(values.dtype) @ values)
    return torch.cat(blocks, dim=3).flatten(1, 2)
