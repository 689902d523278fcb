"""Ids of pages or blocks, counted by reference; what is freed is handed out again first."""

from __future__ import annotations

from collections.abc import Iterable


class IdAllocator:
    """Hands out ids 0, 1, 2 ... of one kind of storage."""

    def __init__(self) -> None:
        self._references: list[int] = []
        self._free: list[int] = []

    @property
    def capacity(self) -> int:
        """How many ids storage must have room for."""
        return len(self._references)

    @property
    def free(self) -> int:
        """How many ids below ``capacity`` nobody holds."""
        return len(self._free)

    @property
    def in_use(self) -> int:
        return len(self._references) - len(self._free)

    def allocate(self) -> int:
        """An id with one reference."""
        if self._free:
            new = self._free.pop()
            self._references[new] = 1
            return new
        self._references.append(1)
        return len(self._references) - 1

    def adopt(self, count: int) -> None:
        """Begins with ids 0 to ``count - 1``, which wait for ``retain``."""
        self._references = [0] * count

    def is_shared(self, held: int) -> bool:
        return self._references[held] > 1

    def retain(self, ids: Iterable[int]) -> None:
        """Adds one reference to each id."""
        for held in ids:
            self._references[held] += 1

    def release(self, ids: Iterable[int]) -> None:
        """Drops one reference of each id; one without any is free."""
        for held in ids:
            self._references[held] -= 1
            if not self._references[held]:
                self._free.append(held)

    def in_use_ids(self) -> list[int]:
        """Ascending."""
        return [number for number, references in enumerate(self._references) if references]

    def renumber(self) -> dict[int, int]:
        """Makes the ids in use 0, 1, 2 ..., in their order, and forgets the free ones: new number by old."""
        old = self.in_use_ids()
        self._references = [self._references[number] for number in old]
        self._free.clear()
        return {number: new for new, number in enumerate(old)}
