"""Bytes that a cache holds, of whatever class it is."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import Cache

from .cache import KittyCache


def cache_bytes(cache: Cache) -> int:
    """Bytes of all memory that the cache has allocated, what it keeps free included.

    Args:
        cache: a ``KittyCache`` counts its pools; of any other all tensors that its attributes reach are counted, parts of
            quantized ones too.
    """
    if isinstance(cache, KittyCache):
        return cache.bytes_allocated
    storages: dict[int, int] = {}
    _collect(vars(cache), storages)
    return sum(storages.values())


def _collect(value: Any, storages: dict[int, int]) -> None:
    if isinstance(value, torch.Tensor):
        if is_traceable_wrapper_subclass(value):
            names, _ = value.__tensor_flatten__()
            _collect([getattr(value, name) for name in names], storages)
        else:
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, dict):
        _collect(list(value.values()), storages)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _collect(inner, storages)
