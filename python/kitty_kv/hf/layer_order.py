"""All layers of a model's cache, packed and sliding-window ones, in the model's order."""

from __future__ import annotations

from collections.abc import Sequence

from ..cache.layer import KittyLayer
from ..cache.paged_cache import PagedCache
from ..cache.sliding_store import SlidingLayer, SlidingStore


def in_order(
    windows: Sequence[int | None], pages: PagedCache, sliding: SlidingStore | None
) -> list[KittyLayer | SlidingLayer]:
    """The layers of a model in its order: for each its window, or None, says from which of the two it comes."""
    full, slid = iter(pages.layers), iter(sliding.layers if sliding is not None else ())
    return [next(full) if window is None else next(slid) for window in windows]
