"""Adds Kitty to Transformers' registries, and takes it out again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from transformers import AttentionInterface, GenerationMixin
from transformers.generation import GenerationMode, configuration_utils
from transformers.masking_utils import AttentionMaskInterface

from ..config import KittyConfig
from ..errors import ConfigError, UnsupportedError
from .attention import kitty_attention, kitty_mask
from .cache import ATTENTION_NAME, KittyCache

_PLAIN_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)

_undo: list[Callable[[], None]] = []


def install() -> None:
    """Makes ``attn_implementation="kitty"`` and ``cache_implementation="kitty"`` known to Transformers; idempotent.

    The stock library stays as it is on disk. Three registries get an entry, the list of cache implementations another,
    and ``GenerationMixin._prepare_cache_for_generation`` is wrapped, since 4.53 builds caches without
    their ``cache_config``.
    """
    if _undo:
        return
    _register(AttentionInterface._global_mapping, kitty_attention)
    _register(AttentionMaskInterface._global_mapping, kitty_mask)
    _register(configuration_utils.CACHE_CONFIG_MAPPING, KittyConfig)
    names = configuration_utils.ALL_CACHE_IMPLEMENTATIONS
    names.append(ATTENTION_NAME)
    _undo.append(lambda: names.remove(ATTENTION_NAME))
    stock = GenerationMixin._prepare_cache_for_generation
    GenerationMixin._prepare_cache_for_generation = _with_kitty(stock)
    _undo.append(lambda: setattr(GenerationMixin, "_prepare_cache_for_generation", stock))


def uninstall() -> None:
    """Restores stock Transformers; does nothing when Kitty is not installed."""
    while _undo:
        _undo.pop()()


def _register(registry: dict[str, Any], entry: Any) -> None:
    registry[ATTENTION_NAME] = entry
    _undo.append(lambda: registry.pop(ATTENTION_NAME))


def _with_kitty(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def prepare(self: Any, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        wants_kitty = (
            generation_config.cache_implementation == ATTENTION_NAME and generation_config.use_cache is not False
        )
        if wants_kitty and model_kwargs.get("past_key_values") is not None:
            raise ConfigError(
                "Cannot generate: got both cache_implementation='kitty' and past_key_values; pass one of them."
            )
        if wants_kitty:
            config = _cache_config(generation_config.cache_config)
            model_kwargs["past_key_values"] = KittyCache.for_model(self, config=config)
        else:
            stock(self, generation_config, model_kwargs, *args, **kwargs)
        _check_padding(self, model_kwargs)
        if _is_plain_generation(self, generation_config, model_kwargs, *args):
            _leave_out_full_mask(model_kwargs)

    return prepare


def _cache_config(fields: Any) -> KittyConfig:
    if isinstance(fields, KittyConfig):
        return fields
    return KittyConfig.from_dict({} if fields is None else fields)


def _is_plain_generation(
    model: Any, generation_config: Any, model_kwargs: dict[str, Any], assistant_model: Any = None, *_: Any
) -> bool:
    """Whether tokens come one by one through the kitty attention; other ways of generating read the mask themselves."""
    return (
        model.config.get_text_config()._attn_implementation == ATTENTION_NAME
        and isinstance(model_kwargs.get("past_key_values"), KittyCache)
        and getattr(generation_config, "prefill_chunk_size", None) is None
        and generation_config.get_generation_mode(assistant_model) in _PLAIN_MODES
    )


def _leave_out_full_mask(model_kwargs: dict[str, Any]) -> None:
    """Without a mask nothing has to be read back from the device in every step; one that marks no padding says nothing."""
    mask, cache = model_kwargs.get("attention_mask"), model_kwargs["past_key_values"]
    is_whole = all(length == cache.get_seq_length() for length in cache.lengths)
    if mask is not None and is_whole and bool(mask.all()):
        del model_kwargs["attention_mask"]


def _check_padding(model: Any, model_kwargs: dict[str, Any]) -> None:
    """Stock attention never shows the cache its mask, so padding would be cached as if it were text."""
    attention = model.config.get_text_config()._attn_implementation
    if attention == ATTENTION_NAME or not isinstance(model_kwargs.get("past_key_values"), KittyCache):
        return
    mask = model_kwargs.get("attention_mask")
    if mask is not None and not bool(mask.all()):
        raise UnsupportedError(
            f"Cannot generate from a padded batch with a Kitty cache under attn_implementation={attention!r}: load the "
            "model with attn_implementation='kitty', which leaves padding out of the cache."
        )
