"""Generations that run, by the host's names for them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence

from ..engine.engine import Engine
from ..engine.generation import Generation, Result
from ..engine.sampling import Sampled
from ..engine.sequence import Sequence as TokenSequence
from ..errors import ConfigError
from .outbox import Outbox
from .wire_config import logprobs_to_wire, result_to_wire
from .wire_errors import error_object

OnOver = Callable[[Result | None], None]


class StreamTable:
    """Starts, feeds and cancels generations; their tokens and their one end go out as events."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        self._engine = engine
        self._outbox = outbox
        self._lock = threading.Lock()
        self._running: dict[str, Generation] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self,
        name: str,
        preset: str,
        make: Callable[[StreamListener], Generation],
        on_over: OnOver,
        prepare: Callable[[Generation], None] | None = None,
    ) -> None:
        """Starts what ``make`` builds around a listener.

        Args:
            on_over: called before the end is sent, with the result or None after an error.
            prepare: what takes its time and must be done before the generation's first step; it runs on a thread of its
                own, and what it raises is the stream's end.

        Raises:
            ConfigError: the name is in use.
            QueueFullError: too many wait already; ``on_over`` was called with None.
        """
        with self._lock:
            if name in self._running:
                raise ConfigError(f'Cannot start stream "{name}": one of that name is running; choose another name.')
            generation = make(
                StreamListener(name, self._outbox, preset, lambda result: self._end(name, on_over, result))
            )
            self._running[name] = generation
        if prepare is not None:
            work = functools.partial(self._prepare, generation, prepare)
            threading.Thread(target=work, name=f"kitty-prepare-{name}", daemon=True).start()
            return
        try:
            self._engine.submit(generation)
        except BaseException:
            self._end(name, on_over, None)
            raise

    def grant(self, name: str, tokens: int) -> None:
        """Lets a stream send more; one that has ended needs none."""
        generation = self._running.get(name)
        if generation is not None:
            self._engine.grant(generation, tokens)

    def cancel(self, name: str) -> bool:
        """Ends a stream before its next step; false when it has ended by itself."""
        generation = self._running.get(name)
        if generation is not None:
            self._engine.cancel(generation)
        return generation is not None

    def release(self, sequence: TokenSequence) -> None:
        """Gives back what a sequence holds on which nothing runs any more."""
        self._engine.close(sequence)

    def _prepare(self, generation: Generation, prepare: Callable[[Generation], None]) -> None:
        try:
            prepare(generation)
            self._engine.submit(generation)
        # Loading a model raises what it likes, and the host must hear of it.
        except BaseException as error:  # noqa: BLE001
            generation.listener.on_error(error)

    def _end(self, name: str, on_over: OnOver, result: Result | None) -> None:
        with self._lock:
            del self._running[name]
        on_over(result)


class StreamListener:
    """Turns what the engine says about one generation into events."""

    def __init__(self, name: str, outbox: Outbox, preset: str, on_over: OnOver) -> None:
        self._name = name
        self._outbox = outbox
        self._preset = preset
        self._on_over = on_over

    def on_tokens(self, text: str, tokens: int, logprobs: Sequence[Sampled] | None = None) -> None:
        event = ["tok", self._name, text, tokens]
        self._outbox.send_event([*event, logprobs_to_wire(logprobs)] if logprobs is not None else event)

    def on_end(self, result: Result) -> None:
        # First, so that whoever hears of the end can start the next generation.
        self._on_over(result)
        self._outbox.send_event(["end", self._name, {"ok": result_to_wire(result, self._preset)}])

    def on_error(self, error: BaseException) -> None:
        self._on_over(None)
        self._outbox.send_event(["end", self._name, {"error": error_object(error, "generate")}])
