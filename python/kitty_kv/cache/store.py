"""What a cache and its forks share: pages and blocks, who holds references to them, and whose turn a pass is."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from ..errors import CacheBusyError, CacheOutOfMemoryError
from .allocator import IdAllocator
from .pools import Pools
from .row import Row
from .step import Step
from .storage import Counts

# Pools that are not trimmed grow by one of so many pages or blocks in use, or more; and those that are, where growing costs more
# than the copy. The latter by less than what is trimmed.
_GROWTH, _TRIMMED_GROWTH = 4, 20


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


class PageStore(Pools):
    """Pools whose pages and blocks the rows of its users hold references to.

    Args:
        layers, max_bytes: as in ``Pools``.
        trims: whether memory that is free is given back after each pass; where many caches share the store others soon
            take it.
    """

    def __init__(self, layers: int, max_bytes: int | None = None, *, trims: bool = True) -> None:
        super().__init__(layers, max_bytes)
        self._trims = trims
        self._growth = None if trims else _GROWTH
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        # All whose pass may be under way: thousands of users may be idle, and each pass asks.
        self._begun: weakref.WeakSet[User] = weakref.WeakSet()
        self._users_lock = threading.Lock()
        self._opening = threading.Lock()
        self._abandoned: deque[list[Row]] = deque()

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
            others = [(other, step) for other, step in self._steps() if other is not user]
            if any(step.thread != here for _, step in others):
                raise CacheBusyError(
                    "Cannot begin a forward pass: another thread is in the middle of one through a cache that shares its pages "
                    "with this one, or one failed half-way there; wait for it or reset() that cache, and let such caches "
                    "take turns."
                )
            with self._users_lock:
                self._begun = weakref.WeakSet([user, *(other for other, _ in others)])
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
        if self.is_room(new):
            return
        if self.bytes_with(new) > self.limit and self._is_idle:
            # What lies free in one pool may be what another lacks.
            self._compact(self.all_ids)
        if self.bytes_with(new) > self.limit:
            raise CacheOutOfMemoryError(
                f"Cannot add tokens to this cache: it would need {self.bytes_with(new):,} bytes and holds "
                f"{self.bytes_allocated:,}, max_bytes is {self.max_bytes:,}; crop or drop rows, or raise max_bytes.",
                details={"neededBytes": self.bytes_with(new), "maxBytes": self.max_bytes},
            )
        roomy = Counts(*map(max, new, later()))
        if self._growth is not None:
            # What has been made for a pool's address must be made anew.
            spacious = Counts(*(max(more, held // self._growth) for more, held in zip(roomy, self.in_use, strict=True)))
            roomy = spacious if self.bytes_with(spacious) <= self.limit else roomy
        self.grow(new, roomy)

    def grow_less_often(self) -> None:
        """Says that something is made for the pools' addresses from now on."""
        self._growth = self._growth or _TRIMMED_GROWTH

    def give_back(self) -> None:
        """Gives the memory of all free pages and blocks back; for between passes.

        Raises:
            CacheOutOfMemoryError: there is no memory for the copies; everything stays as it was.
        """
        self.collect()
        self._compact(self.all_ids)

    def trim(self) -> None:
        """Gives memory back where much of it is free; for after a pass, and after rows were dropped or cropped.

        Nothing happens in the middle of a pass, nor where a device has no memory for the smaller copy.
        """
        if not self._trims or not self._is_idle:
            return
        wasteful = self.wasteful(sum(1 for user in self._all_users() for _ in user.owned_rows))
        if wasteful:
            with contextlib.suppress(CacheOutOfMemoryError):
                self._compact(wasteful)

    @property
    def _is_idle(self) -> bool:
        """Whether no pass is under way, whose pages to pack go by their numbers."""
        return not self._steps()

    def _compact(self, allocators: Collection[IdAllocator]) -> None:
        """Gives back what is free of these, also between what is not."""
        kept = [ids.in_use_ids() if ids in allocators else None for ids in self.all_ids]
        pools = [storage.compacted(kept) for storage in self.storages]
        for storage, compacted in zip(self.storages, pools, strict=True):
            storage.replace(*compacted)
        numbers = [ids.renumber() if ids in allocators else range(ids.capacity) for ids in self.all_ids]
        rows = [row for user in self._all_users() for row in user.owned_rows]
        rows += [row for abandoned in list(self._abandoned) for row in abandoned]
        # A user that another thread is about to let go of has its rows in both places.
        for row in {id(row): row for row in rows}.values():
            row.renumber(*numbers)
        for user in self._all_users():
            user.forget_tables()

    def _steps(self) -> list[tuple[User, Step]]:
        """The passes that are under way, and whose they are."""
        with self._users_lock:
            begun = list(self._begun)
        return [(user, step) for user in begun if (step := user.step) is not None]

    def _all_users(self) -> list[User]:
        with self._users_lock:
            return list(self._users)

    def _change(self, rows: Iterable[Row], change: Callable[[IdAllocator, Iterable[int]], None]) -> None:
        for row in rows:
            change(self.key_ids, row.keys.pages)
            change(self.value_ids, row.values.pages)
            change(self.block_ids, row.keys.held_blocks())
            change(self.block_ids, row.values.held_blocks())
