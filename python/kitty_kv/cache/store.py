"""What a cache and its forks share: pages and blocks, who holds them, and how much memory they may take."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

import torch

from kitty_kernels.pack.api import PageLayout

from ..errors import CacheBusyError, CacheOutOfMemoryError
from .allocator import IdAllocator
from .row import Row
from .step import Step
from .storage import Counts, Storage

# Pools are copied when they grow or shrink, so some of a pool may be free for the next tokens: so many pages or blocks a
# row, or one of so many in use. A row that is decoded fills a block of its keys and one of its values every 16 tokens.
_PAGE_SPARE, _BLOCK_SPARE = (1, 8), (2, 16)
_SPARES = (_PAGE_SPARE, _PAGE_SPARE, _BLOCK_SPARE)


class Place(NamedTuple):
    """Where a layer lies."""

    storage: Storage
    index: int


class User(Protocol):
    """A cache whose rows refer to the store."""

    step: Step | None  # the pass that has begun

    @property
    def owned_rows(self) -> Iterable[Row]:
        """Those whose references are this user's own."""
        ...

    def forget_tables(self) -> None:
        """The ids in ``rows`` have changed."""
        ...


class PageStore:
    """Pools of all devices, with one set of ids; the rows of its users hold references to these.

    Args:
        layers: how many attention layers there are.
        max_bytes: the pools stay below, or None. While a pool grows, the device holds it twice.
        trims: whether memory that is free is given back after each pass; where many caches share the store others soon
            take it.
    """

    def __init__(self, layers: int, max_bytes: int | None = None, *, trims: bool = True) -> None:
        self.max_bytes = max_bytes
        self._trims = trims
        self.key_ids, self.value_ids, self.block_ids = IdAllocator(), IdAllocator(), IdAllocator()
        self.layout: PageLayout | None = None
        self.kv_heads = 0
        self.dtype: torch.dtype | None = None  # of the blocks
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._users_lock = threading.Lock()
        self._opening = threading.Lock()
        self._layers = layers
        self._places: dict[int, Place] = {}
        self._storages: dict[torch.device, Storage] = {}
        self._abandoned: deque[list[Row]] = deque()

    @property
    def page_ids(self) -> tuple[IdAllocator, IdAllocator]:
        """Of keys and of values."""
        return self.key_ids, self.value_ids

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
            storage.make_room(Counts(*(ids.capacity for ids in self._all_ids)))
            self._storages[device] = storage
        index = self._count(storage)
        if index == storage.layers:
            storage.resize(index + 1)
        self._places[layer] = Place(storage, index)

    def add_user(self, user: User) -> None:
        """Takes in a cache whose rows refer to this store, as long as it lives; from any thread."""
        with self._users_lock:
            self._users.add(user)

    @contextlib.contextmanager
    def opening(self, user: User) -> Iterator[None]:
        """Stands around the beginning of a pass through ``user``, after which its ``step`` says that it has begun.

        Raises:
            CacheBusyError: a pass through another cache of this store has begun in another thread and has not ended.
        """
        with self._opening:
            here = threading.get_ident()
            steps = (other.step for other in self._all_users() if other is not user)
            if any(step is not None and step.thread != here for step in steps):
                raise CacheBusyError(
                    "Cannot begin a forward pass: another thread is in the middle of one through a cache that shares its pages "
                    "with this one, or one failed half-way there; wait for it or reset() that cache, and let such caches "
                    "take turns."
                )
            yield

    def hold(self, rows: Iterable[Row]) -> None:
        """Adds a reference to all that ``rows`` refer to."""
        self._change(rows, IdAllocator.retain)

    def release(self, rows: Iterable[Row]) -> None:
        """Drops a reference to all that ``rows`` refer to."""
        self._change(rows, IdAllocator.release)

    def abandon(self, rows: list[Row]) -> None:
        """As ``release``, but later: garbage may be collected at any moment, on any thread."""
        self._abandoned.append(rows)

    def collect(self) -> None:
        """Releases what was abandoned."""
        while self._abandoned:
            self.release(self._abandoned.popleft())

    def reserve(self, new: Counts, later: Callable[[], Counts]) -> None:
        """Makes room for new pages and blocks, which then can be allocated without fail.

        Args:
            new: how many.
            later: gives how many will be wanted soon; a pool that must grow takes them in where ``max_bytes`` lets it.

        Raises:
            CacheOutOfMemoryError: there is no memory for them; what the cache holds has not changed.
        """
        if self._is_room(new):
            return
        if self._bytes(new) > self._limit and self._is_idle:
            # What lies free in one pool may be what another lacks.
            self._compact(self._all_ids)
        if self._bytes(new) > self._limit:
            raise CacheOutOfMemoryError(
                f"Cannot add tokens to this cache: it would need {self._bytes(new):,} bytes and holds "
                f"{self.bytes_allocated:,}, max_bytes is {self.max_bytes:,}; crop or drop rows, or raise max_bytes.",
                details={"neededBytes": self._bytes(new), "maxBytes": self.max_bytes},
            )
        roomy = Counts(*map(max, new, later()))
        target = roomy if self._bytes(roomy) <= self._limit else new
        for storage in self.storages:
            storage.make_room(self._room(storage, new, target))

    def follow(self) -> None:
        """Makes room for the ids that are in use already, whatever ``max_bytes`` says."""
        for storage in self.storages:
            storage.make_room(Counts(*(ids.capacity for ids in self._all_ids)))

    @property
    def in_use(self) -> Counts:
        """Pages and blocks that somebody refers to, in each layer."""
        return Counts(*(ids.in_use for ids in self._all_ids))

    @property
    def bytes_in_use(self) -> int:
        """Bytes of what somebody refers to, in all layers."""
        return sum(storage.bytes_for(self.in_use) for storage in self.storages)

    def can_hold(self, more: Counts) -> bool:
        """Whether ``max_bytes`` leaves room for so many more than are in use; true before the first tokens."""
        return self.could_hold(Counts(*map(sum, zip(self.in_use, more, strict=True))))

    def could_hold(self, counts: Counts) -> bool:
        """Whether ``max_bytes`` is enough for so many; true before the first tokens."""
        return sum(storage.bytes_for(counts) for storage in self.storages) <= self._limit

    def give_back(self) -> None:
        """Gives the memory of all free pages and blocks back; for between passes.

        Raises:
            CacheOutOfMemoryError: there is no memory for the copies; everything stays as it was.
        """
        self.collect()
        self._compact(self._all_ids)

    def trim(self) -> None:
        """Gives memory back where much of it is free; for after a pass, and after rows were dropped or cropped.

        Nothing happens in the middle of a pass, nor where a device has no memory for the smaller copy.
        """
        if not self._is_idle or not self._trims:
            return
        rows = sum(1 for user in self._all_users() for _ in user.owned_rows)
        rooms = [max(pool) for pool in zip(*(storage.counts for storage in self.storages), strict=True)]
        wasteful = [
            ids
            for ids, room, (a_row, share) in zip(self._all_ids, rooms, _SPARES, strict=bool(rooms))
            if room - ids.in_use > max(rows * a_row, ids.in_use // share)
        ]
        if wasteful:
            with contextlib.suppress(CacheOutOfMemoryError):
                self._compact(wasteful)

    @property
    def _is_idle(self) -> bool:
        """Whether no pass is under way, whose pages to pack go by their numbers."""
        return all(user.step is None for user in self._all_users())

    @property
    def _limit(self) -> float:
        return math.inf if self.max_bytes is None else self.max_bytes

    def _is_room(self, new: Counts) -> bool:
        return all(self._room(storage, new, new) == storage.counts for storage in self.storages)

    def _bytes(self, new: Counts) -> int:
        """Of pools that have grown for ``new``."""
        return sum(storage.bytes_for(self._room(storage, new, new)) for storage in self.storages)

    def _room(self, storage: Storage, new: Counts, target: Counts) -> Counts:
        """Room for ``target`` in the pools that have none for ``new``, the others as they are."""
        room = []
        for ids, held, least, wanted in zip(self._all_ids, storage.counts, new, target, strict=True):
            is_full = ids.capacity + max(0, least - ids.free) > held
            room.append(ids.capacity + max(0, wanted - ids.free) if is_full else held)
        return Counts(*room)

    def _compact(self, allocators: Collection[IdAllocator]) -> None:
        """Gives back what is free of these, also between what is not."""
        kept = [ids.in_use_ids() if ids in allocators else None for ids in self._all_ids]
        pools = [storage.compacted(kept) for storage in self.storages]
        for storage, compacted in zip(self.storages, pools, strict=True):
            storage.replace(*compacted)
        numbers = [ids.renumber() if ids in allocators else range(ids.capacity) for ids in self._all_ids]
        rows = [row for user in self._all_users() for row in user.owned_rows]
        rows += [row for abandoned in list(self._abandoned) for row in abandoned]
        # A user that another thread is about to let go of has its rows in both places.
        for row in {id(row): row for row in rows}.values():
            row.renumber(*numbers)
        for user in self._all_users():
            user.forget_tables()

    def _all_users(self) -> list[User]:
        with self._users_lock:
            return list(self._users)

    @property
    def _all_ids(self) -> tuple[IdAllocator, IdAllocator, IdAllocator]:
        return self.key_ids, self.value_ids, self.block_ids

    def _count(self, storage: Storage) -> int:
        return sum(place.storage is storage for place in self._places.values())

    def _change(self, rows: Iterable[Row], change: Callable[[IdAllocator, Iterable[int]], None]) -> None:
        for row in rows:
            change(self.key_ids, row.keys.pages)
            change(self.value_ids, row.values.pages)
            change(self.block_ids, row.keys.held_blocks())
            change(self.block_ids, row.values.held_blocks())
