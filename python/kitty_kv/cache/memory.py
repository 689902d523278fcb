"""Bytes that a cache holds, counted from its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from .layer import KittyLayer

DENSE_BYTES_PER_ELEMENT = 2


class CacheMemory(TypedDict):
    """Bytes are those of real tokens, over all rows and layers."""

    tokens: int
    packed_bytes: int
    full_precision_bytes: int
    dense_bytes: int
    compression: float


def cache_memory(layers: Iterable[KittyLayer]) -> CacheMemory:
    """Counts what the layers hold.

    Returns:
        ``tokens`` (over all rows), ``packed_bytes`` (pages in use), ``full_precision_bytes`` (sinks and tails),
        ``dense_bytes`` (the same tokens at 16 bits) and ``compression`` = dense / (packed + full
        precision), 1.0 when empty.
    """
    layers = list(layers)
    packed = sum(layer.key_pool.bytes_in_use + layer.value_pool.bytes_in_use for layer in layers)
    full_precision = sum(row.full_precision_bytes for layer in layers for row in layer.rows)
    dense = sum(_dense_bytes(layer) for layer in layers)
    held = packed + full_precision
    return CacheMemory(
        tokens=sum(layers[0].lengths) if layers else 0,
        packed_bytes=packed,
        full_precision_bytes=full_precision,
        dense_bytes=dense,
        compression=dense / held if held else 1.0,
    )


def _dense_bytes(layer: KittyLayer) -> int:
    if not layer.rows:
        return 0
    kv_heads, _, head_dim = layer.rows[0].sink_keys.shape
    return sum(layer.lengths) * kv_heads * head_dim * 2 * DENSE_BYTES_PER_ELEMENT
