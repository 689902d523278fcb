"""Which pages and blocks hold one sequence; the same in every layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Set

from .allocator import IdAllocator

NO_BLOCK = -1
Numbers = Mapping[int, int] | range  # new ids by old ones


@dataclasses.dataclass(slots=True)
class Side:
    """Keys, or values, of a row."""

    pages: list[int] = dataclasses.field(default_factory=list)  # ids, in the order of tokens
    blocks: list[int] = dataclasses.field(default_factory=list)  # ids by column of the block table, or NO_BLOCK
    undo_pages: int = 0  # the last pages, whose tokens still lie in blocks too

    def held_blocks(self) -> Iterator[int]:
        return (block for block in self.blocks if block != NO_BLOCK)

    def block(self, slot: int) -> int:
        return self.blocks[slot] if slot < len(self.blocks) else NO_BLOCK

    def set_block(self, slot: int, block: int) -> None:
        self.blocks.extend([NO_BLOCK] * (slot + 1 - len(self.blocks)))
        self.blocks[slot] = block

    def keep_blocks(self, used: Set[int], ids: IdAllocator) -> None:
        """Frees the blocks of all columns that are not in ``used``."""
        for slot, block in enumerate(self.blocks):
            if block != NO_BLOCK and slot not in used:
                ids.release([block])
                self.blocks[slot] = NO_BLOCK
        while self.blocks and self.blocks[-1] == NO_BLOCK:
            self.blocks.pop()

    def own_blocks(self, slots: Iterable[int], ids: IdAllocator) -> tuple[list[int], list[tuple[int, int]]]:
        """Gives each column a block of this row alone: the columns that changed, and blocks to copy (from, to)."""
        changed, copies = [], []
        for slot in slots:
            held = self.block(slot)
            if held != NO_BLOCK and not ids.is_shared(held):
                continue
            new = ids.allocate()
            if held != NO_BLOCK:
                copies.append((held, new))
                ids.release([held])
            self.set_block(slot, new)
            changed.append(slot)
        return changed, copies

    def renumber(self, pages: Numbers, blocks: Numbers) -> None:
        """Takes the new ids of pages and blocks by their old ones."""
        self.pages = [pages[page] for page in self.pages]
        self.blocks = [block if block == NO_BLOCK else blocks[block] for block in self.blocks]

    def copy(self) -> Side:
        return Side(list(self.pages), list(self.blocks), self.undo_pages)


@dataclasses.dataclass(slots=True)
class Row:
    """Real tokens of one sequence."""

    keys: Side = dataclasses.field(default_factory=Side)
    values: Side = dataclasses.field(default_factory=Side)
    length: int = 0
    # Up to this length, short passes take no page and no block that the row does not have to itself, and free none. Whatever
    # else changes the row says 0.
    quiet_until: int = 0

    def renumber(self, keys: Numbers, values: Numbers, blocks: Numbers) -> None:
        """Takes the new ids of key pages, value pages and blocks by their old ones."""
        self.keys.renumber(keys, blocks)
        self.values.renumber(values, blocks)

    def copy(self) -> Row:
        """A row that shares everything with this one."""
        self.quiet_until = 0
        return Row(self.keys.copy(), self.values.copy(), self.length)
