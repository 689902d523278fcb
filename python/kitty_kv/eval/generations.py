"""Completions of many prompts on one engine, for an evaluation."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config import KittyConfig
from ..engine.engine import Engine
from ..engine.generation import Generation, Request, Result, TextCodec
from ..engine.kv_pool import KvPool
from ..engine.scheduler_options import SchedulerOptions
from ..hf.loading import LoadedModel

if TYPE_CHECKING:
    from .evaluator import GenerationRequest


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationResult:
    """What was written, and the cache in the end."""

    text: str
    tokens: int
    packed_bytes: int
    compression: float


def run_generations(
    loaded: LoadedModel,
    config: KittyConfig,
    requests: Sequence[GenerationRequest],
    chunk_tokens: int,
    max_batch: int,
    on_result: Callable[[int, GenerationResult], None],
) -> list[GenerationResult]:
    """As ``Evaluator.generate_until``.

    Raises:
        BaseException: what ended a generation; the others are given up.
    """
    ended: queue.SimpleQueue[tuple[int, Result | BaseException]] = queue.SimpleQueue()
    pool = KvPool(loaded.model, config, prefix_bytes=0, chunk_tokens=chunk_tokens)
    codec = _codec(loaded)
    engine = Engine(SchedulerOptions(max_batch=max_batch, max_waiting=max_batch))
    results: dict[int, GenerationResult] = {}
    sequences = {}
    try:
        waiting = iter(enumerate(requests))
        # No more at a time than are decoded together, so that none waits with a cache of its own.
        for _ in range(min(max_batch, len(requests))):
            _submit(engine, pool, loaded, codec, next(waiting), ended, sequences)
        while len(results) < len(requests):
            index, outcome = ended.get()
            if isinstance(outcome, BaseException):
                raise outcome
            engine.close(sequences.pop(index))
            results[index] = _result(outcome)
            if (following := next(waiting, None)) is not None:
                _submit(engine, pool, loaded, codec, following, ended, sequences)
            on_result(index, results[index])
    finally:
        engine.cancel_all()
        engine.stop()
    return [results[index] for index in range(len(requests))]


class _Listener:
    """Hands over the end of one generation."""

    def __init__(self, index: int, ended: queue.SimpleQueue) -> None:
        self._index = index
        self._ended = ended

    def on_tokens(self, text: str, tokens: int) -> None:
        """The text comes whole with the end."""

    def on_end(self, result: Result) -> None:
        self._ended.put((self._index, result))

    def on_error(self, error: BaseException) -> None:
        self._ended.put((self._index, error))


def _submit(
    engine: Engine,
    pool: KvPool,
    loaded: LoadedModel,
    codec: TextCodec,
    numbered: tuple[int, GenerationRequest],
    ended: queue.SimpleQueue,
    sequences: dict[int, Any],
) -> None:
    index, request = numbered
    sequence = sequences[index] = pool.new_sequence(loaded.context_length)
    asked = Request(
        prompt=lambda: list(request.prompt),
        max_new_tokens=request.max_new_tokens,
        sampling=request.sampling,
        stop=tuple(request.until),
    )
    engine.submit(Generation(sequence, codec, asked, _Listener(index, ended), credit=request.max_new_tokens + 1))


def _result(result: Result) -> GenerationResult:
    return GenerationResult(
        text=result.text,
        tokens=result.completion_tokens,
        packed_bytes=result.memory["packed_bytes"],
        compression=result.memory["compression"],
    )


def _codec(loaded: LoadedModel) -> TextCodec:
    tokenizer = loaded.tokenizer
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return TextCodec(
        decode=lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        eos_ids=frozenset(token for token in (*ids, tokenizer.eos_token_id) if token is not None),
        replacement_ids=tuple(tokenizer("\ufffd", add_special_tokens=False)["input_ids"]),
    )
