"""One forward pass over all layers of a model: its padding is read once, and one that failed half-way is noticed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from ..errors import CacheError, UnsupportedError
from .model_layers import context_limit

if TYPE_CHECKING:
    from .cache import KittyCache


class ForwardPass:
    """The pass that has begun, if any; every layer takes its tokens once, after the last one the next pass may begin.

    Args:
        cache: whose layers they are.
    """

    def __init__(self, cache: KittyCache) -> None:
        self._cache = cache
        self._limit = context_limit(cache.model_config)
        self._staged: int | None = None
        self._done: set[int] = set()
        self._count: int | None = None
        self._real: torch.Tensor | None = None
        self._copies: dict[torch.device, torch.Tensor] = {}

    def check_idle(self, action: str) -> None:
        """Raises ``CacheError`` in the middle of a pass."""
        if self._done:
            raise CacheError(f"Cannot {action} this cache: a forward pass failed half-way; reset() it and start again.")

    def check_whole(self, layer_idx: int) -> None:
        """Raises ``CacheError`` when ``layer_idx`` has taken the pass's tokens already."""
        if layer_idx in self._done:
            raise CacheError(
                "Cannot continue with this cache: its layers hold different numbers of tokens, so an earlier forward "
                "pass failed half-way; reset() it and start again."
            )

    def stage(self, layer_idx: int) -> None:
        """Notes that a layer's keys are on their way to the attention function.

        Raises:
            UnsupportedError: those of the layer before never got there.
        """
        if self._staged is not None and self._staged == layer_idx - 1:
            self._staged = None
            raise UnsupportedError(
                f"Cannot run {self._cache.model_config.model_type} with the Kitty cache: its layer {layer_idx - 1} did "
                "not hand its keys to the kitty attention function; load the model with attn_implementation='eager'."
            )
        self._staged = layer_idx

    @contextlib.contextmanager
    def of_layer(
        self, layer_idx: int, count: int, device: torch.device, read: Callable[[], torch.Tensor | None]
    ) -> Iterator[torch.Tensor | None]:
        """Layer ``layer_idx`` takes ``count`` positions.

        Args:
            device: where the layer's tokens lie.
            read: says which positions are real, bool ``[B, S]``, or None for all; asked for the pass's first layer only.

        Yields:
            What ``read`` said, on ``device``.

        Raises:
            CacheError: a row would get longer than the model's context, or layers get different numbers of tokens.
        """
        self._staged = None
        if not self._done:
            self._open(count, read())
        elif count != self._count:
            raise CacheError(
                f"Cannot add {count} positions to layer {layer_idx}: the layers before it took {self._count}; reset() "
                "the cache."
            )
        yield self._real_on(device)
        self._done.add(layer_idx)
        if len(self._done) == len(self._cache.layers):
            self._cache.slots.add(count, self._real)
            self._done.clear()

    def _open(self, count: int, real: torch.Tensor | None) -> None:
        self._check_context(count, real)
        self._count, self._real = count, real
        self._copies.clear()

    def _check_context(self, count: int, real: torch.Tensor | None) -> None:
        cache = self._cache
        if self._limit is None or cache.slots.count + count <= self._limit:
            return
        lengths = cache.lengths or [0]
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
            self._copies[device] = self._real.to(device)
        return self._copies[device]
