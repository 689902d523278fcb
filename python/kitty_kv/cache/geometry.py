"""Which pages and blocks the tokens of a row need: the rule of ``CacheView`` and the contract, as plain arithmetic."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from kitty_kernels.decode_attention.api import BLOCK, MAX_TRITON_QUERIES

from ..config import KittyConfig

# Calls of at most so many tokens a row attend straight to the cache, where that is possible.
SHORT_CALL = MAX_TRITON_QUERIES
# A row's latest tokens of a call stay in 16 bits until the next one, so that they can be taken back exactly.
UNDO_TOKENS = 64


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Of a row's keys, or of its values.

    A block table has ``sink_blocks`` columns and behind them a ring: of fixed width where tokens become pages, else as
    wide as the row needs.
    """

    sink_tokens: int
    page_size: int
    recent_tokens: int
    is_packed: bool

    @functools.cached_property
    def sink_blocks(self) -> int:
        return -(-self.sink_tokens // BLOCK)

    @functools.cached_property
    def ring(self) -> int:
        """Blocks of the ring; 0 where it grows."""
        if not self.is_packed:
            return 0
        most = self.recent_tokens + self.page_size - 1 + UNDO_TOKENS
        # Pages that end inside a block leave their tail one more block to touch.
        return -(-most // BLOCK) + (self.page_size % BLOCK > 0)

    def pages(self, length: int) -> int:
        """How many pages of a row with ``length`` tokens are packed."""
        return max(0, length - self.sink_tokens - self.recent_tokens) // self.page_size if self.is_packed else 0

    def pages_at_once(self, past: int, length: int) -> int:
        """How many pages are packed as soon as a layer has its tokens ``past`` to ``length - 1``; the others wait a call."""
        return max(self.pages(past), self.pages(length - UNDO_TOKENS))

    def tokens_to_packing(self, length: int) -> int | None:
        """How many more tokens a row of ``length`` takes until the last of them completes a page; None for any number."""
        return self.packed_end(self.pages(length) + 1) + self.recent_tokens - length if self.is_packed else None

    def packed_end(self, pages: int) -> int:
        """The first token behind ``pages`` pages."""
        return self.sink_tokens + pages * self.page_size

    def slots(self, first: int, end: int) -> Iterator[int]:
        """Columns of the block table that hold tokens ``first`` to ``end - 1``, in the order of tokens."""
        if first < min(end, self.sink_tokens):
            yield from range(first // BLOCK, -(-min(end, self.sink_tokens) // BLOCK))
        first = max(first, self.sink_tokens) - self.sink_tokens
        end -= self.sink_tokens
        if first < end:
            ring = self.ring
            for number in range(first // BLOCK, -(-end // BLOCK)):
                yield self.sink_blocks + (number % ring if ring else number)

    def slots_in_use(self, length: int, pages: int) -> Iterator[int]:
        """Columns that hold what is not packed of ``length`` tokens, ``pages`` pages of which are."""
        yield from self.slots(0, min(length, self.sink_tokens))
        yield from self.slots(self.packed_end(pages), length)


def geometries(config: KittyConfig) -> tuple[Geometry, Geometry]:
    """Geometry of keys and of values."""
    is_plain = not (config.quantizes_keys or config.quantizes_values)
    sink_tokens = 0 if is_plain else config.sink_tokens  # where nothing is packed a sink is a token like any other
    return (
        Geometry(sink_tokens, config.page_size, 0, config.quantizes_keys),
        Geometry(sink_tokens, config.page_size, config.recent_tokens, config.quantizes_values),
    )
