"""Reads and writes blocks and pages by plain indexing, for calls that no kernel serves; the indices serve every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import BLOCK

from .geometry import Geometry
from .row import Side


class ReadIndex(NamedTuple):
    """Where the first ``length`` tokens of R rows lie, rows of equal length and page count."""

    rows: int
    length: int
    sinks: tuple[torch.Tensor, int] | None  # block ids [R * n], tokens
    pages: tuple[torch.Tensor, int, int] | None  # page ids [R * P], first token, tokens
    tail: tuple[torch.Tensor, int, int, int] | None  # block ids [R * n], offset in the first, first token, tokens


class WriteIndex(NamedTuple):
    """Where new tokens of R rows go."""

    source: torch.Tensor | None  # int64 [n], which of the call's real tokens; None for all
    blocks: torch.Tensor | None  # int64 [R, n]; None where nothing is written, or one token
    offsets: torch.Tensor | None  # int64 [n]
    single: tuple[int, int] | None = None  # block and offset of the one token of one row


_NOTHING = (None, None, None)


def read_index(sides: Sequence[Side], shape: Geometry, length: int, pages: int, device: torch.device) -> ReadIndex:
    """For rows of ``length`` tokens of which ``pages`` pages are packed."""
    sink_end = min(length, shape.sink_tokens)
    tail_start = shape.packed_end(pages)
    sinks = packed = tail = None
    if sink_end:
        sinks = (_ids([side.blocks for side in sides], [*shape.slots(0, sink_end)], device), sink_end)
    if pages:
        packed = (
            _ids([side.pages for side in sides], range(pages), device),
            shape.sink_tokens,
            pages * shape.page_size,
        )
    if tail_start < length:
        ids = _ids([side.blocks for side in sides], [*shape.slots(tail_start, length)], device)
        tail = (ids, (tail_start - shape.sink_tokens) % BLOCK, tail_start, length - tail_start)
    return ReadIndex(len(sides), length, sinks, packed, tail)


def write_index(
    sides: Sequence[Side], shape: Geometry, past: int, length: int, pages: int, device: torch.device
) -> WriteIndex:
    """For tokens ``past`` to ``length - 1``, those of the first ``pages`` pages left out."""
    sink_end, tail_start = max(past, min(length, shape.sink_tokens)), max(past, shape.packed_end(pages))
    spans = [span for span in ((past, sink_end, 0), (tail_start, length, shape.sink_tokens)) if span[0] < span[1]]
    if not spans:
        return WriteIndex(*_NOTHING)
    if len(sides) == 1 and length - past == 1:
        block = sides[0].blocks[next(shape.slots(past, length))]
        return WriteIndex(*_NOTHING, single=(block, (past - spans[0][2]) % BLOCK))
    source, blocks, offsets = [], [], []
    for first, end, base in spans:
        lead, count = (first - base) % BLOCK, end - first
        columns = [*shape.slots(first, end)]
        ids = torch.tensor([[side.blocks[column] for column in columns] for side in sides])  # [R, n / BLOCK]
        blocks.append(ids.repeat_interleave(BLOCK, dim=1)[:, lead : lead + count])
        offsets.append(torch.arange(lead, lead + count) % BLOCK)
        source.append(torch.arange(first - past, end - past))
    source, blocks, offsets = torch.cat(source), torch.cat(blocks, dim=1), torch.cat(offsets)
    chosen = None if len(source) == length - past else source.to(device)
    return WriteIndex(chosen, blocks.to(device), offsets.to(device))


def read(
    index: ReadIndex,
    blocks: torch.Tensor,
    records: torch.Tensor,
    dequantize: Callable[[torch.Tensor], torch.Tensor],
    room: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Rows' tokens ``[R, HKV, length + room, D]`` from one layer's pools, the last ``room`` of them left to fill.

    ``dequantize`` turns records ``[n, HKV, bytes]`` into ``[n, HKV, PAGE, D]``.
    """
    rows, kv_heads, head_dim = index.rows, blocks.shape[1], blocks.shape[3]
    # The tail is copied by whole blocks, which may reach behind the room.
    capacity = index.length + max(room, BLOCK)
    out = torch.empty(rows, kv_heads, capacity, head_dim, dtype=dtype, device=blocks.device)
    if index.sinks is not None:
        ids, count = index.sinks
        out[:, :, :count] = _tokens(blocks, ids, rows).flatten(2, 3)[:, :, :count]
    if index.pages is not None:
        ids, first, count = index.pages
        pages = dequantize(records.index_select(0, ids)).unflatten(0, (rows, -1))  # [R, P, HKV, PAGE, D]
        pages = pages.transpose(1, 2)
        out[:, :, first : first + count].unflatten(2, pages.shape[2:4]).copy_(pages)
    if index.tail is not None:
        ids, offset, first, count = index.tail
        tail = _tokens(blocks, ids, rows)
        if offset:
            out[:, :, first : first + count] = tail.flatten(2, 3)[:, :, offset : offset + count]
        else:
            out[:, :, first : first + tail.shape[2] * BLOCK].unflatten(2, (-1, BLOCK)).copy_(tail)
    return out[:, :, : index.length + room]


def write(index: WriteIndex, tokens: torch.Tensor, blocks: torch.Tensor) -> None:
    """Writes real tokens ``[R, HKV, n, D]`` to one layer's blocks."""
    if index.single is not None:
        # The common step of one token, a third of the time of indexing by tensors.
        block, offset = index.single
        blocks[block, :, offset] = tokens[0, :, 0]
    if index.blocks is None:
        return
    if index.source is not None:
        tokens = tokens.index_select(2, index.source)
    blocks[index.blocks, :, index.offsets] = tokens.transpose(1, 2).to(blocks.dtype)  # [R, n, HKV, D]


def _ids(tables: Sequence[Sequence[int]], columns: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([table[column] for table in tables for column in columns], device=device)


def _tokens(blocks: torch.Tensor, ids: torch.Tensor, rows: int) -> torch.Tensor:
    """Blocks in the order of tokens, ``[R, HKV, n, BLOCK, D]``."""
    return blocks.index_select(0, ids).unflatten(0, (rows, -1)).transpose(1, 2)
