"""Takes tokens back: which pages and blocks a row gives up, and which tokens come out of pages into blocks again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import BLOCK
from kitty_kernels.dequantize.api import dequantize_keys, dequantize_values

from .allocator import IdAllocator
from .geometry import Geometry
from .kernel_route import KernelRoute
from .plain_route import PlainRoute
from .row import Row, Side
from .storage import Storage
from .store import PageStore


class Unpacking(NamedTuple):
    """Tokens to dequantize: page ``pages[i]``, token ``inside[i]`` of it, goes to block ``blocks[i]`` at ``offsets[i]``."""

    kind: str
    pages: list[int]
    inside: list[int]
    blocks: list[int]
    offsets: list[int]


class Cropped(NamedTuple):
    """What storage must do for one row, in this order."""

    copies: list[tuple[int, int]]
    unpackings: list[Unpacking]


def crop_rows(
    rows: Sequence[Row],
    lengths: Sequence[int],
    geometry: tuple[Geometry, Geometry],
    store: PageStore,
    route: KernelRoute | PlainRoute,
) -> None:
    """Leaves row b its first ``lengths[b]`` tokens, in all layers; ``geometry`` of keys and values."""
    copies, unpackings = [], []
    for row, length in zip(rows, lengths, strict=True):
        if length < row.length:
            cropped = _crop_row(row, length, geometry, store.page_ids, store.block_ids)
            copies += cropped.copies
            unpackings += cropped.unpackings
    store.follow()
    for storage in store.storages:
        storage.copy_blocks(copies)
        _unpack(storage, unpackings, route.impl)


def _crop_row(
    row: Row,
    length: int,
    geometry: tuple[Geometry, Geometry],
    page_ids: tuple[IdAllocator, IdAllocator],
    block_ids: IdAllocator,
) -> Cropped:
    """Leaves ``row`` its first ``length`` tokens, ``geometry`` and ``page_ids`` of keys and values.

    Tokens whose 16-bit copy is still in a block come back as they were. Those of a page packed before the row's last call
    come back as attention saw them, dequantized.
    """
    cropped = Cropped([], [])
    for kind, side, shape, ids in zip(("keys", "values"), (row.keys, row.values), geometry, page_ids, strict=True):
        pages = shape.pages(length)
        in_blocks = len(side.pages) - side.undo_pages  # pages before this one are nowhere else
        first, exact = shape.packed_end(min(pages, in_blocks)), shape.packed_end(in_blocks)
        lost = range(shape.packed_end(pages), min(length, exact))
        used = {*shape.slots(0, min(length, shape.sink_tokens)), *shape.slots(max(first, lost.stop), length)}
        side.keep_blocks(used, block_ids)
        if lost:
            _, copies = side.own_blocks(shape.slots(lost.start, lost.stop), block_ids)
            cropped.copies.extend(copies)
            cropped.unpackings.append(_unpacking(kind, side, shape, lost))
        ids.release(side.pages[pages:])
        del side.pages[pages:]
        side.undo_pages = max(0, pages - in_blocks)
    row.length, row.quiet_until = length, 0
    return cropped


def _unpack(storage: Storage, unpackings: Sequence[Unpacking], impl: str) -> None:
    """Writes the dequantized tokens of all layers to their blocks."""
    for work in unpackings:
        pages, at = torch.unique(torch.tensor(work.pages), return_inverse=True)
        inside, blocks, offsets = (torch.tensor(x, device=storage.device) for x in work[2:])
        pages, at = pages.to(storage.device), at.to(storage.device)
        if work.kind == "keys":
            found = dequantize_keys(storage.layout.keys(storage.key_pages[:, pages]), impl=impl)
        else:
            found = dequantize_values(storage.layout.values(storage.value_pages[:, pages]), impl=impl)
        # [LAYERS, pages, HKV, PAGE, D] to [tokens, LAYERS, HKV, D]
        storage.blocks[:, blocks, :, offsets] = found[:, at, :, inside].to(storage.blocks.dtype)


def _unpacking(kind: str, side: Side, shape: Geometry, tokens: range) -> Unpacking:
    behind = range(tokens.start - shape.sink_tokens, tokens.stop - shape.sink_tokens)
    slots = {number: side.blocks[slot] for number, slot in _numbered(shape, tokens)}
    return Unpacking(
        kind,
        [side.pages[token // shape.page_size] for token in behind],
        [token % shape.page_size for token in behind],
        [slots[token // BLOCK] for token in behind],
        [token % BLOCK for token in behind],
    )


def _numbered(shape: Geometry, tokens: range) -> zip[tuple[int, int]]:
    """Numbers of the ring's blocks, counted without end, and their columns."""
    first = (tokens.start - shape.sink_tokens) // BLOCK
    slots = [*shape.slots(tokens.start, tokens.stop)]
    return zip(range(first, first + len(slots)), slots, strict=True)
