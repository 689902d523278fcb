"""Saves a ``KittyCache`` and goes on with it later, in another process or on another machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ..cache.channel_weights import ChannelWeights
from ..cache.sliding_store import SlidingLayer, SlidingStore
from ..cache.snapshot import restore, take_snapshot
from ..config import KittyConfig
from ..errors import CacheFileError, ConfigError
from .cache_file import read_cache_file, write_cache_file
from .query_weights import needs_weights
from .slot_map import SlotMap
from .weights import fingerprint, layer_devices

if TYPE_CHECKING:
    from .cache import KittyCache

_WEIGHTS = "channel_weights"
_MODEL_FIELDS = (
    *("model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size"),
    *("vocab_size", "rope_theta", "rope_scaling"),
)


def save_cache(cache: KittyCache, path: str | os.PathLike[str]) -> None:
    """See ``KittyCache.save``."""
    write_cache_file(path, *take_cache(cache))


def take_cache(cache: KittyCache) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a file of the cache holds; a copy, so that the cache may go on meanwhile."""
    pages, tensors = take_snapshot(cache.pages)
    tensors = {f"pages.{name}": x for name, x in tensors.items()}
    rows, model = len(cache.lengths), cache.identity.model
    document = {
        "config": cache.config.to_dict(),
        "model": _model_fields(cache.model_config),
        "fingerprint": None if model is None else fingerprint(model),
        "pages": pages,
        "slots": cache.slots.count,
    }
    if cache.pages.weights is not None:
        tensors[_WEIGHTS] = cache.pages.weights.tensor
    if cache.slots.has_padding:
        tensors["slots.real"] = cache.slots.real(rows, torch.device("cpu"))
    if cache.sliding is not None and cache.sliding.lengths:
        sliding = cache.sliding
        document["sliding"] = {"lengths": sliding.lengths, "held": sliding.held, "slots": sliding.slots}
        for side in ("keys", "values"):
            tensors |= {f"sliding.{index}.{side}": x.cpu() for index, x in enumerate(getattr(sliding, side))}
    return document, {name: x.contiguous() for name, x in tensors.items()}


def load_cache(
    kind: type[KittyCache], path: str | os.PathLike[str], model: PreTrainedModel, impl: str, max_bytes: int | None
) -> KittyCache:
    """See ``KittyCache.load``."""
    document, tensors = read_cache_file(path)
    with fitting(path):
        check_model(path, document, model)
        config, weights = saved_config(document, tensors, model)
        cache = kind.for_model(model, config=config, impl=impl, max_bytes=max_bytes, weights=weights)
        fill_cache(cache, document, tensors, model)
    return cache


def saved_config(
    document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], model: PreTrainedModel
) -> tuple[KittyConfig, ChannelWeights | None]:
    """What the cache was made with, so that it goes on to the bit; call it within ``fitting``."""
    config = KittyConfig.from_dict(document["config"])
    is_weighted = needs_weights(model.config.get_text_config(), config)
    return config, ChannelWeights(tensors[_WEIGHTS]) if is_weighted else None


def fill_cache(
    cache: KittyCache, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], model: PreTrainedModel
) -> None:
    """Fills an empty cache, whose memory is its own, with what ``take_cache`` gave; call it within ``fitting``."""
    devices = layer_devices(model, len(cache.layers))
    _restore_slots(cache, document, tensors)
    slides = [isinstance(layer, SlidingLayer) for layer in cache.layers]
    full = [device for device, is_sliding in zip(devices, slides, strict=True) if not is_sliding]
    slid = [device for device, is_sliding in zip(devices, slides, strict=True) if is_sliding]
    restore(cache.pages, document["pages"], _part(tensors, "pages."), model.dtype, full)
    if "sliding" in document:
        _restore_sliding(cache.sliding, document["sliding"], _part(tensors, "sliding."), slid)


@contextlib.contextmanager
def fitting(path: str | os.PathLike[str]) -> Iterator[None]:
    """Contents that do not fit together are a CacheFileError: checksums say that a file is whole, not that Kitty wrote it."""
    try:
        yield
    except (ConfigError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CacheFileError(
            f"Cannot load a cache from {os.fspath(path)!r}: its contents do not fit together ({error}); give a file that "
            "Kitty KV saved."
        ) from error


def check_model(path: str | os.PathLike[str], document: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Raises CacheFileError when the file was saved with another model."""
    saved, given = document["model"], _model_fields(model.config.get_text_config())
    differing = [f"{name} {saved.get(name)!r}, not {given[name]!r}" for name in given if saved.get(name) != given[name]]
    if not differing and document["fingerprint"] not in (None, fingerprint(model)):
        differing = ["other weights, or the same in another dtype"]
    if differing:
        raise CacheFileError(
            f"Cannot load a cache from {os.fspath(path)!r}: it was saved with a model of {', '.join(differing)}; load it "
            "with the model it was made for.",
            details={"saved": saved, "given": given},
        )


def _model_fields(config: PretrainedConfig) -> dict[str, Any]:
    return {name: getattr(config, name, None) for name in _MODEL_FIELDS}


def _restore_slots(cache: KittyCache, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    cache.slots = SlotMap()
    cache.slots.add(document["slots"], tensors.get("slots.real"))


def _restore_sliding(
    store: SlidingStore, fields: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], devices: list[torch.device]
) -> None:
    store.lengths, store.held, store.slots = fields["lengths"], fields["held"], fields["slots"]
    for side in ("keys", "values"):
        found = [tensors[f"{index}.{side}"].to(device) for index, device in enumerate(devices)]
        if any(x.ndim != 4 or x.shape[0] != len(store.held) or x.shape[2] < max(store.held) for x in found):
            raise CacheFileError("Cannot restore the cache: its sliding-window layers do not hold the tokens they say.")
        setattr(store, side, found)


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
