"""Decodes batches by CUDA graphs, whose hundreds of launches cost the host as much as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..cache.decode_tables import DecodeTables, TableShape
from .compiled_layers import run_compiled
from .decode_pass import DecodeCache
from .warn_once import warn_once

if TYPE_CHECKING:
    from ..cache.paged_cache import PagedCache
    from ..cache.storage import Storage

_EXACT_ROWS = (1, 2, 4)  # above them, batches are padded to a multiple of eight rows
_ROWS = 8
_MOST_GRAPHS = 32


class DecodeGraphs:
    """Graphs of one model's passes over one store, made when they are first needed; see ``hf/decode_pass.py``.

    On a CPU the same passes run without graphs, which is of use for tests only.

    Args:
        model: that the batches run on.
        pads_rows: whether batches of nearly as many rows share a graph.
        compiles: whether the model's layers are compiled.
    """

    def __init__(self, model: Any, *, pads_rows: bool = True, compiles: bool = True) -> None:
        self.model = model
        self._compiles = compiles
        self._device = model.device
        self._pads_rows = pads_rows
        self._graphs: dict[TableShape, _Graph] = {}  # by their last use
        self._storage: Storage | None = None  # whose pools' addresses the graphs hold
        self._version = 0
        self._pool: Any = None
        self._refusal: str | None = None

    def takes(self, pages: PagedCache) -> bool:
        """Whether a batch can be decoded so: on the model's one device, by operations that read the tables there."""
        storages, route = pages.storages, pages.route
        is_at_hand = len(storages) == 1 and storages[0].device == self._device and route.attends_cache
        return is_at_hand and self._refusal is None

    def feed(
        self,
        pages: PagedCache,
        real: torch.Tensor | None,
        tokens: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        on_device: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Feeds each row its tokens, in a whole pass: logits ``[B, S, V]``, which the next call overwrites.

        Args:
            pages: of the batch, and what is padded behind its rows.
            real: which tokens are real, bool ``[B, S]``; None for all.
            tokens, positions: ``[B, S]``, padding included.
            on_device: int64 ``[N]``, what the first token of each of the first N rows really is.

        Raises:
            CacheBusyError, CacheOutOfMemoryError: as an ordinary pass; nothing has changed.
            BaseException: what the model raised, in the middle of the pass.
        """
        new_tokens = len(tokens[0])
        step = pages.begin_decoding(new_tokens, real)
        graph = self._graph(pages, new_tokens)
        graph.tables.load(pages.rows, step.rows, tokens, positions)
        if on_device is not None:
            graph.tables.tokens[: len(on_device), 0] = on_device
        logits = self._run(graph)
        pages.end_decoding(graph.tables.view)
        return logits

    @property
    def recorded(self) -> int:
        """How many graphs there are."""
        return sum(graph.recorded is not None for graph in self._graphs.values())

    def forget_stale(self) -> None:
        """Lets go of graphs whose pools have moved, and so of the memory where these were."""
        if self._storage is not None and self._storage.version != self._version:
            self._forget_all()
            self._version = self._storage.version

    def _forget_all(self) -> None:
        self._graphs.clear()
        # Its memory goes with the last graph, and torch cannot begin anew with what is left.
        self._pool = None

    def _graph(self, pages: PagedCache, new_tokens: int) -> _Graph:
        storage = pages.storages[0]
        self._storage = self._storage or storage
        self.forget_stale()
        rows = padded_rows(len(pages.rows)) if self._pads_rows else len(pages.rows)
        shape = TableShape.that_holds(new_tokens, pages.rows, rows, pages.geometry)
        graph = self._graphs.pop(shape, None)
        if graph is None:
            if len(self._graphs) == _MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            tables = DecodeTables(storage, shape, pages.geometry[0].sink_tokens)
            graph = _Graph(tables, DecodeCache(tables, len(pages.layers), pages.route.impl))
        self._graphs[shape] = graph
        return graph

    def _run(self, graph: _Graph) -> torch.Tensor:
        if graph.recorded is not None:
            graph.recorded.replay()
            return graph.logits
        logits = self._warm_up(graph)
        if self._device.type == "cuda":
            self._record(graph)
        return logits

    def _warm_up(self, graph: _Graph) -> torch.Tensor:
        """Runs the pass as it is, which compiles what must be: what it writes a second time is the same."""
        return self._call(lambda: self._run_beside(graph), may_repeat=True)

    def _run_beside(self, graph: _Graph) -> torch.Tensor:
        if self._device.type != "cuda":
            return graph.cache.decode(self.model)
        # Not on the default stream, as recording demands.
        here, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            logits = graph.cache.decode(self.model)
        here.wait_stream(beside)
        return logits

    def _call(self, run: Callable[[], torch.Tensor], *, may_repeat: bool) -> torch.Tensor:
        return run_compiled(self.model, run, may_repeat=lambda: may_repeat) if self._compiles else run()

    def _record(self, graph: _Graph) -> None:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        recorded = torch.cuda.CUDAGraph()

        def record() -> torch.Tensor:
            # Other threads may go on using the device.
            with torch.cuda.graph(recorded, pool=self._pool, capture_error_mode="thread_local"):
                return graph.cache.decode(self.model)

        try:
            graph.logits = self._call(record, may_repeat=False)
        # A model that waits for the device cannot be recorded: mixtures of experts do in this version of Transformers.
        except RuntimeError as error:
            self._refusal = _first_line(error)
            self._forget_all()
            model = type(self.model).__name__
            warn_once(f"Decode steps of {model} run without CUDA graphs, which cannot hold it: {self._refusal}")
        else:
            graph.recorded = recorded


class _Graph:
    """One of them."""

    def __init__(self, tables: DecodeTables, cache: DecodeCache) -> None:
        self.tables = tables
        self.cache = cache
        self.recorded: torch.cuda.CUDAGraph | None = None
        self.logits: torch.Tensor | None = None


def padded_rows(count: int) -> int:
    """How many rows a graph for ``count`` rows has."""
    return next((rows for rows in _EXACT_ROWS if count <= rows), -(-count // _ROWS) * _ROWS)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
