"""The attention function and the mask function that Transformers calls for ``attn_implementation="kitty"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.masking_utils import causal_mask_function, sdpa_mask, sliding_window_causal_mask_function

from ..cache.dense_attention import causal_mask, dense_attention
from ..errors import UnsupportedError
from .padding import has_padding
from .staged import staged_for
from .traced_cache import attend_next_layer, is_traced

_UNSUPPORTED_ARGUMENTS = ("s_aux", "head_mask", "position_bias", "alibi", "cu_seq_lens_q")


def kitty_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends through the Kitty cache if the keys come from one, else causally over the given keys.

    Args:
        module: the attention module.
        query: ``[B, HQ, S, D]``.
        key, value: ``[B, HKV, S, D]`` from ``KittyCache.update``, or ``[B, HKV, T, D]`` from any other cache or none.
        attention_mask: bool ``[B, T]`` (from ``kitty_mask``), False at padding; None if there is none. Without a Kitty
            cache also bool ``[B, 1, S, T]``.
        scaling: factor of the scores; default ``D ** -0.5``.
        dropout: must be 0.
        sliding_window: a query sees the last so many tokens, itself included; None for all.
        softcap: scores become ``softcap * tanh(score / softcap)``; None for none.

    Returns:
        ``[B, S, HQ, D]`` and None: attention weights are never formed.

    Raises:
        UnsupportedError: a feature that this attention does not have.
        CacheError: the mask contradicts what the cache holds, or the cache belongs to another model.
    """
    _check_features(module, attention_mask, kwargs)
    if dropout:
        raise UnsupportedError(f"Cannot attend with dropout {dropout} in the kitty attention: call model.eval() first.")
    options = {"scaling": query.shape[-1] ** -0.5 if scaling is None else scaling, "softcap": softcap}
    if torch.compiler.is_compiling() or is_traced():
        return attend_next_layer(query, key, value, **options).transpose(1, 2), None
    staged = staged_for(key)
    if staged is None:
        out = _attend_without_cache(query, key, value, attention_mask, sliding_window, **options)
    else:
        out = staged.cache.attend(
            staged.layer_idx, module, query, key, value, mask=attention_mask, window=sliding_window, **options
        )
    return out.transpose(1, 2).contiguous(), None


def kitty_mask(
    batch_size: int,
    cache_position: torch.Tensor,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **_: Any,
) -> torch.Tensor | None:
    """Hands the 2-D padding mask to the attention function as it is; arguments are those of ``sdpa_mask``.

    Raises:
        UnsupportedError: a static cache, or a pattern other than causal or sliding in front of cached tokens.
    """
    if allow_is_causal_skip:
        return attention_mask
    # Static caches, packed sequences and other patterns (bidirectional image tokens) may not be skipped.
    if kv_length != cache_position.shape[0]:
        raise UnsupportedError(
            f"Cannot attend {cache_position.shape[0]} new tokens to {kv_length} positions with the kitty attention: the "
            "cache is a static one, or the mask is not a causal one; use KittyCache or DynamicCache, and plain masks."
        )
    sizes = (batch_size, cache_position, kv_length, kv_offset)
    usual = causal_mask_function if local_size is None else sliding_window_causal_mask_function(local_size)
    wanted, plain = (
        sdpa_mask(*sizes, function, attention_mask, allow_is_causal_skip=False) for function in (mask_function, usual)
    )
    return attention_mask if torch.equal(wanted, plain) else wanted


def _attend_without_cache(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    window: int | None,
    scaling: float,
    softcap: float | None,
) -> torch.Tensor:
    count, total = query.shape[2], key.shape[2]
    is_padded = mask is not None and (mask.ndim == 4 or has_padding(mask))
    if not is_padded and (window is None or total <= window):
        return dense_attention(query, key, value, scaling, softcap=softcap)
    allowed = causal_mask(count, total, query.device)
    if window is not None:
        allowed = allowed & ~allowed.new_ones(count, total).tril(total - count - window)
    if is_padded:
        allowed = mask if mask.ndim == 4 else allowed & mask[:, None, None, :total]
        # Padding sees itself: a row of weights without any allowed position would be NaN and spread.
        allowed = allowed | torch.eye(total, dtype=torch.bool, device=query.device)[-count:]
    return dense_attention(query, key, value, scaling, allowed, softcap)


def _check_features(module: torch.nn.Module, mask: torch.Tensor | None, kwargs: dict[str, Any]) -> None:
    model = type(module).__name__
    if mask is not None and mask.ndim != 2 and (mask.ndim != 4 or mask.dtype != torch.bool):
        raise UnsupportedError(
            f"Cannot attend with a {mask.ndim}-D attention mask: the kitty attention takes a 2-D padding mask [B, T]; "
            "where the model itself makes the mask, load it with attn_implementation='eager'."
        )
    for name in _UNSUPPORTED_ARGUMENTS:
        if kwargs.get(name) is not None:
            raise UnsupportedError(
                f"Cannot run {model} with the kitty attention: it uses {name}, which this attention lacks; load the "
                "model with attn_implementation='eager'."
            )
    if kwargs.get("is_causal") is False or not getattr(module, "is_causal", True):
        raise UnsupportedError(f"Cannot run {model} with the kitty attention: it is not causal; load it with 'sdpa'.")
    if kwargs.get("output_attentions"):
        raise UnsupportedError(
            "Cannot return attention weights from the kitty attention: load the model with 'eager' for them."
        )
