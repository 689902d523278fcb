"""One thread that steps all generations together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch

from ..errors import QueueFullError
from .generation import Generation
from .metrics import EngineMetrics, Meter
from .scheduler import Scheduler, SchedulerOptions
from .sequence import Sequence

_LIVENESS_S = 0.5  # how often who waits for the engine's thread looks whether it lives


class Engine:
    """Takes step after step; in each, every generation that can go on gets a token, or a chunk of its prompt fed.

    A result does not depend on who shares a step: prompts are fed one by one, in chunks that depend on the session alone,
    and rows that are decoded together do not see each other. On the CPU with one thread that holds to the bit (see
    ``passes.py``), elsewhere up to the rounding of matrix products of another batch size.

    Every method but the thread's own may be called from any thread and returns without waiting for a step.

    Args:
        options: limits.
    """

    def __init__(self, options: SchedulerOptions | None = None) -> None:
        self._options = options or SchedulerOptions()
        self._changed = threading.Condition()
        self._arrived: deque[Generation] = deque()
        self._active: set[Generation] = set()
        self._arrivals = 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._step_started: float | None = None
        self._pauses = 0
        self._is_stopped = False
        self._meter = Meter()
        self._scheduler = Scheduler(self._options, self._meter, self._spend, self._over)
        self._thread = threading.Thread(target=self._run, name="kitty-engine", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """How many generations have not ended."""
        return len(self._active)

    @property
    def step_age_ms(self) -> float | None:
        """How long the current step has been running; None between steps."""
        started = self._step_started
        return None if started is None else (time.monotonic() - started) * 1000

    def submit(self, generation: Generation) -> None:
        """Steps ``generation`` when its turn comes, until its listener hears of the end.

        Raises:
            QueueFullError: too many wait already.
        """
        with self._changed:
            waiting = len(self._scheduler.waiting) + len(self._arrived)
            if waiting >= self._options.max_waiting:
                raise QueueFullError(
                    f"Cannot generate: {waiting} requests wait already, the most that may; try again later.",
                    details={"waiting": waiting, "limit": self._options.max_waiting},
                )
            generation.order = self._arrivals
            self._arrivals += 1
            self._arrived.append(generation)
            self._active.add(generation)
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
            for generation in self._active:
                generation.is_cancelled = True
            self._changed.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until no generation is left; False when that took longer than ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._active, timeout_s)

    def stop(self) -> None:
        """Ends the thread after the step that runs; generations that have not ended never will. Call it before the process
        ends, where that matters: Python kills threads inside torch in a way that may abort the process.
        """
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join()

    def between_steps(self, job: Callable[[], None]) -> None:
        """Runs a short ``job`` on the engine's thread as soon as no step runs; it must not raise."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def close(self, sequence: Sequence) -> None:
        """Gives back, between two steps, the memory of a sequence that nobody will use again; no generation runs on it."""
        self.between_steps(lambda: self._scheduler.close(sequence))

    def metrics(self, tell: Callable[[EngineMetrics], None]) -> None:
        """Has ``tell`` called between two steps, on the engine's thread, with what the engine is doing and has done."""
        self.between_steps(lambda: tell(self._measure()))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No step runs inside, and all listeners have heard of what was chosen; waits for the current step to end. For work
        that changes global state of torch.
        """
        written = threading.Event()
        with self._changed:
            self._pauses += 1
            self._changed.wait_for(lambda: self._step_started is None)
            self._jobs.append(lambda: self._write_all(written))
            self._changed.notify_all()
        try:
            while not written.wait(_LIVENESS_S) and self._thread.is_alive():
                pass
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def _write_all(self, written: threading.Event) -> None:
        try:
            self._scheduler.write_all()
        finally:
            written.set()

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_stopped or bool(self._jobs) or self._can_step())
                    if self._is_stopped:
                        return
                    jobs = list(self._jobs)
                    self._jobs.clear()
                    is_stepping = self._can_step()
                    self._step_started = time.monotonic() if is_stepping else None
                for job in jobs:
                    job()
                if is_stepping:
                    self._scheduler.step()
                    with self._changed:
                        self._step_started = None
                        self._changed.notify_all()

    def _can_step(self) -> bool:
        """Under the lock, on the engine's thread: takes in who has arrived; whether a step would do anything."""
        if self._pauses:
            return False
        while self._arrived:
            self._scheduler.add(self._arrived.popleft())
        return self._scheduler.has_work()

    def _spend(self, generation: Generation) -> None:
        with self._changed:
            generation.credit -= 1

    def _over(self, generation: Generation) -> None:
        with self._changed:
            self._active.discard(generation)
            self._changed.notify_all()

    def _measure(self) -> EngineMetrics:
        scheduler, meter = self._scheduler, self._meter
        return EngineMetrics(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting) + len(self._arrived),
            batch_size=meter.batch_size,
            tokens=meter.tokens,
            tokens_per_second=meter.tokens_per_second,
            preemptions=meter.preemptions,
            drafted_tokens=meter.drafted_tokens,
            accepted_tokens=meter.accepted_tokens,
            pools=tuple(pool.use() for pool in scheduler.pools()),
        )
