"""The rows of one batch and what holds them: one set of pages, blocks and tables for all layers."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence

import torch

from kitty_kernels.pack.api import PageLayout, flush_layers

from ..config import KittyConfig
from ..errors import CacheBusyError, CacheError, CacheOutOfMemoryError
from ..quant import check_packable
from .broken_pass import broken_pass_error
from .checks import check_keys, check_lengths, check_max_bytes
from .crop import crop_rows
from .device_views import DeviceViews
from .geometry import geometries
from .implementation import check_implementation, resolve
from .kernel_route import KernelRoute
from .layer import KittyLayer
from .layer_list import LayerList
from .plain_route import PlainRoute
from .row import Row
from .spans import Spans
from .step import Step, close_step, open_step, plan_later, plan_step
from .storage import Storage, to_device
from .store import PageStore, Place
from .views import Views


class PagedCache:
    """Keys and values of all layers for a batch of rows of any lengths.

    A forward pass gives every layer the same new tokens: the first layer decides what each row gains, the others follow,
    and after the last one the pages that became full are packed, all layers at once.

    Args:
        config: what is quantized, and how.
        layers: how many attention layers there are.
        impl: ``auto``, ``reference`` or ``triton``; see ``implementation.py``.
        max_bytes: most bytes that this cache and its forks may allocate together; None for no limit.
        store: pages and blocks that this cache shares with others, whose limit then counts; None for its own.

    Raises:
        ConfigError: ``impl`` or ``max_bytes`` is wrong.
    """

    def __init__(
        self,
        config: KittyConfig,
        layers: int,
        impl: str = "auto",
        max_bytes: int | None = None,
        store: PageStore | None = None,
    ) -> None:
        check_implementation(impl)
        check_max_bytes(max_bytes)
        self.config = config
        self.impl = impl
        self.geometry = geometries(config)
        self._layers = layers
        self._made_layers: weakref.WeakValueDictionary[int, KittyLayer] = weakref.WeakValueDictionary()
        self._is_pooled = store is not None
        self._begin(store if store is not None else PageStore(layers, max_bytes))

    @property
    def layers(self) -> Sequence[KittyLayer]:
        """What each attention layer holds."""
        return LayerList(self, self._layers, self._made_layers)

    def reset(self) -> None:
        """Forgets everything, the batch size included, and gives all memory back that no fork uses.

        A cache that shares a store stays with it: what it held is free for the others.
        """
        self.store.release(self.rows)
        self._begin(self.store if self._is_pooled else PageStore(self._layers, self.store.max_bytes))

    def fork(self) -> PagedCache:
        """A cache with the same rows, which shares memory with this one until either grows, and lives as long as it likes.

        Raises:
            CacheError: a forward pass failed half-way.
        """
        self._check_idle("fork")
        fork = PagedCache(self.config, self._layers, self.impl)
        fork._is_pooled = self._is_pooled
        fork._begin(self.store, [row.copy() for row in self.rows])
        self.store.hold(fork.rows)
        fork.slots = self.slots
        fork.route = self.route.of(fork) if self.route is not None else None
        return fork

    def __del__(self) -> None:
        store = getattr(self, "store", None)  # none where the constructor raised
        if store is not None and self.rows:
            store.abandon(self.rows)

    def _begin(self, store: PageStore, rows: Sequence[Row] = ()) -> None:
        self.store = store
        self.rows: list[Row] = list(rows)
        self.slots = 0  # positions that all layers have seen, padding included
        self.step: Step | None = None
        self.route: KernelRoute | PlainRoute | None = None
        self._has_failed = False
        self._views = DeviceViews(self.geometry)
        store.add_user(self)

    @property
    def owned_rows(self) -> Sequence[Row]:
        """The rows whose references are this cache's own."""
        return self.rows

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row, those of a pass that has begun included."""
        return [row.length for row in self.rows]

    @property
    def storages(self) -> list[Storage]:
        """One for each device."""
        return self.store.storages

    @property
    def layout(self) -> PageLayout | None:
        """Of a page; None before the first tokens."""
        return self.store.layout

    @property
    def kv_heads(self) -> int:
        return self.store.kv_heads

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the blocks."""
        return self.store.dtype

    @property
    def bytes_allocated(self) -> int:
        """Bytes of all pools, free pages and blocks and those of forks included."""
        return self.store.bytes_allocated

    def place(self, layer: int) -> Place:
        """Where a layer that holds tokens lies."""
        return self.store.place(layer)

    def views(self, storage: Storage) -> Views:
        """Views and counters of the current pass on a device, or of the rows as they are between passes."""
        return self._views.of(storage, self.rows, self.step)

    def forget_tables(self) -> None:
        """The ids in ``rows`` have changed."""
        self._views.forget()

    def is_updated(self, layer: int) -> bool:
        """Whether a layer has taken the tokens of the pass that has begun."""
        return self.step is not None and layer in self.step.done

    def check_whole(self, layer: int) -> None:
        """Raises unless ``layer`` may take the next tokens.

        Raises:
            CacheError: an earlier forward pass failed half-way.
        """
        if self._has_failed or self.is_updated(layer):
            raise broken_pass_error()

    @contextlib.contextmanager
    def updating(self, layer: int, keys: torch.Tensor, real: torch.Tensor | None) -> Iterator[Step]:
        """The pass in which ``layer`` takes ``keys`` ``[B, HKV, S, D]``; begins it with its first layer, ends it with its last.

        Raises:
            CacheError: the batch size differs from the cached one, or an earlier pass failed half-way.
            CacheBusyError: another thread is in the middle of a pass through a cache that shares pages; nothing has changed.
            CacheOutOfMemoryError: there is no memory for the pass; the cache holds what it held before it.
            ConfigError, UnsupportedError: this cache cannot hold such keys.
        """
        self.check_whole(layer)
        if self.route is None:
            batch, kv_heads, _, head_dim = keys.shape
            self.expect(batch, kv_heads, head_dim, keys.dtype, keys.device)
        check_keys(self.store, len(self.rows), layer, keys)
        try:
            if self.step is None:
                with self.store.opening(self):
                    self.store.settle(layer, keys.device)
                    self._open(keys, real, self._make_room(keys.shape[2], real))
            elif self.step.new_tokens != keys.shape[2] or not self.step.is_for(real):
                raise CacheError(
                    f"Cannot add tokens to layer {layer}: it gets other tokens than the layers before it, "
                    f"{keys.shape[2]} positions instead of {self.step.new_tokens} or another padding; reset() the cache."
                )
            self.store.settle(layer, keys.device)
            yield self.step
            self.step.done.add(layer)
            if len(self.step.done) == self._layers:
                self._close()
        except (CacheOutOfMemoryError, CacheBusyError):
            # Layers have changed only in a first pass, where the later ones still have to find a place on their devices.
            if not self.slots:
                self._forget_batch()
            raise
        except BaseException:
            self._has_failed = True
            raise

    def make_room(self, new_tokens: int, real: torch.Tensor | None) -> None:
        """Makes sure of the memory for a pass that layers elsewhere begin, as far as is known before the first tokens.

        Args:
            new_tokens: S.
            real: as in ``KittyLayer.attend``.

        Raises:
            CacheOutOfMemoryError: there is none; nothing has changed.
        """
        if self.slots:
            self._make_room(new_tokens, real)

    def expect(self, batch: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        """Takes the shape ``[B, HKV, S, D]``, dtype and device of the keys to come; the cache must be empty.

        Raises:
            UnsupportedError: this cache cannot hold such keys.
        """
        check_packable(self.config, head_dim)
        quantizes = self.config.quantizes_keys or self.config.quantizes_values
        layout = PageLayout(head_dim, self.config.boosted_channels(head_dim), self.config.page_size)
        self.route = resolve(self, dtype, layout, device)
        if self.store.layout is None:
            self.store.learn(layout, kv_heads, torch.float16 if quantizes and dtype.itemsize > 2 else dtype)
        self.rows = [Row() for _ in range(batch)]

    def select_rows(self, indices: Sequence[int]) -> None:
        """Makes the rows at ``indices`` the new batch, in that order, sharing pages and blocks and copying none.

        Raises:
            CacheError: a forward pass failed half-way.
        """
        self._check_idle("select rows of")
        rows = [self.rows[index].copy() for index in indices]
        self.store.hold(rows)
        self.store.release(self.rows)
        self.rows = rows
        self.forget_tables()
        self.store.trim()

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
        check_lengths(lengths, held)
        lost = max((old - new for new, old in zip(lengths, held, strict=True)), default=0)
        self.slots = self.slots - lost if slots is None else slots
        crop_rows(self.rows, lengths, self.geometry, self.store, self.route)
        self.forget_tables()
        self.store.trim()

    def _check_idle(self, action: str) -> None:
        if self.step is not None or self._has_failed:
            raise broken_pass_error(action)

    def _make_room(self, new_tokens: int, real: torch.Tensor | None) -> Spans:
        """Where the pass's real tokens are, once there is room for them."""
        spans = Spans.whole(len(self.rows), new_tokens) if real is None else Spans.of(real)
        store, counts = self.store, spans.counts
        store.collect()
        new = plan_step(self.rows, self.geometry, store.block_ids, counts)
        store.reserve(new, lambda: plan_later(self.rows, self.geometry, counts))
        return spans

    def _forget_batch(self) -> None:
        """Makes a cache whose first pass has failed an empty one again."""
        self.store.release(self.rows)
        self.rows, self.route, self.step = [], None, None
        self.forget_tables()
        self.store.trim()

    def _open(self, keys: torch.Tensor, real: torch.Tensor | None, spans: Spans) -> None:
        step = Step(keys.shape[2], real, spans)
        open_step(self.rows, self.geometry, self.store.page_ids, self.store.block_ids, step)
        self.step = step
        self._views.begin(step)
        for storage in self.storages:
            storage.copy_blocks(step.copies)

    def _close(self) -> None:
        step = self.step
        for storage in self.storages:
            for kind, jobs in step.due_after.items():
                if jobs:
                    options = {"selection": self.config.selection, "seed": self.config.seed, "impl": self.route.impl}
                    now = self.views(storage).now
                    flush_layers(now, to_device(jobs, storage.device), kind=kind, **options)
        close_step(self.rows, self.geometry, self.store.block_ids, step)
        self.slots += step.new_tokens
        self.step = None
        self.store.trim()
