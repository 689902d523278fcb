"""The layers of a cache, without a circle of references: a cache nobody refers to gives its memory back at once."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .layer import KittyLayer

if TYPE_CHECKING:
    from .paged_cache import PagedCache


class LayerList(Sequence[KittyLayer]):
    """The layers of ``cache``, made when they are asked for; each keeps the cache alive, which knows those in ``made``."""

    def __init__(self, cache: PagedCache, count: int, made: weakref.WeakValueDictionary[int, KittyLayer]) -> None:
        self._cache = cache
        self._count = count
        self._made = made

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> KittyLayer:
        """Raises IndexError beyond the last layer."""
        number = range(self._count)[index]
        layer = self._made.get(number)
        if layer is None:
            layer = self._made[number] = KittyLayer(self._cache, number)
        return layer
