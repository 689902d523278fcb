"""One layer's cache: takes new tokens, attends, shows what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kitty_kernels.pack.api import pack_cached

from .dense_attention import dense_attention, folded_attention
from .step import Group, Step
from .storage import to_device
from .views import layer_of

if TYPE_CHECKING:
    from ..config import KittyConfig
    from .paged_cache import PagedCache
    from .pools import Place


class KittyLayer:
    """Keys and values of one attention layer; rows, pages and blocks are those of its ``PagedCache``."""

    def __init__(self, cache: PagedCache, index: int) -> None:
        self._cache = cache
        self.index = index

    @property
    def config(self) -> KittyConfig:
        return self._cache.config

    @property
    def slots(self) -> int:
        """Positions seen, padding included: what Transformers calls the sequence length."""
        cache = self._cache
        return cache.slots + (cache.step.new_tokens if cache.is_updated(self.index) else 0)

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row."""
        step = self._cache.step
        if step is None or self._cache.is_updated(self.index):
            return self._cache.lengths
        return [row.past for row in step.rows]

    def check_whole(self) -> None:
        """Raises ``CacheError`` when an earlier forward pass failed half-way."""
        self._cache.check_whole(self.index)

    def attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        scaling: float,
        real: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Attends the new tokens to the cache and to each other, and adds them to the cache.

        Args:
            query: ``[B, HQ, S, D]``.
            keys, values: ``[B, HKV, S, D]``, the call's own tokens, seen in full precision.
            scaling: factor of the scores.
            real: bool ``[B, S]``, False where a position is padding; None if all are real. The same tensor in all layers
                of a pass is read once.
            softcap: scores become ``softcap * tanh(score / softcap)``; None for none.

        Returns:
            ``[B, HQ, S, D]``; zero at padding.

        Raises:
            CacheError: the batch size differs from the cached one, or an earlier pass failed half-way.
            ConfigError, UnsupportedError: this cache cannot hold such keys.
        """
        with self._cache.updating(self.index, keys, real) as step:
            if step.spans.order is not None:
                order = step.spans.order.to(query.device)
                query, keys, values = (_gather(x, order) for x in (query, keys, values))
                return _scatter(self._attend(step, query, keys, values, scaling, softcap), order)
            return self._attend(step, query, keys, values, scaling, softcap)

    def append(self, keys: torch.Tensor, values: torch.Tensor, real: torch.Tensor | None = None) -> None:
        """Adds real tokens of ``[B, HKV, S, D]`` to their rows; raises as ``attend`` does."""
        with self._cache.updating(self.index, keys, real) as step:
            if step.spans.order is not None:
                keys, values = (_gather(x, step.spans.order.to(x.device)) for x in (keys, values))
            self._store(step, keys, values)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values as attention sees them, ``[B, HKV, T, D]``; rows shorter than T end in zeros."""
        return self._cache.route.dequantize(self._cache.place(self.index), self.index, dtype)

    def _attend(
        self,
        step: Step,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        route, place = self._cache.route, self._cache.place(self.index)
        if route.attends_cache and step.is_short:
            self._store(step, keys, values)
            out = route.attend(place, query, scaling, softcap)
            return out.masked_fill(step.padding.to(out.device)[:, None, :, None], 0) if step.has_padding else out
        is_whole = len(step.groups) == 1 and not step.has_padding
        out = None if is_whole else torch.zeros_like(query)
        attends_cache = [route.attends_cache and group.step.is_short for group in step.groups]
        for group, is_later in zip(step.groups, attends_cache, strict=True):
            if not is_later:
                attended = self._attend_history(place, group, *_cut(group, query, keys, values), scaling, softcap)
                out = _put(out, group, attended)
        # History must be read before its blocks are written.
        self._store(step, keys, values)
        for group, is_later in zip(step.groups, attends_cache, strict=True):
            if is_later:
                out = _put(out, group, route.attend_group(place, group, *_cut(group, query), scaling, softcap))
        return out

    def _attend_history(
        self,
        place: Place,
        group: Group,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Attends a group's own tokens to what the cache holds and to each other."""
        past, count = group.step.past, group.step.count
        if not past:
            return dense_attention(query, keys, values, scaling, softcap=softcap)
        is_packed = any(shape.is_packed for shape in self._cache.geometry)
        # Dequantized tokens are exact in float32; a GPU's attention wants 16 bits.
        dtype = torch.float32 if is_packed and query.device.type == "cpu" else keys.dtype
        all_keys, all_values = self._cache.route.history(place, group, dtype, count)
        if self._cache.attends_singly and count > 1 and query.device.type == "cpu":
            return self._attend_singly(query, keys, values, all_keys, all_values, scaling, softcap)
        all_keys[:, :, past:] = keys
        all_values[:, :, past:] = values
        return self._attend_read(query, all_keys, all_values, scaling, softcap)

    def _attend_singly(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        all_keys: torch.Tensor,
        all_values: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """As passes of one token would to the bit: each reads the tokens before it as the cache's blocks hold them."""
        first, blocks = all_keys.shape[2] - query.shape[2], self._cache.dtype
        out = []
        for at in range(query.shape[2]):
            here = slice(first + at, first + at + 1)
            new = slice(at, at + 1)
            all_keys[:, :, here], all_values[:, :, here] = keys[:, :, new], values[:, :, new]
            seen = (side[:, :, : here.stop] for side in (all_keys, all_values))
            out.append(self._attend_read(query[:, :, new], *seen, scaling, softcap))
            all_keys[:, :, here], all_values[:, :, here] = keys[:, :, new].to(blocks), values[:, :, new].to(blocks)
        return torch.cat(out, dim=2)

    def _attend_read(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, softcap: float | None
    ) -> torch.Tensor:
        """Attends to keys and values ``[R, HKV, T, D]`` read back, the query's own at their end."""
        is_packed = any(shape.is_packed for shape in self._cache.geometry)
        attended = query.to(keys.dtype)
        if is_packed and query.shape[2] == 1 and softcap is None:
            return folded_attention(attended, keys, values, scaling).to(query.dtype)
        return dense_attention(attended, keys, values, scaling, softcap=softcap).to(query.dtype)

    def _store(self, step: Step, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Packs the pages that are due and writes the other tokens to blocks."""
        cache, place = self._cache, self._cache.place(self.index)
        keys, values = keys.detach(), values.detach()
        with torch.no_grad():
            for kind, new in (("keys", keys), ("values", values)):
                if step.due[kind]:
                    views = cache.views(place.storage)
                    pack_cached(
                        layer_of(views.now, place.index),
                        to_device(step.due[kind], place.storage.device),
                        kind=kind,
                        # The codec computes in float32.
                        new=new.float() if new.dtype == torch.float64 else new,
                        first_new=views.first_new,
                        starts=views.starts,
                        selection=self.config.selection,
                        seed=self.config.seed,
                        weights=cache.weights_of_layer(self.index) if kind == "keys" else None,
                        impl=cache.route.impl,
                    )
            cache.route.write(place, step, keys, values)


def _cut(group: Group, *parts: torch.Tensor) -> list[torch.Tensor]:
    """A group's real tokens of ``[B, H, S, D]``."""
    at = slice(group.step.start, group.step.start + group.step.count)
    return [part[group.first : group.end, :, at] for part in parts]


def _put(out: torch.Tensor | None, group: Group, attended: torch.Tensor) -> torch.Tensor:
    if out is None:
        return attended
    out[group.first : group.end, :, group.step.start : group.step.start + group.step.count] = attended
    return out


def _gather(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Positions of ``[B, H, S, D]`` in the given order ``[B, S]``."""
    return x.gather(2, order[:, None, :, None].expand_as(x))


def _scatter(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Undoes ``_gather``."""
    return torch.empty_like(x).scatter_(2, order[:, None, :, None].expand_as(x), x)
