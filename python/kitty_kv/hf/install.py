"""Adds Kitty to Transformers' registries, and takes it out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import AttentionInterface, GenerationMixin, PreTrainedModel, masking_utils
from transformers.generation import configuration_utils
from transformers.masking_utils import AttentionMaskInterface

from ..config import KittyConfig
from .attention import kitty_attention, kitty_mask
from .cache import ATTENTION_NAME
from .generation import refusing_known_prompts, telling_the_cache, with_kitty_cache, with_real_positions
from .recorded_steps import recorded_call, recording_where_possible

_undo: list[Callable[[], None]] = []


def install() -> None:
    """Makes ``attn_implementation="kitty"`` and ``cache_implementation="kitty"`` known to Transformers; idempotent.

    The stock library stays as it is on disk. Three registries get an entry, the list of cache implementations another,
    and six functions are wrapped: 4.53 builds caches without their ``cache_config``, fails on a prompt that a cache holds
    already without saying why, its chunked prefill counts padding as positions, its caches never see the padding mask, and it
    compiles steps of caches of a fixed shape only.
    """
    if _undo:
        return
    _register(AttentionInterface._global_mapping, kitty_attention)
    _register(AttentionMaskInterface._global_mapping, kitty_mask)
    _register(configuration_utils.CACHE_CONFIG_MAPPING, KittyConfig)
    names = configuration_utils.ALL_CACHE_IMPLEMENTATIONS
    names.append(ATTENTION_NAME)
    _undo.append(lambda: names.remove(ATTENTION_NAME))
    _wrap(GenerationMixin, "_prepare_cache_for_generation", with_kitty_cache)
    _wrap(GenerationMixin, "_get_initial_cache_position", refusing_known_prompts)
    _wrap(GenerationMixin, "_prefill_chunking", with_real_positions)
    _wrap(GenerationMixin, "_valid_auto_compile_criteria", recording_where_possible)
    _wrap(PreTrainedModel, "get_compiled_call", recorded_call)
    _wrap(masking_utils, "_preprocess_mask_arguments", telling_the_cache)


def uninstall() -> None:
    """Restores stock Transformers; does nothing when Kitty is not installed."""
    while _undo:
        _undo.pop()()


def _register(registry: dict[str, Any], entry: Any) -> None:
    registry[ATTENTION_NAME] = entry
    _undo.append(lambda: registry.pop(ATTENTION_NAME))


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    stock = getattr(owner, name)
    setattr(owner, name, wrapper(stock))
    _undo.append(lambda: setattr(owner, name, stock))
