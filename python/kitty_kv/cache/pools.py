"""Pools of pages and blocks on all devices: where each layer lies, and how much memory they may take."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from kitty_kernels.pack.api import PageLayout

from .allocator import IdAllocator
from .storage import Counts, Storage

# Pools are copied when they grow or shrink, so some of a pool may be free for the next tokens: so many pages or blocks a
# row, or one of so many in use. A row that is decoded fills a block of its keys and one of its values every 16 tokens.
_PAGE_SPARE, _BLOCK_SPARE = (1, 8), (2, 16)
_SPARES = (_PAGE_SPARE, _PAGE_SPARE, _BLOCK_SPARE)


class Place(NamedTuple):
    """Where a layer lies."""

    storage: Storage
    index: int


class Pools:
    """Pools of all devices, with one set of ids.

    Args:
        layers: how many attention layers there are.
        max_bytes: the pools stay below, or None. While a pool grows, the device holds it twice.
    """

    def __init__(self, layers: int, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.key_ids, self.value_ids, self.block_ids = IdAllocator(), IdAllocator(), IdAllocator()
        self.layout: PageLayout | None = None
        self.kv_heads = 0
        self.dtype: torch.dtype | None = None  # of the blocks
        self._layers = layers
        self._places: dict[int, Place] = {}
        self._storages: dict[torch.device, Storage] = {}

    @property
    def page_ids(self) -> tuple[IdAllocator, IdAllocator]:
        """Of keys and of values."""
        return self.key_ids, self.value_ids

    @property
    def all_ids(self) -> tuple[IdAllocator, IdAllocator, IdAllocator]:
        """Of key pages, value pages and blocks."""
        return self.key_ids, self.value_ids, self.block_ids

    @property
    def storages(self) -> list[Storage]:
        """One for each device."""
        return list(self._storages.values())

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pools, free pages and blocks included."""
        return sum(storage.bytes_allocated for storage in self.storages)

    def learn(self, layout: PageLayout, kv_heads: int, dtype: torch.dtype) -> None:
        """Takes the shapes of what will be stored."""
        self.layout, self.kv_heads, self.dtype = layout, kv_heads, dtype

    def place(self, layer: int) -> Place | None:
        """Where a layer lies; None before its first tokens."""
        return self._places.get(layer)

    def layers_on(self, storage: Storage) -> tuple[int, ...]:
        """The layers that lie there, in their order in its pools."""
        found = [(place.index, layer) for layer, place in self._places.items() if place.storage is storage]
        return tuple(layer for _, layer in sorted(found))

    def settle(self, layer: int, device: torch.device) -> None:
        """Finds a place for a layer when its first tokens arrive.

        Raises:
            CacheOutOfMemoryError: there is no memory for it.
        """
        if layer in self._places:
            return
        storage = self._storages.get(device)
        if storage is None:
            for other in self.storages:
                other.resize(self._count(other))
            # Layers mostly follow each other on one device, so it makes room for all that are left.
            left = self._layers - len(self._places)
            storage = Storage(left, self.layout, self.kv_heads, self.dtype, device)
            storage.make_room(Counts(*(ids.capacity for ids in self.all_ids)))
            self._storages[device] = storage
        index = self._count(storage)
        if index == storage.layers:
            storage.resize(index + 1)
        self._places[layer] = Place(storage, index)

    @property
    def limit(self) -> float:
        """``max_bytes`` as a number."""
        return math.inf if self.max_bytes is None else self.max_bytes

    def is_room(self, new: Counts) -> bool:
        """Whether the pools have room for so many more as they are."""
        return all(self._room(storage, new, new) == storage.counts for storage in self.storages)

    def bytes_with(self, new: Counts) -> int:
        """Bytes of pools that have grown for ``new`` more."""
        return sum(storage.bytes_for(self._room(storage, new, new)) for storage in self.storages)

    def grow(self, new: Counts, roomy: Counts) -> None:
        """Makes room for ``new`` more; a pool that has none takes in ``roomy``, at least as many, where ``max_bytes`` lets it.

        Raises:
            CacheOutOfMemoryError: a device has no such memory.
        """
        target = roomy if self.bytes_with(roomy) <= self.limit else new
        for storage in self.storages:
            storage.make_room(self._room(storage, new, target))

    def follow(self) -> None:
        """Makes room for the ids that are in use already, whatever ``max_bytes`` says."""
        for storage in self.storages:
            storage.make_room(Counts(*(ids.capacity for ids in self.all_ids)))

    @property
    def in_use(self) -> Counts:
        """Pages and blocks that somebody refers to, in each layer."""
        return Counts(*(ids.in_use for ids in self.all_ids))

    @property
    def bytes_in_use(self) -> int:
        """Bytes of what somebody refers to, in all layers."""
        return sum(storage.bytes_for(self.in_use) for storage in self.storages)

    def can_hold(self, more: Counts) -> bool:
        """Whether ``max_bytes`` leaves room for so many more than are in use; true before the first tokens."""
        return self.could_hold(Counts(*map(sum, zip(self.in_use, more, strict=True))))

    def could_hold(self, counts: Counts) -> bool:
        """Whether ``max_bytes`` is enough for so many; true before the first tokens."""
        return sum(storage.bytes_for(counts) for storage in self.storages) <= self.limit

    def wasteful(self, rows: int) -> list[IdAllocator]:
        """Whose pools have more free than so many rows soon take."""
        rooms = [max(pool) for pool in zip(*(storage.counts for storage in self.storages), strict=True)]
        return [
            ids
            for ids, room, (a_row, share) in zip(self.all_ids, rooms, _SPARES, strict=bool(rooms))
            if room - ids.in_use > max(rows * a_row, ids.in_use // share)
        ]

    def _room(self, storage: Storage, new: Counts, target: Counts) -> Counts:
        """Room for ``target`` in the pools that have none for ``new``, the others as they are."""
        room = []
        for ids, held, least, wanted in zip(self.all_ids, storage.counts, new, target, strict=True):
            is_full = ids.capacity + max(0, least - ids.free) > held
            room.append(ids.capacity + max(0, wanted - ids.free) if is_full else held)
        return Counts(*room)

    def _count(self, storage: Storage) -> int:
        return sum(place.storage is storage for place in self._places.values())
