"""``bench.emit``: token events as fast as the bridge takes them, or at a given rate, without a model."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import Any

from .outbox import Outbox


class Emitter:
    """Pushes the events of any number of streams from one thread, each stream at its own rate."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._due: list[tuple[float, int, _Emission]] = []
        self._thread: threading.Thread | None = None

    def start(self, params: dict[str, Any]) -> dict[str, Any]:
        """Begins a stream of ``events`` times ``text``; its end follows the last one."""
        rate = params["tokensPerSecond"]
        emission = _Emission(params["stream"], params["text"], params["events"], 1 / rate if rate else 0.0)
        with self._changed:
            heapq.heappush(self._due, (time.monotonic(), next(self._order), emission))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kitty-bench", daemon=True)
                self._thread.start()
        return {}

    def _run(self) -> None:
        while True:
            due, emission = self._next()
            if emission.left == 0:
                self._outbox.send_event(["end", emission.stream, {"ok": {}}])
                continue
            emission.left -= 1
            self._outbox.send_event(["tok", emission.stream, emission.text, 1])
            with self._changed:
                heapq.heappush(self._due, (due + emission.interval_s, next(self._order), emission))

    def _next(self) -> tuple[float, _Emission]:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._due)
                wait_s = self._due[0][0] - time.monotonic()
                if wait_s <= 0:
                    due, _, emission = heapq.heappop(self._due)
                    return due, emission
                self._changed.wait(wait_s)


class _Emission:
    __slots__ = ("interval_s", "left", "stream", "text")

    def __init__(self, stream: str, text: str, left: int, interval_s: float) -> None:
        self.stream = stream
        self.text = text
        self.left = left
        self.interval_s = interval_s
