"""Causal attention of a chunk behind cached tokens, on a GPU: with a mask torch would take a kernel several times slower."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

# cuDNN's attention is the faster one since this GPU, and up to this head_dim; it aligns causal queries with the first key.
_CUDNN_CAPABILITY, _CUDNN_MAX_HEAD_DIM = (9, 0), 128
# It makes a plan for each shape, which takes as long as it saves, so it gets those that come again: multiples of so many tokens.
_CUDNN_TOKENS = 512
# Versions before this one were not tried.
_CUDNN_TORCH = (2, 11)


def continued_attention(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attends the last S of T tokens causally, 1 < S < T.

    Args:
        query: ``[B, HQ, S, D]``, on CUDA.
        keys, values: ``[B, HKV, T, D]``.
        scaling: factor of the scores.

    Returns:
        ``[B, HQ, S, D]``.
    """
    query, keys, values = query.contiguous(), keys.contiguous(), values.contiguous()
    if _suits_cudnn(query, keys.shape[2]) and _prefers_cudnn(query.device):
        return _in_two_parts(query, keys, values, scaling)
    bias = causal_lower_right(query.shape[2], keys.shape[2])
    has_groups = query.shape[1] > keys.shape[1]
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scaling, enable_gqa=has_groups)


def _in_two_parts(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
    """To all of what is cached, and causally to the chunk itself, joined by the parts' sums of exponentials."""
    past = keys.shape[2] - query.shape[2]
    cached, cached_sum = _cudnn(query, keys[:, :, :past], values[:, :, :past], scaling, is_causal=False)
    own, own_sum = _cudnn(query, keys[:, :, past:], values[:, :, past:], scaling, is_causal=True)
    share = torch.sigmoid(cached_sum - own_sum)  # [B, HQ, S, 1], of the cached part
    return torch.lerp(own.float(), cached.float(), share).to(query.dtype)


def _cudnn(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, *, is_causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and the logarithm of the sum of exponentials, float32 ``[B, HQ, S, 1]``."""
    attend = torch.ops.aten._scaled_dot_product_cudnn_attention
    out, sums, *_ = attend(query, keys, values, None, True, 0.0, is_causal, False, scale=scaling)
    return out, sums if sums.ndim == 4 else sums.unsqueeze(-1)


def _suits_cudnn(query: torch.Tensor, total: int) -> bool:
    _, _, new_tokens, head_dim = query.shape
    comes_again = new_tokens % _CUDNN_TOKENS == 0 and total % _CUDNN_TOKENS == 0
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    return comes_again and is_half and head_dim <= _CUDNN_MAX_HEAD_DIM and head_dim % 8 == 0


@functools.cache
def _prefers_cudnn(device: torch.device) -> bool:
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    is_new = torch.cuda.get_device_capability(device) >= _CUDNN_CAPABILITY and version >= _CUDNN_TORCH
    return is_new and torch.backends.cudnn.is_available()
