"""Which pages and blocks hold one sequence; the same in every layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

NO_BLOCK = -1


@dataclasses.dataclass(slots=True)
class Side:
    """Keys, or values, of a row."""

    pages: list[int] = dataclasses.field(default_factory=list)  # ids, in the order of tokens
    blocks: list[int] = dataclasses.field(default_factory=list)  # ids by column of the block table, or NO_BLOCK

    def held_blocks(self) -> Iterator[int]:
        return (block for block in self.blocks if block != NO_BLOCK)

    def block(self, slot: int) -> int:
        return self.blocks[slot] if slot < len(self.blocks) else NO_BLOCK

    def set_block(self, slot: int, block: int) -> None:
        self.blocks.extend([NO_BLOCK] * (slot + 1 - len(self.blocks)))
        self.blocks[slot] = block

    def copy(self) -> Side:
        return Side(list(self.pages), list(self.blocks))


@dataclasses.dataclass(slots=True)
class Row:
    """Real tokens of one sequence."""

    keys: Side = dataclasses.field(default_factory=Side)
    values: Side = dataclasses.field(default_factory=Side)
    length: int = 0

    def copy(self) -> Row:
        return Row(self.keys.copy(), self.values.copy(), self.length)
