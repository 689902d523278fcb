"""Bytes that a cache holds for its rows, counted from its tensors."""

from __future__ import annotations

from typing import TypedDict

from kitty_kernels.decode_attention.api import BLOCK

from .geometry import Geometry
from .paged_cache import PagedCache
from .row import Side

DENSE_BYTES_PER_ELEMENT = 2


class CacheMemory(TypedDict):
    """Bytes are those of real tokens, over all rows and layers."""

    tokens: int
    packed_bytes: int
    full_precision_bytes: int
    dense_bytes: int
    compression: float
    allocated_bytes: int


def cache_memory(cache: PagedCache) -> CacheMemory:
    """Counts what the rows refer to, what several rows share once.

    Returns:
        ``tokens`` (over all rows), ``packed_bytes`` (pages), ``full_precision_bytes`` (tokens in blocks), ``dense_bytes``
        (the same tokens at 16 bits) and ``compression`` = dense / (packed + full precision), 1.0 when empty, and
        ``allocated_bytes``: what the pools take on their devices, with what is free, and what only forks hold.
    """
    tokens = sum(cache.lengths)
    packed = full_precision = dense = 0
    if cache.layout is not None:
        layers, layout = len(cache.layers), cache.layout
        key_pages = {page for row in cache.rows for page in row.keys.pages}
        value_pages = {page for row in cache.rows for page in row.values.pages}
        page_bytes = len(key_pages) * layout.key_bytes + len(value_pages) * layout.value_bytes
        packed = layers * cache.kv_heads * page_bytes
        token_elements = layers * cache.kv_heads * layout.head_dim
        full_precision = token_elements * _block_tokens(cache) * cache.dtype.itemsize
        dense = token_elements * tokens * 2 * DENSE_BYTES_PER_ELEMENT
    held = packed + full_precision
    return CacheMemory(
        tokens=tokens,
        packed_bytes=packed,
        full_precision_bytes=full_precision,
        dense_bytes=dense,
        compression=dense / held if held else 1.0,
        allocated_bytes=cache.bytes_allocated,
    )


def _block_tokens(cache: PagedCache) -> int:
    """Tokens that lie in blocks, keys and values counted apart."""
    held: dict[int, int] = {}
    for row in cache.rows:
        for side, shape in zip((row.keys, row.values), cache.geometry, strict=True):
            held.update(_tokens_by_block(side, shape, row.length))
    return sum(held.values())


def _tokens_by_block(side: Side, shape: Geometry, length: int) -> dict[int, int]:
    out: dict[int, int] = {}
    pages = len(side.pages)
    for first, end, base in (
        (0, min(length, shape.sink_tokens), 0),
        (shape.packed_end(pages), length, shape.sink_tokens),
    ):
        for slot in shape.slots(first, end):
            # Token counts of a span's first and last block are cut by its ends.
            stop = min(end, base + ((first - base) // BLOCK + 1) * BLOCK)
            out[side.blocks[slot]] = stop - first
            first = stop
    return out
