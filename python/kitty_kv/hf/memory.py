"""Bytes of a whole model's cache: packed layers and sliding-window layers together."""

from __future__ import annotations

from ..cache.memory import DENSE_BYTES_PER_ELEMENT, CacheMemory
from ..cache.sliding_store import SlidingStore


def with_sliding_layers(packed: CacheMemory, sliding: SlidingStore | None) -> CacheMemory:
    """Adds what sliding-window layers hold: ``full_precision_bytes`` as it is, ``dense_bytes`` as 16 bits of it."""
    if sliding is None:
        return packed
    held = sum(sliding.held)
    elements = sum(2 * keys.shape[1] * keys.shape[3] for keys in sliding.keys if keys is not None)
    full_precision = packed["full_precision_bytes"] + sliding.bytes_held
    dense = packed["dense_bytes"] + elements * held * DENSE_BYTES_PER_ELEMENT
    total = packed["packed_bytes"] + full_precision
    return {
        **packed,
        "tokens": sum(sliding.lengths),
        "full_precision_bytes": full_precision,
        "dense_bytes": dense,
        "compression": dense / total if total else 1.0,
        "allocated_bytes": packed["allocated_bytes"] + sliding.bytes_held,
    }
