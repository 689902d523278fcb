"""Tokens a second of each peer within the same bytes of KV memory: the largest batch whose cache fits, and half of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import CacheOutOfMemoryError, KittyKvError
from ...hf.timed_generation import forget_generation
from .attempts import Attempt, Clock
from .measure import from_prompts, from_repeated_rows
from .peers import Peer
from .timed import Timed

FILLS = ("repeat", "prompt")
# What a row takes on its way is a little more than at its end; so many times one row of so many is left out.
_TRIES, _STEP = 6, 40


def budget_attempts(model: Any, peers: Sequence[Peer], options: argparse.Namespace, clock: Clock) -> Iterator[Attempt]:
    """Two of each peer; the second one goes by the batch that the first has found."""
    prompt_tokens = options.budget_tokens - options.new_tokens
    for peer in peers:
        fit = _Fit(model, peer, options, clock)
        yield Attempt("budget", peer, None, prompt_tokens, options.new_tokens, fit.largest)
        yield Attempt("budget", peer, None, prompt_tokens, options.new_tokens, fit.half)


class _Fit:
    """Finds a peer's largest batch."""

    def __init__(self, model: Any, peer: Peer, options: argparse.Namespace, clock: Clock) -> None:
        self._model = model
        self._peer = peer
        self._options = options
        self._clock = clock
        self._budget = int(options.kv_budget_gib * 2**30)
        self._batch: int | None = None

    def largest(self, attempt: Attempt) -> Timed:
        """Measures the largest batch whose cache allocates no more than the budget until all tokens are there."""
        self._batch = self._budget // self._row_bytes()
        for _ in range(_TRIES):
            attempt.batch = self._batch
            if not self._batch:
                raise KittyKvError(
                    f"Cannot fit a row of {self._options.budget_tokens} tokens into {self._budget:,} bytes; give more."
                )
            try:
                timed = self._measure(self._batch)
                if timed.cache_bytes <= self._budget:
                    return timed
                found = f"they take {timed.cache_bytes:,} bytes"
            except CacheOutOfMemoryError as error:
                found = str(error)
            self._clock.say(f"{self._batch} rows of {self._peer.name} are too many: {found}")
            self._batch -= max(1, self._batch // _STEP)
            forget_generation(self._model)
        raise KittyKvError(
            f"Cannot find a batch that fits: {attempt.batch} rows take more than {self._budget:,} bytes."
        )

    def half(self, attempt: Attempt) -> Timed:
        """Measures half the batch that ``largest`` has found."""
        if self._batch is None or self._batch < 2:
            raise KittyKvError("Cannot measure half a batch: the largest was not found, or is one row.")
        attempt.batch = self._batch // 2
        return self._measure(attempt.batch)

    def _row_bytes(self) -> int:
        timed = from_repeated_rows(self._model, self._peer, 1, *self._shape, is_compiled=False)
        forget_generation(self._model)
        return timed.used_bytes

    def _measure(self, batch: int) -> Timed:
        options, model, peer = self._options, self._model, self._peer
        if options.fill == "repeat":
            return from_repeated_rows(model, peer, batch, *self._shape, is_compiled=True, max_bytes=self._budget)
        limits = {"chunk_tokens": options.chunk_tokens, "max_bytes": self._budget}
        return from_prompts(model, peer, batch, *self._shape, runs=1, **limits)[0]

    @property
    def _shape(self) -> tuple[int, int]:
        return self._options.budget_tokens - self._options.new_tokens, self._options.new_tokens
