"""Tables and counters of a batch at addresses that stay, for short passes that a CUDA graph repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from kitty_kernels.decode_attention.api import CacheView

from .geometry import Geometry
from .row import NO_BLOCK, Row
from .step import RowStep
from .storage import Storage
from .views import padded

_COUNTERS = ("past", "length", "starts", "counts", "key_pages", "value_pages")  # one a row
# Tables are as wide as the next of these steps, so that a row may grow a while before they must be made anew: a quarter more.
_LEAST_WIDTH = 8


@dataclasses.dataclass(frozen=True, slots=True)
class TableShape:
    """What a graph is made for: tokens a row, rows, and columns of the page and block tables of keys and values."""

    new_tokens: int
    rows: int
    key_pages: int
    value_pages: int
    key_blocks: int
    value_blocks: int

    @classmethod
    def that_holds(
        cls, new_tokens: int, rows: Sequence[Row], padded_rows: int, geometry: tuple[Geometry, Geometry]
    ) -> TableShape:
        """The smallest of the shapes that are made, for ``rows`` and padding up to ``padded_rows`` of them."""
        keys, values = geometry
        return cls(
            new_tokens,
            padded_rows,
            _wide(max(len(row.keys.pages) for row in rows)) if keys.is_packed else 0,
            _wide(max(len(row.values.pages) for row in rows)) if values.is_packed else 0,
            _block_columns(keys, max(len(row.keys.blocks) for row in rows)),
            _block_columns(values, max(len(row.values.blocks) for row in rows)),
        )


class DecodeTables:
    """A batch's view of the pools of one device; ``load`` changes what it says, never where it lies.

    Args:
        storage: the pools; these tables are of no use once its ``version`` has changed.
        shape: of the tables.
        sink_tokens: as in ``CacheView``.
    """

    def __init__(self, storage: Storage, shape: TableShape, sink_tokens: int) -> None:
        device = storage.device
        self.shape = shape
        widths = (shape.key_pages, shape.value_pages, shape.key_blocks, shape.value_blocks)
        columns = [shape.rows * shape.new_tokens] * 2 + [shape.rows] * len(_COUNTERS)
        used = [*columns, *(shape.rows * padded(width) for width in widths)]
        sizes = [padded(size) for size in used]
        # Pinned, so that the copy does not wait; a CPU's tables are read where they are written.
        self._host = torch.zeros(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
        self._device = self._host if device.type == "cpu" else torch.zeros_like(self._host, device=device)
        self._copied = torch.cuda.Event() if device.type == "cuda" else None
        host, here = (
            [part[:size] for part, size in zip(x.split(sizes), used, strict=True)] for x in (self._host, self._device)
        )
        by_row = (shape.rows, -1)
        self._tokens, self._positions = (part.view(by_row).numpy() for part in host[:2])
        self._counters = {name: part.numpy() for name, part in zip(_COUNTERS, host[2:], strict=False)}
        self._tables = [part.view(by_row).numpy() for part in host[-len(widths) :]]
        self._known: list[list[list[int] | None]] = [[None] * shape.rows for _ in widths]
        for table in self._tables:
            table.fill(NO_BLOCK)
        counters = dict(zip(_COUNTERS, here[2:], strict=False))
        tables = [part.view(by_row)[:, :width] for part, width in zip(here[-len(widths) :], widths, strict=True)]
        self.tokens = here[0].view(by_row)  # int32 [B, S], to feed
        self.positions = here[1].view(by_row)  # int32 [B, S]
        self.past = counters["past"]  # int32 [B], the first new token's position
        self.starts = counters["starts"]  # int32 [B], all 0
        self.counts = counters["counts"]  # int32 [B], 0 for padding
        self.view = CacheView(
            layout=storage.layout,
            sink_tokens=sink_tokens,
            lengths=counters["length"],
            key_pages=storage.key_pages,
            key_table=tables[0],
            key_page_counts=counters["key_pages"],
            value_pages=storage.value_pages,
            value_table=tables[1],
            value_page_counts=counters["value_pages"],
            blocks=storage.blocks,
            key_block_table=tables[2],
            value_block_table=tables[3],
        )

    def load(
        self,
        rows: Sequence[Row],
        steps: Sequence[RowStep],
        tokens: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
    ) -> None:
        """Says what the pass that has begun is about, without waiting for the device.

        Args:
            rows: as many as the shape has, or fewer: what follows them is padding.
            steps: what each of them gains.
            tokens, positions: ``[rows, S]``; of a row that gains fewer, the last ones are not cached.
        """
        if self._copied is not None:
            self._copied.synchronize()  # the numbers of the pass before may still be on their way
        count = len(rows)
        for array, numbers in (
            (self._tokens, tokens),
            (self._positions, positions),
            (self._counters["past"], [step.past for step in steps]),
            (self._counters["length"], [step.length for step in steps]),
            (self._counters["counts"], [step.count for step in steps]),
            (self._counters["key_pages"], [step.keys.now for step in steps]),
            (self._counters["value_pages"], [step.values.now for step in steps]),
        ):
            array[:count] = numbers
            array[count:] = 0
        for table, known, lists in zip(
            self._tables,
            self._known,
            (
                [row.keys.pages for row in rows],
                [row.values.pages for row in rows],
                [row.keys.blocks for row in rows],
                [row.values.blocks for row in rows],
            ),
            strict=True,
        ):
            _update(table, known, lists)
        if self._copied is not None:
            self._device.copy_(self._host, non_blocking=True)
            self._copied.record()


def _update(table: np.ndarray, known: list[list[int] | None], lists: Sequence[list[int]]) -> None:
    """Writes the rows whose ids are not those written last; rows behind ``lists`` are never followed."""
    for number, ids in enumerate(lists):
        if known[number] != ids:
            table[number, : len(ids)] = ids
            table[number, len(ids) :] = NO_BLOCK
            known[number] = list(ids)


def _wide(columns: int) -> int:
    """The next width, a quarter more than the one before it."""
    width = _LEAST_WIDTH
    while width < columns:
        width += max(_LEAST_WIDTH, width // 4 // _LEAST_WIDTH * _LEAST_WIDTH)
    return width


def _block_columns(shape: Geometry, columns: int) -> int:
    # The width of a block table says how wide the ring is.
    return shape.sink_blocks + shape.ring if shape.is_packed else _wide(columns)
