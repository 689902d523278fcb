"""What a cache refuses before it changes anything: wrong limits, lengths and keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import CacheError, ConfigError, UnsupportedError
from .store import PageStore


def check_max_bytes(max_bytes: object) -> None:
    """Raises ``ConfigError`` unless ``max_bytes`` is a number of bytes or None."""
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0):
        raise ConfigError(f"Cannot build the cache: max_bytes must be a number of bytes or None, got {max_bytes!r}.")


def check_lengths(lengths: Sequence[int], held: Sequence[int]) -> None:
    """Raises ``ConfigError`` unless rows of ``held`` tokens can be cropped to ``lengths``."""
    if len(lengths) != len(held) or any(not 0 <= new <= old for new, old in zip(lengths, held, strict=False)):
        raise ConfigError(
            f"Cannot crop this cache to {list(lengths)} tokens: its rows hold {held}; give each row its length, 0 to that."
        )


def check_keys(store: PageStore, rows: int, layer: int, keys: torch.Tensor) -> None:
    """Holds a layer's keys ``[B, HKV, S, D]`` to what the cache has learnt of its first ones.

    Raises:
        CacheError: another batch or shape than that of the ``rows`` in the cache.
        ConfigError: another device than that of the layer.
        UnsupportedError: layers of different shapes.
    """
    batch, kv_heads, _, head_dim = keys.shape
    held = (rows, store.kv_heads, store.layout.head_dim)
    place = store.place(layer)
    if batch == held[0] and place is None and (kv_heads, head_dim) != held[1:]:
        raise UnsupportedError(
            f"Cannot cache layer {layer}: it has {kv_heads} KV heads x {head_dim} channels, the layers before it "
            f"{held[1]} x {held[2]}; this version holds layers of one shape, use DynamicCache for this model."
        )
    if (batch, kv_heads, head_dim) != held:
        raise CacheError(
            f"Cannot add tokens to this cache: it holds {held[0]} rows of {held[1]} heads x {held[2]} "
            f"channels, got {batch} rows of {kv_heads} x {head_dim}; use one cache per batch "
            "and model, or reset() it."
        )
    if place is not None and keys.device != place.storage.device:
        raise ConfigError(f"Cannot add tokens to this cache: it lies on {place.storage.device}, they on {keys.device}.")
