"""Decode steps of stock ``generate()`` as CUDA graphs, where its ``compile_config`` asks for compiled steps.

Transformers compiles the steps of caches whose shape is fixed. A Kitty cache grows, so instead of the compiled model it gets the
pass that our engine decodes with.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from transformers import CompileConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..cache.geometry import SHORT_CALL
from ..cache.store import PageStore
from ..errors import CacheBusyError, CacheOutOfMemoryError
from .cache import ATTENTION_NAME, KittyCache
from .decode_graphs import DecodeGraphs
from .warn_once import warn_once

_graphs: weakref.WeakKeyDictionary[PageStore, DecodeGraphs] = weakref.WeakKeyDictionary()
# What a step asked for one of these cannot come from a graph, which holds logits only.
_MORE_OUTPUTS = ("output_attentions", "output_hidden_states", "inputs_embeds")


def asking_for_recorded_steps() -> CompileConfig:
    """A ``compile_config`` for ``generate()``."""
    return CompileConfig()


def recording_where_asked(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Wraps ``GenerationMixin._valid_auto_compile_criteria``: for a Kitty cache only ``compile_config`` asks for it."""

    @functools.wraps(stock)
    def is_valid(self: Any, model_kwargs: dict[str, Any], generation_config: Any) -> bool:
        cache = model_kwargs.get("past_key_values")
        if not isinstance(cache, KittyCache):
            return stock(self, model_kwargs, generation_config)
        asked = generation_config.compile_config
        if asked is None or generation_config.disable_compile:
            return False
        reason = _reason_against(self, cache, is_anywhere=asked._compile_all_devices)
        if reason is not None:
            warn_once(
                f"Decode steps of {type(self).__name__} run without CUDA graphs despite compile_config: {reason}."
            )
        return reason is None

    return is_valid


def recorded_call(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``PreTrainedModel.get_compiled_call``: a step with a Kitty cache is our own, any other the compiled model's."""

    @functools.wraps(stock)
    def get_compiled_call(self: Any, compile_config: Any) -> Callable[..., Any]:
        def call(**inputs: Any) -> Any:
            if isinstance(inputs.get("past_key_values"), KittyCache):
                return recorded_step(self, **inputs)
            return stock(self, compile_config)(**inputs)

        return call

    return get_compiled_call


def recorded_step(model: Any, **inputs: Any) -> Any:
    """One forward pass over a Kitty cache: by a graph where it is a short one of real tokens, else as the model makes it.

    Raises:
        CacheError: as the ordinary pass.
    """
    cache, input_ids, positions = (inputs.get(name) for name in ("past_key_values", "input_ids", "position_ids"))
    if positions is None:
        positions = inputs["cache_position"].unsqueeze(0)
    is_plain = input_ids is not None and all(inputs.get(name) in (None, False) for name in _MORE_OUTPUTS)
    count = input_ids.shape[1] if is_plain else 0
    if not cache.slots.count or not 0 < count <= SHORT_CALL:
        return model(**inputs)
    cache.identity.check_config(model.config.get_text_config())
    real = cache.new_tokens(inputs.get("attention_mask"), count)
    pages, graphs = cache.pages, _graphs_of(model, cache)
    # Another model than the one that filled the cache is refused by the ordinary pass.
    if real is not None or graphs.model is not model or not graphs.takes(pages):
        return model(**inputs)
    cache.check_context(count)
    try:
        logits = graphs.feed(pages, None, input_ids.tolist(), positions.expand(len(input_ids), -1).tolist())
    except (CacheBusyError, CacheOutOfMemoryError):
        raise
    except BaseException:
        pages.break_decoding()
        raise
    cache.slots.add(count, None)
    # The graph's own logits are overwritten by the next step.
    return CausalLMOutputWithPast(logits=logits[: len(input_ids)].clone(), past_key_values=cache)


def _reason_against(model: Any, cache: KittyCache, *, is_anywhere: bool) -> str | None:
    if cache.model_config._attn_implementation != ATTENTION_NAME:
        return f"they need attn_implementation={ATTENTION_NAME!r}, got {cache.model_config._attn_implementation!r}"
    if cache.sliding is not None:
        return "sliding-window layers keep a stock cache, which changes shape"
    devices = {weight.device for weight in model.parameters()}
    if len(devices) > 1:
        return f"the model lies on {len(devices)} devices"
    if model.device.type != "cuda" and not is_anywhere:
        return f"the model lies on {model.device}, not on a CUDA GPU"
    return None


def _graphs_of(model: Any, cache: KittyCache) -> DecodeGraphs:
    store = cache.pages.store
    if store not in _graphs:
        # Batches of generate() keep their size; as many rows as there are round as an ordinary pass does.
        _graphs[store] = DecodeGraphs(model, pads_rows=False)
        store.grow_less_often()
    return _graphs[store]
