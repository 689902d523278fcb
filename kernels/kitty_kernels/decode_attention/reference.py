"""The specification: dequantize a row's history, append the new tokens, attend in float32, row by row."""

from __future__ import annotations

import torch

from ..dequantize.api import dequantize_row
from ..pages import CacheView

# Bounds the score matrix of a long chunk: HQ x QUERY_BLOCK x T floats.
QUERY_BLOCK = 256


def decode_attention(
    query: torch.Tensor,
    cache: CacheView,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    *,
    scaling: float,
) -> torch.Tensor:
    """See ``api.decode_attention``."""
    out = torch.empty_like(query)
    for row in range(query.shape[0]):
        keys, values = dequantize_row(cache, row)  # [HKV, T, D]
        keys = torch.cat((keys, new_keys[row].float()), dim=1)  # [HKV, T+S, D]
        values = torch.cat((values, new_values[row].float()), dim=1)
        out[row] = attend_row(query[row].float(), keys, values, scaling)
    return out


def attend_row(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of the last S of T tokens, float32: query ``[HQ, S, D]``, keys and values ``[HKV, T, D]``."""
    (query_heads, new_tokens, head_dim), (kv_heads, total, _) = query.shape, keys.shape
    grouped = query.reshape(kv_heads, query_heads // kv_heads, new_tokens, head_dim)
    keys, values = keys.unsqueeze(1), values.unsqueeze(1)  # [HKV, 1, T, D]
    position = torch.arange(total, device=query.device)
    blocks = []
    for start in range(0, new_tokens, QUERY_BLOCK):
        block = grouped[:, :, start : start + QUERY_BLOCK]  # [HKV, G, s, D]
        scores = (block @ keys.transpose(-1, -2)) * scaling  # [HKV, G, s, T]
        last_seen = total - new_tokens + start + torch.arange(block.shape[2], device=query.device)
        scores.masked_fill_(position > last_seen[:, None], float("-inf"))
        blocks.append(scores.softmax(-1) @ values)
    return torch.cat(blocks, dim=2).reshape(query_heads, new_tokens, head_dim)
