"""How large a model's queries are on each key channel, and what ``selection: query`` weighs channels with: a root of it.

They are measured once a model. Queries differ far more from channel to channel than from text to text, so tokens drawn at random,
which every model has, do: half of each row repeats the other, so that queries which look something up are among them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from ..cache.channel_weights import ChannelWeights
from ..config import KittyConfig
from ..errors import CacheOutOfMemoryError, ConfigError, UnsupportedError
from .attention import kitty_attention, kitty_mask
from .model_layers import context_limit, layer_windows

_ROWS, _LENGTH, _SEED = 2, 1024, 0
# 1 would make the error of an average query's scores smallest. But the few queries that look up one token among many like it
# read channels that the others hardly do, and an answer hangs on them: between 1 and the range alone (0) both fare best.
POWER = 0.25
_MEASURING = "kitty_measuring"
_of_models: weakref.WeakKeyDictionary[PreTrainedModel, ChannelWeights] = weakref.WeakKeyDictionary()
# Measuring changes the model's config and Transformers' registries for its time.
_lock = threading.RLock()


def needs_weights(config: PretrainedConfig, cache: KittyConfig) -> bool:
    """Whether such a cache of a model with such a (text) config chooses channels by weights."""
    has_choice = cache.selection == "query" and cache.quantizes_keys and 0 < cache.boost_ratio < 1
    return has_choice and None in layer_windows(config)


def weights_for(model: PreTrainedModel, cache: KittyConfig) -> ChannelWeights | None:
    """``query_weights`` where such a cache chooses channels by them, else None; raises as it does."""
    return query_weights(model) if needs_weights(model.config.get_text_config(), cache) else None


def query_weights(model: PreTrainedModel) -> ChannelWeights:
    """The weights of a model's full-attention layers; measured by a forward pass at the first call, then remembered.

    Nothing else may run on the model meanwhile.

    Raises:
        UnsupportedError, CacheOutOfMemoryError: the model's queries cannot be looked at.
    """
    with _lock:
        if model not in _of_models:
            _of_models[model] = ChannelWeights(over_heads(measure_queries(model, _random_tokens(model))) ** POWER)
        return _of_models[model]


def set_query_weights(model: PreTrainedModel, weights: ChannelWeights) -> None:
    """Makes caches of this model that are made from now on use these weights.

    Raises:
        ConfigError: they are of another number of layers.
    """
    layers = layer_windows(model.config.get_text_config()).count(None)
    if weights.tensor.shape[0] != layers:
        raise ConfigError(
            f"Cannot use these channel weights: the model has {layers} full-attention layers, they are of "
            f"{weights.tensor.shape[0]}; measure them with this model."
        )
    with _lock:
        _of_models[model] = weights


def measure_queries(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Root mean squares of each head's queries on each channel, after RoPE.

    Args:
        model: any causal language model that calls attention functions by name.
        tokens: int64 ``[B, T]``, without padding.

    Returns:
        Float64 ``[LAYERS, HKV, HQ / HKV, D]`` of the full-attention layers, on the CPU.

    Raises:
        UnsupportedError: the model calls none, or not once for each layer.
        CacheOutOfMemoryError: the device has no memory for the pass.
    """
    config = model.config.get_text_config()
    if not model._supports_attention_backend:
        raise UnsupportedError(
            f"Cannot measure the queries of {type(model).__name__}: it does not call attention functions by name; choose another "
            "selection than 'query'."
        )
    full = [layer for layer, window in enumerate(layer_windows(config)) if window is None]
    sizes: dict[int, torch.Tensor] = {}
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with _lock, _attending_by(config, functools.partial(_attend, sizes)), torch.inference_mode():
        try:
            model(tokens.to(model.device), use_cache=False, **last_only)
        except torch.OutOfMemoryError as error:
            raise CacheOutOfMemoryError(
                f"Cannot measure the queries of {type(model).__name__}: {model.device} has no memory left for a pass of "
                f"{tokens.numel()} tokens; free some, or choose another selection than 'query'."
            ) from error
    if not sizes.keys() >= set(full):
        raise UnsupportedError(
            f"Cannot measure the queries of {type(model).__name__}: only layers {sorted(sizes)} of {full} have attended; choose "
            "another selection than 'query'."
        )
    return torch.stack([sizes[layer] for layer in full])


def over_heads(sizes: torch.Tensor) -> torch.Tensor:
    """Root mean squares over all heads that share a KV head: ``[LAYERS, HKV, HQ / HKV, D]`` to ``[LAYERS, HKV, D]``."""
    return sizes.square().mean(2).sqrt()


def _attend(
    sizes: dict[int, torch.Tensor],
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    *args: Any,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, HKV, HQ / HKV, T, D]
    sizes[module.layer_idx] = grouped.double().square().mean((0, 3)).sqrt().cpu()
    return kitty_attention(module, query, key, *args, **options)


@contextlib.contextmanager
def _attending_by(config: PretrainedConfig, attend: Any) -> Iterator[None]:
    """Runs models of ``config`` under another attention function."""
    before = config._attn_implementation
    AttentionInterface._global_mapping[_MEASURING] = attend
    AttentionMaskInterface._global_mapping[_MEASURING] = kitty_mask
    config._attn_implementation = _MEASURING
    try:
        yield
    finally:
        config._attn_implementation = before
        del AttentionInterface._global_mapping[_MEASURING], AttentionMaskInterface._global_mapping[_MEASURING]


def _random_tokens(model: PreTrainedModel) -> torch.Tensor:
    config = model.config.get_text_config()
    length = min(_LENGTH, context_limit(config) or _LENGTH)
    half = torch.randint(0, config.vocab_size, (_ROWS, -(-length // 2)), generator=torch.Generator().manual_seed(_SEED))
    return half.repeat(1, 2)[:, :length]
