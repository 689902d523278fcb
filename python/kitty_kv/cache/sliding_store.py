"""Sliding-window layers: what their window still reaches, unquantized, as the stock cache holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from ..errors import CacheError
from .broken_pass import broken_pass_error
from .sliding_attention import UnevenRows, sliding_attention
from .spans import Spans

# Tokens behind the window that stay, so that so many can be taken back.
UNDO_TOKENS = 128


@dataclasses.dataclass(slots=True)
class _Pass:
    """New tokens that some layers have taken and others have not."""

    new_tokens: int
    real: torch.Tensor | None
    counts: list[int]
    is_even: bool  # all rows hold the same number of tokens and gain S, none of which is padding
    done: set[int] = dataclasses.field(default_factory=set)


class SlidingLayer:
    """One layer of a store."""

    def __init__(self, store: SlidingStore, index: int) -> None:
        self._store = store
        self.index = index

    @property
    def slots(self) -> int:
        """Positions seen, padding included."""
        return self._store.slots + (self._store.current.new_tokens if self._store.is_updated(self.index) else 0)

    @property
    def lengths(self) -> list[int]:
        """Real tokens of each row, those that the window has passed included."""
        store = self._store
        if store.is_updated(self.index):
            return [old + new for old, new in zip(store.lengths, store.current.counts, strict=True)]
        return list(store.lengths)

    @property
    def held(self) -> list[int]:
        """Tokens of each row that are still here."""
        return self._store.held_after() if self._store.is_updated(self.index) else list(self._store.held)

    def check_whole(self) -> None:
        """Raises ``CacheError`` when an earlier forward pass failed half-way."""
        if self._store.is_updated(self.index):
            raise broken_pass_error()

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
        """As ``KittyLayer.attend``; a query sees its row's last ``window`` tokens, itself included."""
        step = self._store.open(self.index, keys, real)
        held = self._store.keys[self.index]
        past = 0 if held is None else held.shape[2]
        all_keys, all_values = self._joined(step, keys, values)
        uneven = None if step.is_even else UnevenRows(self._store.lengths, self._store.held, step.real)
        shape = {"window": self._store.window, "past": past, "uneven": uneven}
        out = sliding_attention(query, all_keys, all_values, scaling=scaling, softcap=softcap, **shape)
        self._keep(step, all_keys, all_values)
        return out

    def append(self, keys: torch.Tensor, values: torch.Tensor, real: torch.Tensor | None = None) -> None:
        """Adds real tokens of ``[B, HKV, S, D]`` to their rows; raises as ``attend`` does."""
        step = self._store.open(self.index, keys, real)
        self._keep(step, *self._joined(step, keys, values))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values ``[B, HKV, T, D]``; rows shorter than T end in zeros, as do tokens that the window has passed."""
        lengths, held = self.lengths, self.held
        kept = (self._store.keys[self.index], self._store.values[self.index])
        shape = (len(lengths), kept[0].shape[1], max(lengths), kept[0].shape[3])
        out = tuple(torch.zeros(shape, dtype=dtype, device=kept[0].device) for _ in range(2))
        for side, tokens in zip(out, kept, strict=True):
            for row, (length, count) in enumerate(zip(lengths, held, strict=True)):
                side[row, :, length - count : length] = tokens[row, :, tokens.shape[2] - count :]
        return out

    def _joined(self, step: _Pass, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if step.real is not None:
            padding = ~step.real.to(keys.device)[:, None, :, None]
            # What is never attended to must still be finite.
            keys, values = keys.masked_fill(padding, 0), values.masked_fill(padding, 0)
        held = (self._store.keys[self.index], self._store.values[self.index])
        if held[0] is None:
            return keys, values
        return torch.cat((held[0], keys), dim=2), torch.cat((held[1], values), dim=2)

    def _keep(self, step: _Pass, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Lets go of what no window and no crop needs, padding first."""
        width = max(self._store.held_after())
        keys, values = keys.detach(), values.detach()
        if not step.is_even:
            past = keys.shape[2] - step.new_tokens
            held = torch.tensor(self._store.held, device=keys.device)
            is_held = torch.arange(past, device=keys.device) >= past - held[:, None]  # [B, W]
            real = torch.ones_like(is_held[:, :1]).expand(-1, step.new_tokens) if step.real is None else step.real
            is_held = torch.cat((is_held, real.to(keys.device)), dim=1)
            order = is_held.to(torch.uint8).sort(dim=1, stable=True).indices[:, None, :, None]
            keys, values = (x.gather(2, order.expand_as(x)) for x in (keys, values))
        at = slice(keys.shape[2] - width, None)
        # A view would keep the whole call's tokens alive.
        kept = (x[:, :, at].clone(memory_format=torch.contiguous_format) for x in (keys, values))
        self._store.keys[self.index], self._store.values[self.index] = kept
        self._store.close(self.index)


class SlidingStore:
    """All sliding-window layers of a model; a forward pass gives each the same new tokens.

    ``keys`` and ``values`` have a tensor a layer, ``[B, HKV, W, D]``, None before the first tokens: each row's latest
    ``held[b]`` tokens, at the end; what lies before them is zero. W is the most that a row holds. Tensors are replaced,
    never written to, so forks share them.

    Args:
        window: a query sees its row's last ``window`` tokens, itself included.
        layers: how many there are.
    """

    def __init__(self, window: int, layers: int) -> None:
        self.window = window
        self._layers = layers
        self.reset()

    def reset(self) -> None:
        """Forgets everything, the batch size included."""
        self.lengths: list[int] = []
        self.held: list[int] = []
        self.slots = 0
        self.current: _Pass | None = None
        self.keys: list[torch.Tensor | None] = [None] * self._layers
        self.values: list[torch.Tensor | None] = [None] * self._layers

    def fork(self) -> SlidingStore:
        """A store with the same tokens that goes its own way."""
        fork = SlidingStore(self.window, self._layers)
        fork.lengths, fork.held, fork.slots = list(self.lengths), list(self.held), self.slots
        fork.keys, fork.values = list(self.keys), list(self.values)
        return fork

    @property
    def layers(self) -> list[SlidingLayer]:
        """What each sliding-window layer holds."""
        return [SlidingLayer(self, index) for index in range(self._layers)]

    @property
    def bytes_held(self) -> int:
        """Bytes of all layers' tensors."""
        return sum(x.nbytes for x in (*self.keys, *self.values) if x is not None)

    def is_updated(self, layer: int) -> bool:
        """Whether a layer has taken the tokens of the pass that has begun."""
        return self.current is not None and layer in self.current.done

    def held_after(self) -> list[int]:
        """Tokens of each row that stay after the pass that has begun."""
        most = self.window - 1 + UNDO_TOKENS
        return [min(old + new, most) for old, new in zip(self.held, self.current.counts, strict=True)]

    def open(self, layer: int, keys: torch.Tensor, real: torch.Tensor | None) -> _Pass:
        """The pass in which ``layer`` takes ``keys`` ``[B, HKV, S, D]``; begins it with the first layer.

        Raises:
            CacheError: the batch size or the shape differs from the cached one.
        """
        held = self.keys[layer]
        if self.lengths and keys.shape[0] != len(self.lengths):
            raise CacheError(
                f"Cannot add tokens to this cache: it holds {len(self.lengths)} rows, got {keys.shape[0]} rows; use one "
                "cache per batch and model, or reset() it."
            )
        if held is not None and (keys.shape[1], keys.shape[3]) != (held.shape[1], held.shape[3]):
            raise CacheError(
                f"Cannot add tokens to this cache: it holds {held.shape[1]} heads x {held.shape[3]} channels, "
                f"got {keys.shape[1]} x {keys.shape[3]}; use one cache per model, or reset() it."
            )
        if self.current is None:
            counts = [keys.shape[2]] * keys.shape[0] if real is None else Spans.of(real).counts
            if not self.lengths:
                self.lengths, self.held = [0] * keys.shape[0], [0] * keys.shape[0]
            is_real = all(count == keys.shape[2] for count in counts)
            is_even = is_real and len(set(self.held)) == 1
            self.current = _Pass(keys.shape[2], None if is_real else real.bool(), counts, is_even)
        elif self.current.new_tokens != keys.shape[2]:
            raise CacheError(
                f"Cannot add tokens to sliding layer {layer}: it gets {keys.shape[2]} positions, the layers before it "
                f"{self.current.new_tokens}; reset() the cache."
            )
        return self.current

    def close(self, layer: int) -> None:
        """Notes that ``layer`` has taken the pass's tokens; the last one ends the pass."""
        step = self.current
        step.done.add(layer)
        if len(step.done) == self._layers:
            self.held = self.held_after()
            self.lengths = [old + new for old, new in zip(self.lengths, step.counts, strict=True)]
            self.slots += step.new_tokens
            self.current = None

    def select_rows(self, indices: Sequence[int]) -> None:
        """Makes the rows at ``indices`` the new batch, in that order; copies them, as the stock cache does."""
        self.lengths, self.held = [self.lengths[i] for i in indices], [self.held[i] for i in indices]
        self.keys, self.values = ([_rows(x, indices) for x in side] for side in (self.keys, self.values))

    def check_crop(self, lengths: Sequence[int]) -> None:
        """Raises ``CacheError`` unless rows can be cut to ``lengths`` real tokens: their windows must still be here."""
        for row, (length, new, held) in enumerate(zip(self.lengths, lengths, self.held, strict=True)):
            if held - (length - new) < min(new, self.window - 1):
                raise CacheError(
                    f"Cannot crop row {row} from {length} to {new} tokens: sliding-window layers hold its last {held} "
                    f"only, and the window of {self.window} before token {new} is gone; take back at most "
                    f"{UNDO_TOKENS} tokens, or reset() the cache and feed it again."
                )

    def crop(self, lengths: Sequence[int], slots: int) -> None:
        """Leaves row b its first ``lengths[b]`` real tokens, ``slots`` positions in all; raises as ``check_crop``."""
        self.check_crop(lengths)
        lost = [old - new for old, new in zip(self.lengths, lengths, strict=True)]
        self.held = [old - gone for old, gone in zip(self.held, lost, strict=True)]
        self.lengths, self.slots = list(lengths), slots
        if any(lost):
            width = max(self.held)
            self.keys, self.values = ([_shifted(x, lost, width) for x in side] for side in (self.keys, self.values))


def _rows(x: torch.Tensor | None, indices: Sequence[int]) -> torch.Tensor | None:
    return None if x is None else x.index_select(0, torch.tensor(list(indices), device=x.device))


def _shifted(x: torch.Tensor | None, lost: Sequence[int], width: int) -> torch.Tensor | None:
    """Rows of ``[B, HKV, W, D]`` without their last ``lost[b]`` tokens, the last ``width`` of what is left."""
    if x is None:
        return None
    end = x.shape[2]
    columns = torch.arange(end - width, end, device=x.device) - torch.tensor(lost, device=x.device)[:, None]
    taken = x.gather(2, columns.clamp_min(0)[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
    return taken.masked_fill((columns < 0)[:, None, :, None], 0)
