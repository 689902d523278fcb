"""The rows of one batch and what holds them, between forward passes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from kitty_kernels.pack.api import PageLayout

from ..config import KittyConfig
from .broken_pass import broken_pass_error
from .channel_weights import ChannelWeights
from .checks import check_lengths, check_max_bytes
from .crop import crop_rows
from .device_views import DeviceViews
from .geometry import geometries
from .implementation import check_implementation
from .kernel_route import KernelRoute
from .layer import KittyLayer
from .layer_list import LayerList
from .plain_route import PlainRoute
from .pools import Place
from .row import Row
from .step import Step
from .storage import Storage
from .store import PageStore
from .views import Views


class Batch:
    """Rows of any lengths, the same in all layers: what ``PagedCache`` is between its passes; see there for arguments."""

    def __init__(
        self,
        config: KittyConfig,
        layers: int,
        impl: str = "auto",
        max_bytes: int | None = None,
        store: PageStore | None = None,
        weights: ChannelWeights | None = None,
    ) -> None:
        check_implementation(impl)
        check_max_bytes(max_bytes)
        self.config = config
        self.impl = impl
        self.weights = weights
        self.geometry = geometries(config)
        self._layers = layers
        self._made_layers: weakref.WeakValueDictionary[int, KittyLayer] = weakref.WeakValueDictionary()
        self._is_pooled = store is not None
        self._begin(store if store is not None else PageStore(layers, max_bytes))

    @property
    def layers(self) -> Sequence[KittyLayer]:
        """What each attention layer holds."""
        return LayerList(self, self._layers, self._made_layers)

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

    def reset(self) -> None:
        """Forgets everything, the batch size included, and gives all memory back that no fork uses.

        A cache that shares a store stays with it: what it held is free for the others.
        """
        self.store.release(self.rows)
        self._begin(self.store if self._is_pooled else PageStore(self._layers, self.store.max_bytes))

    def __del__(self) -> None:
        store = getattr(self, "store", None)  # none where the constructor raised
        if store is not None and self.rows:
            store.abandon(self.rows)

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

    def _begin(self, store: PageStore, rows: Sequence[Row] = ()) -> None:
        self.store = store
        self.rows: list[Row] = list(rows)
        self.slots = 0  # positions that all layers have seen, padding included
        self.step: Step | None = None
        self.route: KernelRoute | PlainRoute | None = None
        self._has_failed = False
        self._views = DeviceViews(self.geometry)
        store.add_user(self)
