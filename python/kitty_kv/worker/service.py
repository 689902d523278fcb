"""The methods that need torch: sessions, generations and the models behind them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from ..config import KittyConfig
from ..engine.engine import Engine
from ..engine.generation import Request
from ..engine.sampling import SamplingOptions
from ..engine.scheduler_options import SchedulerOptions
from ..hf.cache_file import write_cache_file
from .bench_generate import PRESET, BenchModel
from .drafts import DraftModelDrafts, speculation_from_wire
from .engine_limits import EngineLimits
from .later import Later, Work
from .models import ModelStore
from .outbox import Outbox
from .prompts import Prompt
from .saved_session import Contents, take_session
from .sessions import Reservation, Session, SessionTable
from .streams import StreamTable
from .wire_config import config_from_wire, config_to_wire, memory_to_wire, metrics_to_wire

Params = dict[str, Any]


class Service:
    """One engine and everything that runs on it. Nothing here waits for a step or a load."""

    def __init__(self, outbox: Outbox, limits: EngineLimits) -> None:
        self._engine = Engine(SchedulerOptions(**limits.given()))
        self._streams = StreamTable(self._engine, outbox)
        self._sessions = SessionTable(ModelStore(self._engine), self._streams)
        self._bench = BenchModel(self._engine)
        self._methods = {
            "openSession": self._open_session,
            "generate": self._generate,
            "credit": self._credit,
            "cancel": self._cancel,
            "memory": self._memory,
            "engineMetrics": self._engine_metrics,
            "saveSession": self._save_session,
            "forkSession": self._fork_session,
            "closeSession": self._close_session,
            "tokenTexts": self._token_texts,
            "bench.generate": self._bench_generate,
        }

    @property
    def active_streams(self) -> int:
        """How many generations have not ended."""
        return len(self._streams)

    @property
    def step_age_ms(self) -> float | None:
        """How long the engine's current step has been running."""
        return self._engine.step_age_ms

    def call(self, method: str, params: Params) -> Params | Later:
        """Runs a method with checked parameters.

        Raises:
            KittyKvError: it cannot be done.
        """
        return self._methods[method](params)

    def stop(self, timeout_s: float) -> None:
        """Cancels all generations and waits for their ends."""
        self._engine.cancel_all()
        self._engine.wait_idle(timeout_s)

    def _open_session(self, params: Params) -> Later:
        config = config_from_wire(params["cache"])
        reservation = self._sessions.reserve(params["session"])

        def work() -> Params:
            return self._opened(reservation, config, params)

        return _in_thread(f"kitty-open-{params['session']}", work)

    def _opened(self, reservation: Reservation, config: KittyConfig, params: Params) -> Params:
        limit = params["kvMemoryMiB"]
        return _describe(
            self._sessions.open(
                reservation,
                config,
                params["model"],
                params["dtype"],
                params["device"],
                None if limit is None else limit * 2**20,
                params["saved"],
            )
        )

    def _generate(self, params: Params) -> Params:
        options = params["options"]
        prompt = Prompt(params["prompt"], params["messages"])
        sampling = SamplingOptions(
            temperature=options["temperature"],
            top_k=options["topK"],
            top_p=options["topP"],
            seed=options["seed"],
            min_p=options["minP"],
            repetition_penalty=options["repetitionPenalty"],
            logprobs=options["logprobs"],
        )
        speculation = speculation_from_wire(options["speculation"])
        drafts = speculation if isinstance(speculation, DraftModelDrafts) else None
        settled = None if drafts is not None else speculation
        self._sessions.generate(
            params["session"],
            params["stream"],
            prompt,
            lambda tokens: Request(tokens, options["maxNewTokens"], sampling, options["stop"], settled),
            params["credit"],
            drafts,
        )
        return {}

    def _credit(self, params: Params) -> Params:
        self._streams.grant(params["stream"], params["tokens"])
        return {}

    def _cancel(self, params: Params) -> Params:
        return {"cancelled": self._streams.cancel(params["stream"])}

    def _memory(self, params: Params) -> Later:
        session = self._sessions.get(params["session"])

        def work() -> Params:
            return memory_to_wire(session.sequence.cache.memory(), session.config.preset)

        # A step of whoever shares its memory moves the cache's pages about, so the engine counts between two of them.
        return Later(lambda settle: self._engine.between_steps(lambda: settle(work)))

    def _engine_metrics(self, params: Params) -> Later:
        def start(settle: Callable[[Work], None]) -> None:
            self._engine.metrics(lambda metrics: settle(lambda: metrics_to_wire(metrics)))

        return Later(start)

    def _save_session(self, params: Params) -> Later:
        session, path = self._sessions.get(params["session"]), params["path"]

        def start(settle: Callable[[Work], None]) -> None:
            def take() -> None:
                try:
                    contents = take_session(session)
                # It is the caller's to hear, and the engine's thread must live on.
                except Exception as error:  # noqa: BLE001
                    settle(functools.partial(_raise, error))
                    return
                # The disk takes its time, in which the engine may go on.
                _in_thread(f"kitty-save-{session.name}", functools.partial(_write, path, contents)).start(settle)

            self._engine.between_steps(take)

        return Later(start)

    def _fork_session(self, params: Params) -> Later:
        reservation = self._sessions.reserve(params["fork"])

        def work() -> Params:
            return _describe(self._sessions.fork(params["session"], reservation))

        return Later(lambda settle: self._engine.between_steps(lambda: settle(work)))

    def _close_session(self, params: Params) -> Params:
        self._sessions.close(params["session"])
        return {}

    def _token_texts(self, params: Params) -> Params:
        return {"texts": self._sessions.get(params["session"]).model.token_texts(params["tokens"])}

    def _bench_generate(self, params: Params) -> Later:
        def work() -> Params:
            make = self._bench.generation_maker(params["tokens"], params["tokensPerSecond"], params["credit"])
            self._streams.start(params["stream"], PRESET, make, lambda _: None)
            return {}

        return _in_thread(f"kitty-bench-{params['stream']}", work)


def _describe(session: Session) -> Params:
    return {"session": session.name, "model": session.model.describe(), "cache": config_to_wire(session.config)}


def _write(path: str, contents: Contents) -> Params:
    write_cache_file(path, *contents)
    return {}


def _raise(error: Exception) -> NoReturn:
    raise error


def _in_thread(name: str, work: Work) -> Later:
    return Later(lambda settle: threading.Thread(target=settle, args=(work,), name=name, daemon=True).start())
