"""Attention of S new tokens a row over its cached tokens and, causally, over each other."""

from __future__ import annotations

import torch

from ..dispatch import choose
from ..pages import CacheView
from . import reference


def decode_attention(
    query: torch.Tensor,
    cache: CacheView,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    *,
    scaling: float,
    impl: str = "auto",
) -> torch.Tensor:
    """Softmax attention over what the cache holds plus this call's own tokens in full precision.

    Args:
        query: ``[B, HQ, S, D]``, floating point.
        cache: the rows' cached tokens, without the new ones; its B is that of ``query``.
        new_keys: ``[B, HKV, S, D]``, this call's keys after RoPE; token s sees new tokens 0..s.
        new_values: ``[B, HKV, S, D]``.
        scaling: factor of the scores, usually ``D ** -0.5``.
        impl: ``auto`` or ``reference``.

    Returns:
        ``[B, HQ, S, D]`` in the dtype of ``query``; computed in float32.

    Raises:
        ValueError: shapes do not fit together.
        NotImplementedError: ``impl`` does not exist.
    """
    _check(query, cache, new_keys, new_values)
    run = choose("decode_attention", {"reference": reference.decode_attention}, impl)
    return run(query, cache, new_keys, new_values, scaling=scaling)


def _check(query: torch.Tensor, cache: CacheView, new_keys: torch.Tensor, new_values: torch.Tensor) -> None:
    if query.ndim != 4:
        raise ValueError(f"Cannot attend: query must be [B, HQ, S, D], got shape {tuple(query.shape)}.")
    batch, query_heads, new_tokens, head_dim = query.shape
    kv_heads = cache.sink_keys.shape[1]
    wanted = (batch, kv_heads, new_tokens, head_dim)
    for name, tensor in (("new_keys", new_keys), ("new_values", new_values)):
        if tuple(tensor.shape) != wanted:
            raise ValueError(f"Cannot attend: {name} must be {wanted}, got {tuple(tensor.shape)}.")
    if query_heads % kv_heads:
        raise ValueError(f"Cannot attend: {query_heads} query heads do not divide among {kv_heads} KV heads.")
    if cache.sink_keys.shape[0] != batch:
        raise ValueError(f"Cannot attend: query has {batch} rows, the cache {cache.sink_keys.shape[0]}.")
