"""What stock ``generate()`` lacks for a Kitty cache: each function here wraps one of Transformers'."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from transformers.generation import GenerationMode

from ..config import KittyConfig
from ..errors import CacheError, ConfigError, UnsupportedError
from .cache import ATTENTION_NAME, KittyCache
from .stock_cache import MaskedCache

_PLAIN_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)


def with_kitty_cache(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``GenerationMixin._prepare_cache_for_generation``: builds the cache with its ``cache_config``, checks the rest."""

    @functools.wraps(stock)
    def prepare(
        self: Any,
        generation_config: Any,
        model_kwargs: dict[str, Any],
        assistant_model: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        given = model_kwargs.get("past_key_values")
        wants_kitty = (
            generation_config.cache_implementation == ATTENTION_NAME and generation_config.use_cache is not False
        )
        if given is not None and (wants_kitty or isinstance(given, KittyCache)):
            _check_one_way(generation_config)
        mode = generation_config.get_generation_mode(assistant_model)
        if wants_kitty or isinstance(given, KittyCache):
            _check_mode(generation_config, mode)
        if wants_kitty:
            config = _cache_config(generation_config.cache_config)
            model_kwargs["past_key_values"] = KittyCache.for_model(self, config=config)
            # An assistant gets a copy of these settings with a stock cache, which takes no config.
            generation_config.cache_config = None
        else:
            stock(self, generation_config, model_kwargs, assistant_model, *args, **kwargs)
        cache = model_kwargs.get("past_key_values")
        attention = self.config.get_text_config()._attn_implementation
        if isinstance(cache, KittyCache):
            cache.tell_mask(model_kwargs.get("attention_mask"), self.config.get_text_config())
            if attention == ATTENTION_NAME and generation_config.prefill_chunk_size is None and mode in _PLAIN_MODES:
                _leave_out_full_mask(model_kwargs)

    return prepare


def refusing_known_prompts(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``GenerationMixin._get_initial_cache_position``, which leaves no position where the cache holds the whole prompt."""

    @functools.wraps(stock)
    def initial(self: Any, seq_length: int, device: torch.device, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        given = stock(self, seq_length, device, model_kwargs)
        cache = given.get("past_key_values")
        if isinstance(cache, (KittyCache, MaskedCache)) and not given["cache_position"].numel():
            embeds = given.get("inputs_embeds")
            _check_news(cache, seq_length if embeds is None else embeds.shape[1])
        return given

    return initial


def with_real_positions(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``GenerationMixin._prefill_chunking``, whose position ids count padding and earlier turns' tokens again."""

    @functools.wraps(stock)
    def prefill(self: Any, input_ids: torch.Tensor, generation_config: Any, **model_kwargs: Any) -> dict[str, Any]:
        cache = model_kwargs.get("past_key_values")
        if not isinstance(cache, KittyCache):
            return stock(self, input_ids, generation_config, **model_kwargs)
        mask, positions = model_kwargs.pop("attention_mask", None), model_kwargs.pop("position_ids", None)
        last = input_ids.shape[1] - 1
        for start in range(cache.get_seq_length(), last, generation_config.prefill_chunk_size):
            end = min(start + generation_config.prefill_chunk_size, last)
            chunk = {"cache_position": torch.arange(start, end, device=input_ids.device)}
            if mask is not None:
                chunk["attention_mask"] = mask[:, :end]
            if positions is not None:
                chunk["position_ids"] = positions[:, start:end]
            inputs = self.prepare_inputs_for_generation(input_ids[:, start:end], **{**model_kwargs, **chunk})
            self(**inputs, return_dict=True)
        at_last = {"attention_mask": mask, "cache_position": torch.tensor([last], device=input_ids.device)}
        return {**model_kwargs, **at_last, **({} if positions is None else {"position_ids": positions})}

    return prefill


def telling_the_cache(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``masking_utils._preprocess_mask_arguments``, where mask and cache of every forward pass meet."""

    @functools.wraps(stock)
    def preprocess(
        config: Any,
        input_embeds: Any,
        attention_mask: Any,
        cache_position: Any,
        past_key_values: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if isinstance(past_key_values, (KittyCache, MaskedCache)):
            past_key_values.tell_mask(attention_mask, config)
        return stock(config, input_embeds, attention_mask, cache_position, past_key_values, *args, **kwargs)

    return preprocess


def _cache_config(fields: Any) -> KittyConfig:
    if isinstance(fields, KittyConfig):
        return fields
    return KittyConfig.from_dict({} if fields is None else fields)


def _check_one_way(generation_config: Any) -> None:
    if generation_config.cache_implementation is not None:
        raise ConfigError(
            f"Cannot generate: got both cache_implementation={generation_config.cache_implementation!r} and "
            "past_key_values; pass one of them."
        )
    if generation_config.cache_config is not None:
        raise ConfigError(
            "Cannot generate: got both cache_config and past_key_values, whose config is its own; pass one of them."
        )


def _check_mode(generation_config: Any, mode: GenerationMode) -> None:
    if mode == GenerationMode.CONTRASTIVE_SEARCH:
        raise UnsupportedError(
            "Cannot use contrastive search (penalty_alpha) with a Kitty cache: Transformers does it with DynamicCache "
            "only; leave penalty_alpha out, or use the stock cache."
        )
    if generation_config.prefill_chunk_size is not None and mode not in (
        GenerationMode.GREEDY_SEARCH,
        GenerationMode.SAMPLE,
    ):
        raise UnsupportedError(
            f"Cannot use prefill_chunk_size in {mode.value} generation: Transformers would ignore it there; leave it out."
        )
    if generation_config.return_legacy_cache:
        raise UnsupportedError(
            "Cannot return a Kitty cache in the legacy format (return_legacy_cache): packed pages have none; leave it out."
        )


def _check_news(cache: KittyCache | MaskedCache, tokens: int) -> None:
    held = cache.get_seq_length()
    if held and tokens <= held:
        raise CacheError(
            f"Cannot generate: the cache holds {held} tokens, padding included, and the prompt has {tokens}, so none of them is "
            "new; give the whole conversation so far followed by the new tokens, or reset() or crop() the cache.",
            details={"cached": held, "prompt": tokens},
        )


def _leave_out_full_mask(model_kwargs: dict[str, Any]) -> None:
    """Without a mask nothing has to be read back from the device in every step; one that marks no padding says nothing."""
    mask, cache = model_kwargs.get("attention_mask"), model_kwargs["past_key_values"]
    if mask is not None and not cache.slots.has_padding and bool(mask.all()):
        del model_kwargs["attention_mask"]
