"""The specification: dequantize the rows, attend in float32, row by row."""

from __future__ import annotations

import torch

from ..dequantize.api import dequantize_view
from ..pages import CacheView

# Bounds the score matrix of a long chunk: HQ x QUERY_BLOCK x T floats.
QUERY_BLOCK = 256


def decode_attention(
    query: torch.Tensor,
    view: CacheView,
    *,
    scaling: float,
    first_positions: torch.Tensor | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """See ``api.decode_attention``."""
    if first_positions is None:
        first_positions = view.lengths - query.shape[2]
    tokens = int(view.lengths.max()) if view.lengths.numel() else 0
    keys, values = dequantize_view(view, tokens=tokens, dtype=torch.float32, impl="reference")  # [B, HKV, T, D]
    out = torch.zeros_like(query)
    for row in range(query.shape[0]):
        length = int(view.lengths[row])
        if length:
            visible = _visible(int(first_positions[row]), query.shape[2], length, window, query.device)
            k, v = keys[row, :, :length], values[row, :, :length]
            out[row] = attend_row(query[row].float(), k, v, visible, scaling, softcap)
    return out


def attend_row(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor,
    scaling: float,
    softcap: float | None = None,
) -> torch.Tensor:
    """Attention in the dtype of its inputs: query ``[HQ, S, D]``, keys and values ``[HKV, T, D]``, visible ``[S, T]``.

    Queries that see nothing give zeros.
    """
    (query_heads, new_tokens, head_dim), kv_heads = query.shape, keys.shape[0]
    grouped = query.reshape(kv_heads, query_heads // kv_heads, new_tokens, head_dim)
    keys, values = keys.unsqueeze(1), values.unsqueeze(1)  # [HKV, 1, T, D]
    blocks = []
    for start in range(0, new_tokens, QUERY_BLOCK):
        block = grouped[:, :, start : start + QUERY_BLOCK]  # [HKV, G, s, D]
        scores = (block @ keys.transpose(-1, -2)) * scaling  # [HKV, G, s, T]
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        hidden = ~visible[start : start + QUERY_BLOCK]  # [s, T]
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        # A query that sees nothing has no softmax.
        blocks.append(weights.masked_fill(hidden.all(-1)[:, None], 0.0) @ values)
    return torch.cat(blocks, dim=2).reshape(query_heads, new_tokens, head_dim)


def _visible(first: int, new_tokens: int, length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Which tokens ``[T]`` each query ``[S]`` sees."""
    position = first + torch.arange(new_tokens, device=device)[:, None]
    token = torch.arange(length, device=device)
    # A query beyond the row's last token, or before its first, is padding and sees nothing.
    visible = (token <= position) & (position < length)
    return visible if window is None else visible & (token > position - window)
