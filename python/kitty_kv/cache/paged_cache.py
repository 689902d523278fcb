"""Forward passes through the packed cache: one set of pages, blocks and tables for all layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from kitty_kernels.decode_attention.api import CacheView
from kitty_kernels.pack.api import PageLayout, flush_layers

from ..errors import CacheBusyError, CacheError, CacheOutOfMemoryError, ConfigError
from ..quant import check_packable
from .batch import Batch
from .broken_pass import broken_pass_error
from .checks import check_keys
from .implementation import resolve
from .row import Row
from .spans import Spans
from .step import Step, close_step, open_step, plan_later, plan_step
from .storage import Storage, to_device


class PagedCache(Batch):
    """Keys and values of all layers for a batch of rows of any lengths.

    A forward pass gives every layer the same new tokens: the first layer decides what each row gains, the others follow,
    and after the last one the pages that became full are packed, all layers at once.

    Args:
        config: what is quantized, and how.
        layers: how many attention layers there are.
        impl: ``auto``, ``reference`` or ``triton``; see ``implementation.py``.
        max_bytes: most bytes that this cache and its forks may allocate together; None for no limit.
        store: pages and blocks that this cache shares with others, whose limit then counts; None for its own.
        weights: of the channels, where ``config.weighs_channels``.

    Raises:
        ConfigError: ``impl`` or ``max_bytes`` is wrong.
    """

    # Whether a pass of several tokens is, on the CPU, as many passes of one to the bit, which costs time.
    attends_singly = False

    def fork(self) -> PagedCache:
        """A cache with the same rows, which shares memory with this one until either grows, and lives as long as it likes.

        Raises:
            CacheError: a forward pass failed half-way.
        """
        self._check_idle("fork")
        fork = PagedCache(self.config, self._layers, self.impl, weights=self.weights)
        fork._is_pooled = self._is_pooled
        fork._begin(self.store, [row.copy() for row in self.rows])
        self.store.hold(fork.rows)
        fork.slots = self.slots
        fork.route = self.route.of(fork) if self.route is not None else None
        return fork

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
                    self._open(keys.shape[2], real, self._make_room(keys.shape[2], real))
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

    def begin_decoding(self, new_tokens: int, real: torch.Tensor | None) -> Step:
        """Begins a short pass in which somebody else gives all layers their tokens; ``end_decoding`` ends it.

        Args:
            new_tokens: S, at most ``SHORT_CALL``.
            real: bool ``[B, S]``, False at padding; None if there is none.

        Raises:
            CacheBusyError, CacheOutOfMemoryError: as an ordinary pass; nothing has changed.
            CacheError: an earlier pass failed half-way.
        """
        if self.step is not None or self._has_failed:
            raise broken_pass_error()
        with self.store.opening(self):
            self._open(new_tokens, real, self._make_room(new_tokens, real))
        return self.step

    def break_decoding(self) -> None:
        """Says that such a pass failed half-way, after which only ``reset`` helps."""
        self._has_failed = True

    def end_decoding(self, view: CacheView) -> None:
        """Ends it, with the ``view`` of all layers that they read: packs the pages that are due."""
        self._close(view)

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
            ConfigError: selection ``query`` without weights, or with those of another model.
            UnsupportedError: this cache cannot hold such keys.
        """
        check_packable(self.config, head_dim)
        self._check_weights(kv_heads, head_dim)
        quantizes = self.config.quantizes_keys or self.config.quantizes_values
        layout = PageLayout(head_dim, self.config.boosted_channels(head_dim), self.config.page_size)
        self.route = resolve(self, dtype, layout, device)
        if self.store.layout is None:
            self.store.learn(layout, kv_heads, torch.float16 if quantizes and dtype.itemsize > 2 else dtype)
        self.rows = [Row() for _ in range(batch)]

    def weights_of_layer(self, layer: int) -> torch.Tensor | None:
        """Weights ``[HKV, D]`` of a layer's key channels, where it lies; None where none are used."""
        if not self._uses_weights:
            return None
        return self.weights.on(self.place(layer).storage.device, (layer,))[0]

    def _weights_on(self, storage: Storage) -> torch.Tensor | None:
        """Weights ``[LAYERS, HKV, D]`` of the layers that lie there."""
        return self.weights.on(storage.device, self.store.layers_on(storage)) if self._uses_weights else None

    @property
    def _uses_weights(self) -> bool:
        return self.weights is not None and self.config.weighs_channels(self.layout.head_dim)

    def _check_weights(self, kv_heads: int, head_dim: int) -> None:
        if not self.config.weighs_channels(head_dim):
            return
        if self.weights is None:
            raise ConfigError(
                "Cannot choose channels by selection 'query': this cache has no weights, which say how much queries read each "
                "channel; make it with KittyCache.for_model(model, ...)."
            )
        self.weights.check(self._layers, kv_heads, head_dim)

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

    def _open(self, new_tokens: int, real: torch.Tensor | None, spans: Spans) -> None:
        step = Step(new_tokens, real, spans)
        open_step(self.rows, self.geometry, self.store.page_ids, self.store.block_ids, step)
        self.step = step
        self._views.begin(step)
        for storage in self.storages:
            storage.copy_blocks(step.copies)

    def _close(self, view: CacheView | None = None) -> None:
        """Packs what is due, read from ``view`` where this cache's own is not the one that the layers have used."""
        step = self.step
        for storage in self.storages:
            for kind, jobs in step.due_after.items():
                if jobs:
                    options = {"selection": self.config.selection, "seed": self.config.seed, "impl": self.route.impl}
                    options["weights"] = self._weights_on(storage) if kind == "keys" else None
                    now = self.views(storage).now if view is None else view
                    flush_layers(now, to_device(jobs, storage.device), kind=kind, **options)
        close_step(self.rows, self.geometry, self.store.block_ids, step)
        self.slots += step.new_tokens
        self.step = None
        self._views.end()
        self.store.trim()
