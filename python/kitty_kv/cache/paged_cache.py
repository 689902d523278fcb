"""The rows of one batch and what holds them: one set of pages, blocks and tables for all layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from kitty_kernels.pack.api import PageLayout, flush_layers

from ..config import KittyConfig
from ..errors import CacheError, ConfigError, UnsupportedError
from ..quant import check_packable
from .allocator import IdAllocator
from .crop import crop_row, unpack
from .geometry import geometries
from .implementation import check_implementation, resolve
from .kernel_route import KernelRoute
from .layer import KittyLayer
from .plain_route import PlainRoute
from .row import Row
from .spans import Spans
from .step import PageCounts, RowStep, Step, close_step, open_step
from .storage import Storage, to_device
from .views import Tables, Views, build_views, upload_tables


class Place(NamedTuple):
    """Where a layer lies."""

    storage: Storage
    index: int


class PagedCache:
    """Keys and values of all layers for a batch of rows of any lengths.

    A forward pass gives every layer the same new tokens: the first layer decides what each row gains, the others follow,
    and after the last one the pages that became full are packed, all layers at once.

    Args:
        config: what is quantized, and how.
        layers: how many attention layers there are.
        impl: ``auto``, ``reference`` or ``triton``; see ``implementation.py``.
    """

    def __init__(self, config: KittyConfig, layers: int, impl: str = "auto") -> None:
        check_implementation(impl)
        self.config = config
        self.impl = impl
        self.geometry = geometries(config)
        self.layers = [KittyLayer(self, index) for index in range(layers)]
        self.reset()

    def reset(self) -> None:
        """Forgets everything, the batch size included, and gives all memory back."""
        self.rows: list[Row] = []
        self.slots = 0  # positions that all layers have seen, padding included
        self.step: Step | None = None
        self.key_ids, self.value_ids, self.block_ids = IdAllocator(), IdAllocator(), IdAllocator()
        self.layout: PageLayout | None = None
        self.route: KernelRoute | PlainRoute | None = None
        self._kv_heads = 0
        self._dtype: torch.dtype | None = None
        self._has_failed = False
        self._places: dict[int, Place] = {}
        self._storages: dict[torch.device, Storage] = {}
        self._tables: dict[torch.device, Tables] = {}
        self._views: dict[torch.device, Views] = {}

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row, those of a pass that has begun included."""
        return [row.length for row in self.rows]

    @property
    def storages(self) -> list[Storage]:
        """One for each device."""
        return list(self._storages.values())

    @property
    def kv_heads(self) -> int:
        return self._kv_heads

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the blocks."""
        return self._dtype

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pools, free pages and blocks included."""
        return sum(storage.bytes_allocated for storage in self.storages)

    def place(self, layer: int) -> Place:
        """Where a layer that holds tokens lies."""
        return self._places[layer]

    def views(self, storage: Storage) -> Views:
        """Views and counters of the current pass on a device, or of the rows as they are between passes."""
        device = storage.device
        if device not in self._views:
            if device not in self._tables:
                self._tables[device] = upload_tables(self.rows, self.geometry, device)
            rows = self.step.rows if self.step is not None else [_at_rest(row) for row in self.rows]
            self._views[device] = build_views(storage, self._tables[device], self.geometry[0].sink_tokens, rows)
        return self._views[device]

    def is_updated(self, layer: int) -> bool:
        """Whether a layer has taken the tokens of the pass that has begun."""
        return self.step is not None and layer in self.step.done

    def check_whole(self, layer: int) -> None:
        """Raises unless ``layer`` may take the next tokens.

        Raises:
            CacheError: an earlier forward pass failed half-way.
        """
        if self._has_failed or self.is_updated(layer):
            raise CacheError(
                "Cannot continue with this cache: its layers hold different numbers of tokens, so an earlier forward "
                "pass failed half-way; reset() it and start again."
            )

    @contextlib.contextmanager
    def updating(self, layer: int, keys: torch.Tensor, real: torch.Tensor | None) -> Iterator[Step]:
        """The pass in which ``layer`` takes ``keys`` ``[B, HKV, S, D]``; begins it with its first layer, ends it with its last.

        Raises:
            CacheError: the batch size differs from the cached one, or an earlier pass failed half-way.
            ConfigError, UnsupportedError: this cache cannot hold such keys.
        """
        self.check_whole(layer)
        self._check(layer, keys)
        try:
            if self.step is None:
                self._open(keys, real)
            elif self.step.new_tokens != keys.shape[2] or not _is_same(self.step, real):
                raise CacheError(
                    f"Cannot add tokens to layer {layer}: it gets other tokens than the layers before it, "
                    f"{keys.shape[2]} positions instead of {self.step.new_tokens} or another padding; reset() the cache."
                )
            self._settle(layer, keys.device)
            yield self.step
            self.step.done.add(layer)
            if len(self.step.done) == len(self.layers):
                self._close()
        except BaseException:
            self._has_failed = True
            raise

    def select_rows(self, indices: Sequence[int]) -> None:
        """Makes the rows at ``indices`` the new batch, in that order, sharing pages and blocks and copying none.

        Raises:
            CacheError: a forward pass failed half-way.
        """
        self._check_idle("select rows of")
        old, self.rows = self.rows, [self.rows[index].copy() for index in indices]
        for rows, change in ((self.rows, IdAllocator.retain), (old, IdAllocator.release)):
            for row in rows:
                change(self.key_ids, row.keys.pages)
                change(self.value_ids, row.values.pages)
                change(self.block_ids, row.keys.held_blocks())
                change(self.block_ids, row.values.held_blocks())
        self._tables.clear()
        self._views.clear()

    def crop(self, lengths: Sequence[int], slots: int | None = None) -> None:
        """Takes tokens back, so that row b holds its first ``lengths[b]`` real tokens.

        The last 64 tokens that a row gained in its last pass are taken back exactly: what follows is as if they had
        never been there. A deeper crop leaves tokens of a page that is cut, and values that come back into the recent
        window, as attention saw them: dequantized, in 16 bits. It may take a few more blocks than it frees, over
        ``max_bytes`` if it must.

        Args:
            lengths: one a row, at most what the row holds; the same means no change.
            slots: positions seen, padding included, from now on; default: as many less as the row loses that loses most.

        Raises:
            CacheError: a forward pass failed half-way.
            ConfigError: another number of rows, or a length that a row does not have.
        """
        self._check_idle("crop")
        held = self.lengths
        if len(lengths) != len(held) or any(not 0 <= new <= old for new, old in zip(lengths, held, strict=False)):
            raise ConfigError(
                f"Cannot crop this cache to {list(lengths)} tokens: its rows hold {held}; give each row its length, 0 to that."
            )
        lost = max((old - new for new, old in zip(lengths, held, strict=True)), default=0)
        self.slots = self.slots - lost if slots is None else slots
        page_ids, copies, unpackings = (self.key_ids, self.value_ids), [], []
        for row, length in zip(self.rows, lengths, strict=True):
            if length < row.length:
                cropped = crop_row(row, length, self.geometry, page_ids, self.block_ids)
                copies += cropped.copies
                unpackings += cropped.unpackings
        for storage in self.storages:
            self._make_room(storage)
            storage.copy_blocks(copies)
            unpack(storage, unpackings, self.route.impl)
        self._tables.clear()
        self._views.clear()

    def _check_idle(self, action: str) -> None:
        if self.step is not None or self._has_failed:
            raise CacheError(f"Cannot {action} this cache: a forward pass failed half-way; reset() it and start again.")

    def _check(self, layer: int, keys: torch.Tensor) -> None:
        """Learns shapes from the first tokens and holds later ones to them."""
        batch, kv_heads, _, head_dim = keys.shape
        if self.layout is None:
            self._learn(batch, kv_heads, head_dim, keys)
        held = (len(self.rows), self._kv_heads, self.layout.head_dim)
        if batch == held[0] and layer not in self._places and (kv_heads, head_dim) != held[1:]:
            raise UnsupportedError(
                f"Cannot cache layer {layer}: it has {kv_heads} KV heads x {head_dim} channels, the layers before it "
                f"{held[1]} x {held[2]}; this version holds layers of one shape, use DynamicCache for this model."
            )
        if (batch, kv_heads, head_dim) != held:
            raise CacheError(
                f"Cannot add tokens to this cache: it holds {held[0]} rows of {held[1]} heads x {held[2]} "
                f"channels, got {batch} rows of {kv_heads} x {head_dim}; use one cache per batch "
                "and model, or reset() it."
            )
        place = self._places.get(layer)
        if place is not None and keys.device != place.storage.device:
            raise ConfigError(
                f"Cannot add tokens to this cache: it lies on {place.storage.device}, they on {keys.device}."
            )

    def _learn(self, batch: int, kv_heads: int, head_dim: int, keys: torch.Tensor) -> None:
        check_packable(self.config, head_dim)
        quantizes = self.config.quantizes_keys or self.config.quantizes_values
        dtype = torch.float16 if quantizes and keys.dtype.itemsize > 2 else keys.dtype
        layout = PageLayout(head_dim, self.config.boosted_channels(head_dim), self.config.page_size)
        self.route = resolve(self, keys.dtype, layout, keys.device)
        self.layout, self._kv_heads, self._dtype = layout, kv_heads, dtype
        self.rows = [Row() for _ in range(batch)]

    def _open(self, keys: torch.Tensor, real: torch.Tensor | None) -> None:
        spans = Spans.whole(len(self.rows), keys.shape[2]) if real is None else Spans.of(real)
        step = Step(keys.shape[2], real, spans)
        open_step(self.rows, self.geometry, (self.key_ids, self.value_ids), self.block_ids, step)
        self.step = step
        self._views.clear()
        if step.is_table_changed:
            self._tables.clear()
        for storage in self.storages:
            self._make_room(storage)
            storage.copy_blocks(step.copies)

    def _close(self) -> None:
        step = self.step
        for storage in self.storages:
            for kind, jobs in step.due_after.items():
                if jobs:
                    options = {"selection": self.config.selection, "seed": self.config.seed, "impl": self.route.impl}
                    now = self.views(storage).now
                    flush_layers(now, to_device(jobs, storage.device), kind=kind, **options)
        close_step(self.rows, self.geometry, self.block_ids, step)
        self.slots += step.new_tokens
        self.step = None

    def _settle(self, layer: int, device: torch.device) -> None:
        """Finds a place for a layer when its first tokens arrive."""
        if layer in self._places:
            return
        storage = self._storages.get(device)
        if storage is None:
            for other in self.storages:
                other.resize(self._count(other))
            # Layers mostly follow each other on one device, so it makes room for all that are left.
            left = len(self.layers) - len(self._places)
            storage = Storage(left, self.layout, self._kv_heads, self._dtype, device)
            self._make_room(storage)
            self._storages[device] = storage
            self._views.clear()
        index = self._count(storage)
        if index == storage.layers:
            storage.resize(index + 1)
            self._views.clear()
        self._places[layer] = Place(storage, index)

    def _count(self, storage: Storage) -> int:
        return sum(place.storage is storage for place in self._places.values())

    def _make_room(self, storage: Storage) -> None:
        storage.make_room(self.key_ids.capacity, self.value_ids.capacity, self.block_ids.capacity)


def _is_same(step: Step, real: torch.Tensor | None) -> bool:
    """Whether a later layer's mask is the first layer's; another tensor is compared, which waits for the device."""
    if step.real is real:
        return True
    if step.real is None or real is None:
        spans = Spans.of(step.real if real is None else real)
        return spans.order is None and spans.counts == step.spans.counts and not step.has_padding
    return step.real.shape == real.shape and bool((step.real.to(real.device) == real).all())


def _at_rest(row: Row) -> RowStep:
    keys, values = len(row.keys.pages), len(row.values.pages)
    return RowStep(row.length, 0, 0, True, PageCounts(keys, keys, keys), PageCounts(values, values, values))
