"""How large queries are on each channel, for a selection that looks at them: root mean squares over a text."""

from __future__ import annotations

import functools
from typing import Any

import torch

from ..cache.layer import KittyLayer
from ..errors import UnsupportedError
from ..hf.cache import KittyCache


def query_sizes(model: torch.nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """Float64 ``[layers, HKV, D]`` on the CPU, after RoPE; a KV head's queries are those of all heads that share it.

    Args:
        model: under the ``kitty`` attention.
        windows: int64 ``[B, T]``.

    Raises:
        UnsupportedError: a layer is not full attention.
    """
    sums: dict[int, torch.Tensor] = {}
    counts: dict[int, int] = {}
    cache = KittyCache.for_model(model, preset="fp16")

    def attend(index: int, inner: Any, query: torch.Tensor, keys: torch.Tensor, *others: Any, **options: Any) -> Any:
        grouped = query.double().unflatten(1, (keys.shape[1], -1))  # [B, HKV, HQ / HKV, S, D]
        sums[index] = sums.get(index, 0) + grouped.square().sum((0, 2, 3)).cpu()
        counts[index] = counts.get(index, 0) + query.numel() // (keys.shape[1] * keys.shape[3])
        return inner(query, keys, *others, **options)

    for index, layer in enumerate(cache.layers):
        if not isinstance(layer, KittyLayer):
            raise UnsupportedError(f"Cannot measure queries: layer {index} is not full attention; use another model.")
        layer.attend = functools.partial(attend, index, layer.attend)
    with torch.inference_mode():
        model(windows.to(model.device), past_key_values=cache, use_cache=True)
    return torch.stack([(sums[index] / counts[index]).sqrt() for index in range(len(cache.layers))])
