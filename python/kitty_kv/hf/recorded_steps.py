"""Decode steps of stock ``generate()`` as CUDA graphs: the host, not the device, is what an ordinary step waits for.

Transformers compiles the steps of caches whose shape is fixed. A Kitty cache grows, so instead of the compiled model it gets the
pass that our engine decodes with. On a GPU that is what ``generate()`` does where nothing speaks against it; a
``compile_config`` has the decoder layers compiled as well, ``disable_compile=True`` turns both off.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch.nn.modules import module as torch_module
from transformers import CompileConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..cache.geometry import SHORT_CALL
from ..errors import CacheBusyError, CacheOutOfMemoryError
from .cache import ATTENTION_NAME, KittyCache
from .decode_graphs import DecodeGraphs
from .warn_once import warn_once

# Of a step's arguments, those that a graph makes up for. A step with any other goes the ordinary way.
_KNOWN = {
    *("input_ids", "attention_mask", "position_ids", "cache_position", "past_key_values"),
    *("use_cache", "return_dict", "logits_to_keep"),
}


def asking_for_compiled_layers() -> CompileConfig:
    """A ``compile_config`` for ``generate()``."""
    return CompileConfig()


def recording_where_possible(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Wraps ``GenerationMixin._valid_auto_compile_criteria``, which decides for each call of ``generate()``."""

    @functools.wraps(stock)
    def is_valid(self: Any, model_kwargs: dict[str, Any], generation_config: Any) -> bool:
        cache = model_kwargs.get("past_key_values")
        if not isinstance(cache, KittyCache):
            return stock(self, model_kwargs, generation_config)
        if generation_config.disable_compile:
            return False
        asked = generation_config.compile_config
        reason = reason_against(self, cache, is_anywhere=asked is not None and asked._compile_all_devices)
        if reason is not None and asked is not None:
            warn_once(
                f"Decode steps of {type(self).__name__} run without CUDA graphs despite compile_config: {reason}."
            )
        return reason is None

    return is_valid


def recorded_call(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps ``PreTrainedModel.get_compiled_call``, which ``generate()`` asks once: a step with a Kitty cache is our own, any
    other the compiled model's.
    """

    @functools.wraps(stock)
    def get_compiled_call(self: Any, compile_config: Any) -> Callable[..., Any]:
        # Not kept for the next call: adapters, weights and hooks may be others by then.
        steps = RecordedSteps(self, compiles=compile_config is not None)

        def call(**inputs: Any) -> Any:
            if isinstance(inputs.get("past_key_values"), KittyCache):
                return steps(**inputs)
            return stock(self, compile_config)(**inputs)

        return call

    return get_compiled_call


class RecordedSteps:
    """Forward passes over a Kitty cache: by a graph where it is a short one of real tokens, else as the model makes it.

    Args:
        model: must stay as it is as long as this is used.
        compiles: whether its decoder layers are compiled.
    """

    def __init__(self, model: Any, *, compiles: bool) -> None:
        self._model = model
        # Batches of generate() keep their size; as many rows as there are round as an ordinary pass does.
        self._graphs = DecodeGraphs(model, pads_rows=False, compiles=compiles)

    def __call__(self, **inputs: Any) -> Any:
        """What the model returns for ``inputs``.

        Raises:
            CacheError: as the ordinary pass.
        """
        cache, input_ids, positions = (inputs.get(name) for name in ("past_key_values", "input_ids", "position_ids"))
        count = 0 if input_ids is None else input_ids.shape[1]
        is_plain = all(name in _KNOWN or value is None or value is False for name, value in inputs.items())
        if not is_plain or not cache.slots.count or not 0 < count <= SHORT_CALL:
            return self._model(**inputs)
        cache.identity.check_config(self._model.config.get_text_config())
        real = cache.new_tokens(inputs.get("attention_mask"), count)
        pages = cache.pages
        if real is not None or not self._graphs.takes(pages):
            return self._model(**inputs)
        cache.check_context(count)
        if positions is None:
            positions = inputs["cache_position"].unsqueeze(0)
        pages.store.grow_less_often()
        try:
            logits = self._graphs.feed(pages, None, input_ids.tolist(), positions.expand(len(input_ids), -1).tolist())
        except (CacheBusyError, CacheOutOfMemoryError):
            raise
        except BaseException:
            pages.break_decoding()
            raise
        cache.slots.add(count, None)
        kept = logits[: len(input_ids), -(inputs.get("logits_to_keep") or count) :]
        # The graph's own logits are overwritten by the next step.
        return CausalLMOutputWithPast(logits=kept.clone(), past_key_values=cache)


def reason_against(model: Any, cache: KittyCache, *, is_anywhere: bool) -> str | None:
    """Why the steps of a call of ``generate()`` cannot be recorded, or None.

    Args:
        model, cache: of the call.
        is_anywhere: whether a model on a CPU takes the same passes, without graphs.
    """
    if cache.model_config._attn_implementation != ATTENTION_NAME:
        return f"they need attn_implementation={ATTENTION_NAME!r}, got {cache.model_config._attn_implementation!r}"
    if cache.sliding is not None:
        return "sliding-window layers keep a stock cache, which changes shape"
    devices = {weight.device for weight in model.parameters()}
    if len(devices) > 1:
        return f"the model lies on {len(devices)} devices"
    if model.device.type != "cuda" and not is_anywhere:
        return f"the model lies on {model.device}, not on a CUDA GPU"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "the model takes no position_ids"
    return _hook_in(model)


def _hook_in(model: Any) -> str | None:
    """What a graph would leave out: it repeats what the device did, not what Python did."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return "torch has hooks for every module"
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"its module {name or type(model).__name__} has a forward hook"
        if "forward" in vars(module):
            return f"its module {name or type(model).__name__} has another forward than its class"
    return None
