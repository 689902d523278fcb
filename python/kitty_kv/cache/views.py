"""The cache as the operations read it: one device's pools, tables and counters, before, during and after a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import CacheView

from .geometry import Geometry
from .row import NO_BLOCK, Row
from .step import RowStep
from .storage import Storage, to_device

_ALIGNMENT = 4  # int32 numbers in the 16 bytes that a kernel's pointers are specialized on


class Tables(NamedTuple):
    """Page and block ids of all rows, int32 ``[B, n]``; the same in every layer."""

    keys: torch.Tensor
    values: torch.Tensor
    key_blocks: torch.Tensor
    value_blocks: torch.Tensor


class Views(NamedTuple):
    """Views whose pools have a leading layer dimension, and the counters of the pass, int32 ``[B]``."""

    before: CacheView
    now: CacheView
    after: CacheView
    first_new: torch.Tensor  # position of a row's first new token
    starts: torch.Tensor
    counts: torch.Tensor
    first_positions: torch.Tensor  # position of the call's first column


def upload_tables(rows: Sequence[Row], geometry: tuple[Geometry, Geometry], device: torch.device) -> Tables:
    """Sends all rows' tables to a device without waiting for it."""
    pages = [[row.keys.pages for row in rows], [row.values.pages for row in rows]]
    blocks = [[row.keys.blocks for row in rows], [row.values.blocks for row in rows]]
    widths = [max(map(len, table)) for table in pages]
    for table, shape in zip(blocks, geometry, strict=True):
        # The width of a block table says how wide the ring is.
        widths.append(shape.sink_blocks + shape.ring if shape.is_packed else max(shape.sink_blocks, *map(len, table)))
    flat: list[int] = []
    for table, width in zip(pages + blocks, widths, strict=True):
        room = padded(width)
        for ids in table:
            flat += ids
            flat += [NO_BLOCK] * (room - len(ids))
    on_device = to_device(flat, device)
    sizes = [len(rows) * padded(width) for width in widths]
    parts = zip(on_device.split(sizes), widths, strict=True)
    return Tables(*(part.view(len(rows), -1)[:, :width] for part, width in parts))


def build_views(storage: Storage, tables: Tables, sink_tokens: int, rows: Sequence[RowStep]) -> Views:
    """Sends the pass's counters to the device without waiting for it."""
    numbers = [
        [row.past for row in rows],
        [row.length for row in rows],
        [row.start for row in rows],
        [row.count for row in rows],
        [row.past - row.start for row in rows],
        *(
            [counts[when] for counts in side]
            for side in ([r.keys for r in rows], [r.values for r in rows])
            for when in range(3)
        ),
    ]
    padding = [0] * (padded(len(rows)) - len(rows))
    past, length, starts, counts, first_positions, *pages = to_device(
        [column + padding for column in numbers], storage.device
    )[:, : len(rows)].unbind(0)

    def view(lengths: torch.Tensor, when: int) -> CacheView:
        return CacheView(
            layout=storage.layout,
            sink_tokens=sink_tokens,
            lengths=lengths,
            key_pages=storage.key_pages,
            key_table=tables.keys,
            key_page_counts=pages[when],
            value_pages=storage.value_pages,
            value_table=tables.values,
            value_page_counts=pages[3 + when],
            blocks=storage.blocks,
            key_block_table=tables.key_blocks,
            value_block_table=tables.value_blocks,
        )

    return Views(view(past, 0), view(length, 1), view(length, 2), past, starts, counts, first_positions)


def layer_of(view: CacheView, layer: int) -> CacheView:
    """One layer of a view of all."""
    return view._replace(
        key_pages=view.key_pages[layer], value_pages=view.value_pages[layer], blocks=view.blocks[layer]
    )


def rows_of(view: CacheView, first: int, end: int) -> CacheView:
    """Some rows of a view."""
    if first == 0 and end == view.lengths.shape[0]:
        return view
    per_row = ("lengths", "key_page_counts", "value_page_counts", "key_table", "value_table")
    per_row += ("key_block_table", "value_block_table")
    return view._replace(**{name: getattr(view, name)[first:end] for name in per_row})


def padded(count: int) -> int:
    """The next multiple of what kernels' pointers are aligned to, in int32 numbers."""
    return -(-count // _ALIGNMENT) * _ALIGNMENT
