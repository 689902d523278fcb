"""A cache of Transformers with many equal rows, filled by the forward pass of one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import (
    Cache,
    DynamicCache,
    HQQQuantizedCache,
    PreTrainedModel,
    QuantizedCacheConfig,
    QuantoQuantizedCache,
    StaticCache,
)

StockCache = Literal["dynamic", "static", "quantized"]
_QUANTIZED = {"quanto": QuantoQuantizedCache, "HQQ": HQQQuantizedCache}


@torch.inference_mode()
def repeated_rows(
    model: PreTrainedModel, kind: StockCache, config: dict[str, Any], prompt: torch.Tensor, batch: int, max_tokens: int
) -> Cache:
    """Fills a cache with one row by a real forward pass and copies it to ``batch`` rows.

    Args:
        model: attends as the cache needs it.
        kind: which cache.
        config: of a quantized cache, for ``QuantizedCacheConfig``.
        prompt: int64 ``[1, S]``, on the model's device.
        batch: rows.
        max_tokens: what a static cache has room for.
    """
    cache = _QUANTIZED[config["backend"]](QuantizedCacheConfig(**config)) if kind == "quantized" else DynamicCache()
    model(input_ids=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
    if kind == "static":
        return _static(model, cache, batch, max_tokens)
    if kind == "quantized":
        _repeat_quantized(cache, batch)
    else:
        cache.batch_repeat_interleave(batch)
    return cache


def _repeat_quantized(cache: Cache, batch: int) -> None:
    """Stock ``batch_repeat_interleave`` leaves the quantized part as it is; here it is quantized again, which takes as long to
    read as any other.
    """
    for parts, axis in ((cache._quantized_key_cache, cache.axis_key), (cache._quantized_value_cache, cache.axis_value)):
        for layer, part in enumerate(parts):
            rows = cache._dequantize(part).repeat_interleave(batch, dim=0)  # [B, HKV, S, D]
            parts[layer] = cache._quantize(rows.contiguous(), axis=axis)


def _static(model: PreTrainedModel, row: DynamicCache, batch: int, max_tokens: int) -> StaticCache:
    cache = StaticCache(
        config=model.config.get_text_config(),
        max_batch_size=batch,
        max_cache_len=max_tokens,
        device=model.device,
        dtype=model.dtype,
    )
    held = row.get_seq_length()
    for layer in range(len(row)):
        cache.key_cache[layer][:, :, :held] = row.key_cache[layer]
        cache.value_cache[layer][:, :, :held] = row.value_cache[layer]
    return cache
