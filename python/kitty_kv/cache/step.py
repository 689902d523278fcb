"""One forward pass over the cache: what every row gains, decided once and then the same for every layer."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from kitty_kernels.decode_attention.api import BLOCK

from .allocator import IdAllocator
from .geometry import SHORT_CALL, UNDO_TOKENS, Geometry
from .row import NO_BLOCK, Row, Side
from .spans import Spans
from .storage import Counts


class PageCounts(NamedTuple):
    """Packed pages of one side of a row."""

    before: int  # when the pass begins
    now: int  # once a layer has taken its tokens: all but the call's latest pages are packed
    after: int  # when the pass is over


class Job(NamedTuple):
    """A page to pack."""

    row: int
    page: int
    destination: int


@dataclasses.dataclass(frozen=True, slots=True)
class RowStep:
    """What one row gains: tokens ``start`` to ``start + count - 1`` of the call, behind ``past`` cached ones."""

    past: int
    start: int
    count: int
    is_short: bool
    keys: PageCounts
    values: PageCounts

    @classmethod
    def at_rest(cls, row: Row) -> RowStep:
        """Of a row between passes."""
        keys, values = len(row.keys.pages), len(row.values.pages)
        return cls(row.length, 0, 0, True, PageCounts(keys, keys, keys), PageCounts(values, values, values))

    @property
    def length(self) -> int:
        return self.past + self.count


class Group(NamedTuple):
    """Rows ``first`` to ``end - 1``, which are attended together because their steps are equal."""

    first: int
    end: int
    step: RowStep


@dataclasses.dataclass(slots=True)
class Step:
    """A pass that has begun.

    A row's latest tokens join its blocks before they are packed, so that one launch packs the pages of all layers at the
    end (``due_after``) and the tokens can be taken back; earlier pages of a long call are packed from its own tensors in
    each layer (``due``).
    """

    new_tokens: int
    real: torch.Tensor | None
    spans: Spans
    rows: list[RowStep] = dataclasses.field(default_factory=list)
    due: dict[str, list[Job]] = dataclasses.field(default_factory=lambda: {"keys": [], "values": []})
    due_after: dict[str, list[Job]] = dataclasses.field(default_factory=lambda: {"keys": [], "values": []})
    copies: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    done: set[int] = dataclasses.field(default_factory=set)  # layers that have taken their tokens
    is_table_changed: bool = False
    groups: list[Group] = dataclasses.field(default_factory=list)
    thread: int = dataclasses.field(default_factory=threading.get_ident)

    @property
    def has_padding(self) -> bool:
        return any(count < self.new_tokens for count in self.spans.counts)

    @property
    def padding(self) -> torch.Tensor:
        """Where nothing is real, bool ``[B, S]`` on the device, positions in the order of ``spans``."""
        order = self.spans.order
        return ~(self.real.bool() if order is None else self.real.bool().gather(1, order))

    @property
    def is_short(self) -> bool:
        """Whether all rows attend straight to the cache in one go."""
        return self.new_tokens <= SHORT_CALL and all(group.step.is_short for group in self.groups)

    def is_for(self, real: torch.Tensor | None) -> bool:
        """Whether a later layer's mask is the first layer's, or its copy; another is compared, which waits for the device."""
        if self.real is real or (real is not None and Spans.of(real) is self.spans):
            return True
        if self.real is None or real is None:
            spans = Spans.of(self.real if real is None else real)
            return spans.order is None and spans.counts == self.spans.counts and not self.has_padding
        return self.real.shape == real.shape and bool((self.real.to(real.device) == real).all())


def plan_step(
    rows: Sequence[Row], geometry: tuple[Geometry, Geometry], block_ids: IdAllocator, counts: Sequence[int]
) -> Counts:
    """How many new pages and blocks ``counts`` tokens need; of blocks that rows share perhaps a few fewer."""
    pages, blocks = [0, 0], 0
    for row, count in zip(rows, counts, strict=True):
        if not count or _is_quiet(row, count):
            continue
        length = row.length + count
        for kind, (side, shape) in enumerate(zip((row.keys, row.values), geometry, strict=True)):
            pages[kind] += shape.pages(length) - len(side.pages)
            freed = set()
            if side.undo_pages:
                freed = set(range(len(side.blocks))) - set(shape.slots_in_use(row.length, len(side.pages)))
                held = (side.blocks[slot] for slot in freed)
                blocks -= sum(block != NO_BLOCK and not block_ids.is_shared(block) for block in held)
            for slot in _written(shape, row.length, length, shape.pages_at_once(row.length, length)):
                held = NO_BLOCK if slot in freed else side.block(slot)
                blocks += held == NO_BLOCK or block_ids.is_shared(held)
    return Counts(*pages, max(blocks, 0))


def plan_later(rows: Sequence[Row], geometry: tuple[Geometry, Geometry], counts: Sequence[int]) -> Counts:
    """How many new pages and blocks the rows need if they go on as long as ``counts`` lets one expect.

    Pools are copied when they grow. Pages, which are most of a long cache, grow for the next ``UNDO_TOKENS`` tokens, so
    that at most a page a row is not needed yet; blocks for those of one block. After a prompt nothing is known of the
    tokens that follow.
    """
    pages, blocks = [0, 0], 0
    for row, count in zip(rows, counts, strict=True):
        is_going_on = 0 < count <= UNDO_TOKENS
        length = row.length + count
        for kind, (side, shape) in enumerate(zip((row.keys, row.values), geometry, strict=True)):
            pages[kind] += shape.pages(length + is_going_on * UNDO_TOKENS) - len(side.pages)
            later = length + is_going_on * BLOCK
            used = sum(1 for _ in shape.slots_in_use(later, shape.pages(later)))
            blocks += used - sum(1 for _ in side.held_blocks())
    return Counts(*pages, max(blocks, 0))


def open_step(
    rows: Sequence[Row],
    geometry: tuple[Geometry, Geometry],
    page_ids: tuple[IdAllocator, IdAllocator],
    block_ids: IdAllocator,
    step: Step,
) -> None:
    """Gives every row the pages and blocks that its new tokens need; ``geometry`` and ``page_ids`` of keys and values."""
    # All that is freed is free before anything is allocated, as ``plan_step`` counts.
    for row, count in zip(rows, step.spans.counts, strict=True):
        if count and not _is_quiet(row, count):
            for side, shape in zip((row.keys, row.values), geometry, strict=True):
                _forget_undo(side, shape, block_ids, row.length)
    for index, (row, count) in enumerate(zip(rows, step.spans.counts, strict=True)):
        if _is_quiet(row, count):
            at_rest = RowStep.at_rest(row)
            start = step.spans.starts[index]
            step.rows.append(RowStep(row.length, start, count, True, at_rest.keys, at_rest.values))
            row.length += count
            continue
        is_short = not count or (row.length > 0 and count <= SHORT_CALL)
        length, counts = row.length + count, []
        for kind, side, shape, ids in zip(("keys", "values"), (row.keys, row.values), geometry, page_ids, strict=True):
            before, now, after = len(side.pages), shape.pages_at_once(row.length, length), shape.pages(length)
            for page in range(before, after):
                side.pages.append(ids.allocate())
                (step.due if page < now else step.due_after)[kind].append(Job(index, page, side.pages[-1]))
            if count:
                side.undo_pages = after - now
            changed, copies = side.own_blocks(_written(shape, row.length, length, now), block_ids)
            step.copies += copies
            step.is_table_changed |= after > before or bool(changed)
            counts.append(PageCounts(before, now, after))
        step.rows.append(RowStep(row.length, step.spans.starts[index], count, is_short, *counts))
        row.length = length
        if count:
            row.quiet_until = _quiet_until(row, geometry)
    step.groups = _groups(step)


def close_step(rows: list[Row], geometry: tuple[Geometry, Geometry], block_ids: IdAllocator, step: Step) -> None:
    """Frees the blocks whose tokens the layers have packed from their own tensors."""
    for row, gained in zip(rows, step.rows, strict=True):
        sides = ((row.keys, gained.keys), (row.values, gained.values))
        for (side, pages), shape in zip(sides, geometry, strict=True):
            if pages.now > pages.before:
                side.keep_blocks(set(shape.slots_in_use(row.length, pages.now)), block_ids)


def _is_quiet(row: Row, count: int) -> bool:
    return 0 < count <= SHORT_CALL and row.length + count <= row.quiet_until


def _quiet_until(row: Row, geometry: tuple[Geometry, Geometry]) -> int:
    """Right after tokens were added: how long the row may get before it needs more than the blocks it now writes to."""
    until = []
    for side, shape in zip((row.keys, row.values), geometry, strict=True):
        if side.undo_pages or row.length < shape.sink_tokens:
            return 0
        # Blocks are counted from the end of the sinks.
        until.append(row.length + -(row.length - shape.sink_tokens) % BLOCK)
        left = shape.tokens_to_packing(row.length)
        if left is not None:
            until.append(row.length + left - 1)
    return min(until)


def _forget_undo(side: Side, shape: Geometry, ids: IdAllocator, length: int) -> None:
    """Frees the blocks whose tokens the last pass has packed."""
    if side.undo_pages:
        side.keep_blocks(set(shape.slots_in_use(length, len(side.pages))), ids)
        side.undo_pages = 0


def _written(shape: Geometry, past: int, length: int, pages: int) -> Iterator[int]:
    """Columns that tokens ``past`` to ``length - 1`` are written to while ``pages`` pages are packed."""
    yield from shape.slots(past, min(length, shape.sink_tokens))
    yield from shape.slots(max(past, shape.packed_end(pages)), length)


def _groups(step: Step) -> list[Group]:
    first = step.rows[0]
    if first.count == step.new_tokens and all(row == first for row in step.rows):
        return [Group(0, len(step.rows), first)] if first.count else []
    return [Group(index, index + 1, row) for index, row in enumerate(step.rows) if row.count]
