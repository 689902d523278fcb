"""Runs of our engine, timed by when its listeners hear of each token."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ...config import KittyConfig
from ...engine.engine import Engine
from ...engine.generation import Generation, Request, Result, TextCodec
from ...engine.kv_pool import KvPool
from ...engine.passes import feed
from ...engine.scheduler import SchedulerOptions
from ...engine.sequence import Sequence as TokenSequence
from ...errors import CacheOutOfMemoryError
from .own_pages import own_pages
from .timed import Timed

# Text costs what the tokenizer costs, and generate() makes none either: every token is one character.
_CODEC = TextCodec(lambda ids: "x" * len(ids), frozenset())


class TimedEngine:
    """An engine over one pool without remembered prefixes, where all prompts are fed before any is decoded.

    Args:
        model: under the kitty attention.
        config: of all caches.
        batch: how many generations run together.
        chunk_tokens: most tokens of a prompt that one pass takes; None for the engine's own choice.
        max_bytes: of the pool; None for no limit.
    """

    def __init__(
        self, model: Any, config: KittyConfig, batch: int, chunk_tokens: int | None, max_bytes: int | None = None
    ) -> None:
        self._model = model
        self._context = model.config.get_text_config().max_position_embeddings
        self._pool = KvPool(model, config, max_bytes=max_bytes, prefix_bytes=0, chunk_tokens=chunk_tokens)
        limits = SchedulerOptions(max_batch=batch, max_waiting=batch, prefill_tokens=batch * self._context)
        self._engine = Engine(limits)

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, model: Any, config: KittyConfig, batch: int, chunk_tokens: int | None, max_bytes: int | None = None
    ) -> Iterator[TimedEngine]:
        """One that is stopped at the end."""
        engine = cls(model, config, batch, chunk_tokens, max_bytes)
        try:
            yield engine
        finally:
            engine._engine.cancel_all()
            engine._engine.stop()

    def between_steps(self, job: Any) -> None:
        """As ``Engine.between_steps``."""
        self._engine.between_steps(job)

    def empty(self, batch: int) -> list[TokenSequence]:
        """Histories without a token."""
        return [self._pool.new_sequence(self._context) for _ in range(batch)]

    @torch.inference_mode()
    def repeated(self, prompt: Sequence[int], batch: int) -> list[TokenSequence]:
        """Histories of ``prompt``, a chunk and one token, fed once and copied: each has pages of its own."""
        first, *others = self.empty(batch)
        first.tokens.extend(prompt)
        while first.unfed:
            feed(first)
        for other in others:
            other.tokens.extend(prompt)
            other.take_over(first.cache.fork(), 1)
            other.note_pass(1)
            own_pages(other.cache.pages)
        return [first, *others]

    def run(
        self,
        sequences: Sequence[TokenSequence],
        prompts: Sequence[Sequence[int]],
        new_tokens: int,
        on_token: Any = None,
    ) -> Timed:
        """Generates greedily, all sequences together, and closes them.

        Args:
            sequences: one a row.
            prompts: what each goes on with.
            new_tokens: how many each gains.
            on_token: hears, on the engine's thread, of each token of the last row, with how many it has.

        Raises:
            CacheOutOfMemoryError: they do not fit into the pool together.
            BaseException: what a generation failed with.
        """
        readers = [_Reader() for _ in sequences]
        readers[-1].on_token = on_token
        with self._engine.paused():
            for sequence, prompt, reader in zip(sequences, prompts, readers, strict=True):
                request = Request(lambda prompt=prompt: prompt, new_tokens)
                self._engine.submit(Generation(sequence, _CODEC, request, reader, new_tokens))
            started = time.perf_counter()
        for reader in readers:
            reader.wait()
        with self._engine.paused():
            use = self._pool.use()
        for sequence in sequences:
            self._engine.close(sequence)
        times = [[moment - started for moment in reader.times] for reader in readers]
        return Timed.of(times, use.bytes_allocated, use.bytes_in_use)


class _Reader:
    """Notes when each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.on_token: Any = None
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def on_tokens(self, text: str, tokens: int) -> None:
        self.times += [time.perf_counter()] * tokens
        if self.on_token is not None:
            self.on_token(len(self.times))

    def on_end(self, result: Result) -> None:
        if result.preemptions:
            self._error = CacheOutOfMemoryError("Cannot time these generations: one of them had to give way to others.")
        self._ended.set()

    def on_error(self, error: BaseException) -> None:
        self._error = error
        self._ended.set()

    def wait(self) -> None:
        self._ended.wait()
        if self._error is not None:
            raise self._error
