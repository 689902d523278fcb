"""One forward pass over all layers of a model: its padding is read once, and one that failed half-way is noticed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import PretrainedConfig

from ..cache.broken_pass import broken_pass_error
from ..cache.spans import Spans
from ..errors import CacheError, UnsupportedError
from .model_layers import context_limit
from .slot_map import SlotMap


class Cached(NamedTuple):
    """What a cache holds."""

    slots: SlotMap
    lengths: Sequence[int]  # real tokens of each row; empty for an empty cache


class ForwardPass:
    """The pass that has begun, if any; every layer takes its tokens once, after the last one the next pass may begin.

    Args:
        config: of the model.
        layers: how many take part.
    """

    def __init__(self, config: PretrainedConfig, layers: int) -> None:
        self._model_type = config.model_type
        self._limit = context_limit(config)
        self._layers = layers
        self._staged: int | None = None
        self._done: set[int] = set()
        self._count: int | None = None
        self._real: torch.Tensor | None = None
        self._copies: dict[torch.device, torch.Tensor] = {}

    def check_idle(self, action: str) -> None:
        """Raises ``CacheError`` in the middle of a pass."""
        if self._done:
            raise broken_pass_error(action)

    def check_whole(self, layer_idx: int) -> None:
        """Raises ``CacheError`` when ``layer_idx`` has taken the pass's tokens already."""
        if layer_idx in self._done:
            raise broken_pass_error()

    def stage(self, layer_idx: int) -> None:
        """Notes that a layer's keys are on their way to the attention function.

        Raises:
            UnsupportedError: those of the layer before never got there.
        """
        if self._staged is not None and self._staged == layer_idx - 1:
            self._staged = None
            raise UnsupportedError(
                f"Cannot run {self._model_type} with the Kitty cache: its layer {layer_idx - 1} did "
                "not hand its keys to the kitty attention function; load the model with attn_implementation='eager'."
            )
        self._staged = layer_idx

    @contextlib.contextmanager
    def of_layer(
        self,
        layer_idx: int,
        new: torch.Tensor,
        cached: Cached,
        read: Callable[[], torch.Tensor | None],
        make_room: Callable[[int, torch.Tensor | None], None],
    ) -> Iterator[torch.Tensor | None]:
        """Layer ``layer_idx`` takes the positions of ``new``, its keys ``[B, HKV, S, D]``.

        Args:
            cached: what all layers held before; its ``slots`` grow when the last layer is done.
            read: says which positions are real, bool ``[B, S]``, or None for all; asked for the pass's first layer only.
            make_room: raises where there is no memory for that many positions, of which the given ones are real; called
                before the pass's first layer takes anything.

        Yields:
            What ``read`` said, on the device of ``new``.

        Raises:
            CacheError: a row would get longer than the model's context, or layers get different numbers of tokens.
            CacheOutOfMemoryError: from ``make_room``.
        """
        self._staged = None
        count = new.shape[2]
        if not self._done:
            real = read()
            self.check_context(cached, count, real)
            make_room(count, real)
            self._open(count, real)
        elif count != self._count:
            raise CacheError(
                f"Cannot add {count} positions to layer {layer_idx}: the layers before it took {self._count}; reset() "
                "the cache."
            )
        yield self._real_on(new.device)
        self._done.add(layer_idx)
        if len(self._done) == self._layers:
            cached.slots.add(count, self._real)
            self._done.clear()

    def _open(self, count: int, real: torch.Tensor | None) -> None:
        self._count, self._real = count, real
        self._copies.clear()

    def check_context(self, cached: Cached, count: int, real: torch.Tensor | None) -> None:
        """Raises ``CacheError`` where a row would get longer than the model's context."""
        if self._limit is None or cached.slots.count + count <= self._limit:
            return
        lengths = cached.lengths or [0]
        new = [count] * len(lengths) if real is None else real.sum(1).tolist()
        longest = max(map(sum, itertools.zip_longest(lengths, new, fillvalue=0)))
        if longest > self._limit:
            raise CacheError(
                f"Cannot add {count} positions to this cache: a row would hold {longest} tokens, and the model's context "
                f"(max_position_embeddings) is {self._limit}; shorten the input, or generate fewer tokens.",
                details={"limit": self._limit, "tokens": longest},
            )

    def _real_on(self, device: torch.device) -> torch.Tensor | None:
        if self._real is None or self._real.device == device:
            return self._real
        # One tensor a device, which the layers on it recognize.
        if device not in self._copies:
            copy = self._copies[device] = self._real.to(device)
            Spans.of(self._real).tell(copy)
        return self._copies[device]
