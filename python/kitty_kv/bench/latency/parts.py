"""The attempts of each part of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from .attempts import Attempt, Clock
from .budget import budget_attempts
from .measure import from_prompts
from .peers import Peer
from .timed import Timed

PARTS = ("step", "budget", "prefill")
_PREFILL_PEERS = ("dynamic", "kitty", "engine")
_SHORT_S = 3.0  # a run that short is repeated
_REPEATS = 3  # their median counts


def all_attempts(model: Any, peers: Sequence[Peer], options: argparse.Namespace, clock: Clock) -> Iterator[Attempt]:
    """Those of ``options.parts``, in their order."""
    for part in options.parts:
        if part == "step":
            yield from _step_attempts(model, peers, options)
        elif part == "budget":
            yield from budget_attempts(model, peers, options, clock)
        else:
            yield from _prefill_attempts(model, peers, options)


def _step_attempts(model: Any, peers: Sequence[Peer], options: argparse.Namespace) -> Iterator[Attempt]:
    def run(attempt: Attempt) -> Timed:
        shape = (attempt.batch, attempt.prompt_tokens, attempt.new_tokens)
        return from_prompts(model, attempt.peer, *shape, chunk_tokens=options.chunk_tokens, runs=2)[-1]

    # Compiling a whole model takes minutes, and a time limit should cost that first.
    for starts_slowly in (False, True):
        for batch, tokens in options.shapes:
            for peer in peers:
                if (peer.is_compiled and peer.kind == "static") == starts_slowly:
                    yield Attempt("step", peer, batch, tokens, options.new_tokens, run)


def _prefill_attempts(model: Any, peers: Sequence[Peer], options: argparse.Namespace) -> Iterator[Attempt]:
    """Of the stock cache and ours with the preset: pages of 16 bits are filled as fast."""

    def run(attempt: Attempt) -> Timed:
        shape = (attempt.batch, attempt.prompt_tokens, 1)
        _, found = from_prompts(model, attempt.peer, *shape, chunk_tokens=options.chunk_tokens, runs=2)
        if found.first_token_s >= _SHORT_S:
            return found
        more = from_prompts(model, attempt.peer, *shape, chunk_tokens=options.chunk_tokens, runs=_REPEATS)
        return sorted([found, *more[1:]], key=lambda timed: timed.first_token_s)[_REPEATS // 2]

    for batch, tokens in options.prefill:
        for peer in peers:
            # Of ours under generate(), steps are compiled and prompts are not.
            if (
                peer.kind in _PREFILL_PEERS
                and not peer.is_compiled
                and (peer.config is None or peer.config.preset == options.preset)
            ):
                yield Attempt("prefill", peer, batch, tokens, 1, run)
