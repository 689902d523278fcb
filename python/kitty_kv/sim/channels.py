"""Which key channels carry the error: few large ones or all alike."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from ..config import PRESETS, KittyConfig
from .cache import SimulatedCache
from .codec import encode_keys


def channel_figures(model: torch.nn.Module, windows: torch.Tensor, config: KittyConfig) -> list[dict[str, Any]]:
    """Of each layer, without boosting: the share of the keys' squared error that lies in a head's worst channels.

    Args:
        windows: int64 ``[B, T]``; keys of whole pages are looked at.
    """
    cache = SimulatedCache(model.config, PRESETS["fp16"])
    with torch.inference_mode():
        model(windows.to(model.device), past_key_values=cache, use_cache=True)
    found = []
    for layer in range(cache.layer_count):
        keys, _ = cache.dequantize(layer)
        whole = (keys.shape[2] - config.sink_tokens) // config.page_size * config.page_size
        if whole > 0:
            keys = keys[:, :, config.sink_tokens : config.sink_tokens + whole]
            found.append({"layer": layer, **key_channel_figures(keys, config)})
    return found


def key_channel_figures(keys: torch.Tensor, config: KittyConfig) -> dict[str, float]:
    """The same of keys ``[B, HKV, T, D]``, ``T`` a multiple of the page size."""
    plain = dataclasses.replace(config, boost_ratio=0.0)
    pages = keys.float().unflatten(2, (-1, config.page_size))
    error = (encode_keys(pages, plain).dequantize() - pages).double().square().sum((0, 2, 3))  # [HKV, D]
    ordered = error.sort(dim=-1, descending=True).values
    magnitude = keys.double().abs().mean((0, 2))  # [HKV, D]
    channels = error.shape[-1]

    def share(count: int) -> float:
        return float((ordered[:, :count].sum(-1) / ordered.sum(-1)).mean())

    return {
        "errorInWorstEighth": share(channels // 8),
        "errorInWorstQuarter": share(channels // 4),
        "largestOverMedian": float((magnitude.amax(-1) / magnitude.median(-1).values).mean()),
    }
