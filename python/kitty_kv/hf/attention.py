"""The attention function and the mask function that Transformers calls for ``attn_implementation="kitty"``."""

from __future__ import annotations

from typing import Any

import torch

from ..cache.dense_attention import dense_attention
from ..errors import UnsupportedError
from .padding import has_padding, new_tokens
from .staged import staged_layer


def kitty_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends through the Kitty cache if the keys come from one, else causally over the given keys.

    Args:
        module: the attention module.
        query: ``[B, HQ, S, D]``.
        key, value: ``[B, HKV, S, D]`` from ``KittyCache.update``, or ``[B, HKV, T, D]`` from any other cache or none.
        attention_mask: bool ``[B, T]`` (from ``kitty_mask``), False at padding; None if there is none.
        scaling: factor of the scores; default ``D ** -0.5``.
        dropout: must be 0 with a Kitty cache.

    Returns:
        ``[B, S, HQ, D]`` and None: attention weights are never formed.

    Raises:
        UnsupportedError: a feature that this attention does not have.
        CacheError: the mask contradicts what the cache holds.
    """
    _check_features(module, attention_mask, kwargs)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = staged_layer(key)
    if layer is None:
        out = _attend_without_cache(query, key, value, attention_mask, scaling)
    else:
        if dropout:
            raise UnsupportedError(
                f"Cannot attend through a Kitty cache with dropout {dropout}: call model.eval() first."
            )
        real = None if attention_mask is None else new_tokens(attention_mask, layer, query.shape[2])
        out = layer.attend(query, key, value, scaling=scaling, real=real)
    return out.transpose(1, 2).contiguous(), None


def kitty_mask(attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor | None:
    """Hands the 2-D padding mask to the attention function as it is."""
    return attention_mask


def _attend_without_cache(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    if mask is not None and has_padding(mask):
        count, total = query.shape[2], key.shape[2]
        causal = torch.ones(count, total, dtype=torch.bool, device=query.device).tril(total - count)
        # Padding sees itself: a row of weights without any allowed position would be NaN and spread.
        itself = torch.eye(total, dtype=torch.bool, device=query.device)[-count:]
        allowed = (causal & mask[:, None, None, :total]) | itself
        return dense_attention(query, key, value, scaling, allowed)
    return dense_attention(query, key, value, scaling)


def _check_features(module: torch.nn.Module, mask: torch.Tensor | None, kwargs: dict[str, Any]) -> None:
    model = type(module).__name__
    if mask is not None and mask.ndim != 2:
        raise UnsupportedError(
            f"Cannot attend with a {mask.ndim}-D attention mask: the kitty attention takes a 2-D padding mask [B, T]."
        )
    for name in ("sliding_window", "softcap", "s_aux"):
        if kwargs.get(name) is not None:
            raise UnsupportedError(
                f"Cannot run {model} with the kitty attention: it uses {name}, which this version lacks."
            )
    if kwargs.get("output_attentions"):
        raise UnsupportedError(
            "Cannot return attention weights from the kitty attention: load the model with 'eager' for them."
        )
