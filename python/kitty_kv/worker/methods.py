"""The calls a host can make: checks, dispatch, and one envelope for every outcome. Imports nothing heavy."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import params as p
from .bench import Emitter
from .later import Later, Work
from .outbox import Outbox
from .wire_errors import error_object

if TYPE_CHECKING:
    from .service import Service

Params = dict[str, Any]

_PARAMS: dict[str, Mapping[str, p.Field]] = {
    "ping": p.NOTHING,
    "openSession": p.OPEN_SESSION,
    "generate": p.GENERATE,
    "credit": p.CREDIT,
    "cancel": p.STREAM,
    "memory": p.SESSION,
    "engineMetrics": p.NOTHING,
    "saveSession": p.SAVE_SESSION,
    "forkSession": p.FORK_SESSION,
    "closeSession": p.SESSION,
    "tokenTexts": p.TOKEN_TEXTS,
    "shutdown": p.NOTHING,
    "bench.echo": p.BENCH_ECHO,
    "bench.emit": p.BENCH_EMIT,
    "bench.generate": p.BENCH_GENERATE,
}


class Methods:
    """Answers calls on the thread that reads them, so nothing here waits.

    Args:
        outbox: takes what is settled later.
        request_shutdown: asks the process to end.
    """

    def __init__(self, outbox: Outbox, request_shutdown: Callable[[], None]) -> None:
        self._outbox = outbox
        self._request_shutdown = request_shutdown
        self._emitter = Emitter(outbox)
        self._started = time.monotonic()
        self._tickets = itertools.count(1)
        self._lock = threading.Lock()
        self._service: Service | None = None
        self._backlog: list[tuple[int, str, Params]] = []
        self._light = {
            "ping": self._ping,
            "shutdown": self._shutdown,
            "bench.echo": lambda params: params,
            "bench.emit": self._emitter.start,
        }

    def invoke(self, method: str, text: str) -> str:
        """Runs one call.

        Returns:
            The envelope as JSON: ``{"ok": result}``, ``{"ok": {"ticket": n}}`` or ``{"error": {…}}``.
        """
        envelope = _envelope(lambda: self._run(method, _parse(method, text)), method)
        # The reply frame escapes this text once more, so it is kept short here.
        return json.dumps(envelope, ensure_ascii=False, allow_nan=False)

    def serve(self, service: Service) -> None:
        """Takes what the heavy methods run on, and runs the calls that came before it, in their order."""
        with self._lock:
            for ticket, method, params in self._backlog:
                self._run_for_ticket(ticket, method, functools.partial(service.call, method, params))
            self._backlog.clear()
            self._service = service

    def _run(self, method: str, params: Params) -> Params:
        if method in self._light:
            return self._light[method](params)
        with self._lock:
            service = self._service
            if service is None:
                ticket = next(self._tickets)
                self._backlog.append((ticket, method, params))
                return {"ticket": ticket}
        outcome = service.call(method, params)
        if not isinstance(outcome, Later):
            return outcome
        ticket = next(self._tickets)
        outcome.start(functools.partial(self._settle, ticket, method))
        return {"ticket": ticket}

    def _run_for_ticket(self, ticket: int, method: str, call: Callable[[], Params | Later]) -> None:
        outcome: Params | Later | None = None

        def work() -> Params:
            nonlocal outcome
            outcome = call()
            return {} if isinstance(outcome, Later) else outcome

        envelope = _envelope(work, method)
        if isinstance(outcome, Later):
            outcome.start(functools.partial(self._settle, ticket, method))
        else:
            self._outbox.send_event(["settled", ticket, envelope])

    def _settle(self, ticket: int, method: str, work: Work) -> None:
        self._outbox.send_event(["settled", ticket, _envelope(work, method)])

    def _ping(self, _: Params) -> Params:
        service = self._service
        return {
            "uptimeMs": (time.monotonic() - self._started) * 1000,
            "activeStreams": service.active_streams if service else 0,
            "stepAgeMs": service.step_age_ms if service else None,
        }

    def _shutdown(self, _: Params) -> Params:
        self._request_shutdown()
        return {}


def _parse(method: str, text: str) -> Params:
    if method not in _PARAMS:
        raise p.unknown_method(method, _PARAMS)
    return p.parse_params(method, _PARAMS[method], text)


def _envelope(work: Work, method: str) -> Params:
    try:
        return {"ok": work()}
    # Whatever it is, the host must hear of it, and the worker lives on.
    except Exception as error:  # noqa: BLE001
        return {"error": error_object(error, f"run {method[:64]}")}
