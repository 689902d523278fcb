"""One thread that steps all generations in turn."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from .generation import Generation


class Engine:
    """Takes one step of one generation after another, so that none waits longer than the others' single steps.

    Every method but the thread's own may be called from any thread and returns without waiting for a step.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._current: Generation | None = None
        self._step_started: float | None = None
        self._pauses = 0
        self._thread = threading.Thread(target=self._run, name="kitty-engine", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """How many generations have not ended."""
        with self._changed:
            return len(self._waiting) + (self._current is not None)

    @property
    def step_age_ms(self) -> float | None:
        """How long the current step has been running; None between steps."""
        started = self._step_started
        return None if started is None else (time.monotonic() - started) * 1000

    def submit(self, generation: Generation) -> None:
        """Starts stepping ``generation`` until its listener hears of the end."""
        with self._changed:
            self._waiting.append(generation)
            self._changed.notify_all()

    def grant(self, generation: Generation, tokens: int) -> None:
        """Lets it send ``tokens`` more tokens."""
        with self._changed:
            generation.credit += tokens
            self._changed.notify_all()

    def cancel(self, generation: Generation) -> None:
        """Ends it before its next step."""
        with self._changed:
            generation.is_cancelled = True
            self._changed.notify_all()

    def cancel_all(self) -> None:
        """Ends every generation before its next step."""
        with self._changed:
            for generation in (*self._waiting, *filter(None, [self._current])):
                generation.is_cancelled = True
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until no generation is left; False when that took longer than ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._current is None, timeout_s)

    def between_steps(self, job: Callable[[], None]) -> None:
        """Runs a short ``job`` on the engine's thread as soon as no step runs; it must not raise."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No step runs inside; waits for the current one to end. For work that changes global state of torch."""
        with self._changed:
            self._pauses += 1
            self._changed.wait_for(lambda: self._step_started is None)
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                with self._changed:
                    self._changed.wait_for(self._choose)
                    jobs = list(self._jobs)
                    self._jobs.clear()
                for job in jobs:
                    job()
                if self._current is not None:
                    self._advance(self._current)

    def _choose(self) -> bool:
        """Picks the generation to step, under the lock; true when there is anything to do."""
        if not self._pauses:
            for _ in range(len(self._waiting)):
                generation = self._waiting.popleft()
                if generation.is_cancelled or generation.credit > 0:
                    self._current = generation
                    self._step_started = time.monotonic()
                    generation.credit -= not generation.is_cancelled
                    break
                self._waiting.append(generation)
        return self._current is not None or bool(self._jobs)

    def _advance(self, generation: Generation) -> None:
        has_ended = True
        try:
            result = generation.cancel() if generation.is_cancelled else generation.step()
        # Even sys.exit() in a model's code ends its own generation only: nobody else would step the others.
        except BaseException as error:  # noqa: BLE001
            generation.fail()
            generation.listener.on_error(error)
        else:
            has_ended = result is not None
            if result is not None:
                generation.listener.on_end(result)
        with self._changed:
            self._step_started = None
            self._current = None
            if not has_ended:
                self._waiting.append(generation)
            self._changed.notify_all()
