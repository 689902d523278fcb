"""Thousands of requests of random length, with random cancellation, through one engine under a small KV memory budget.

Run: python -m kitty_kv.bench.soak [--requests N] [--seed S] [--runs-ahead]

A small set of different requests is generated one at a time first, without limit and without shared prefixes; then all
requests run together, and every result must equal that of its request, or begin it where it was cancelled. In the end the
pool must be empty. Prints a JSON document; exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import threading
import time

import torch

from ..config import KittyConfig
from ..engine.engine import Engine
from ..engine.generation import Generation, Request, Result, TextCodec
from ..engine.kv_pool import KvPool, PoolUse
from ..engine.sampling import SamplingOptions
from ..engine.scheduler import SchedulerOptions
from ..engine.sequence import Sequence
from ..errors import QueueFullError
from ..hf.miniature import CONTEXT_LENGTH, VOCABULARY, miniature

# Pages and chunks so small that short requests fill several.
CONFIG = KittyConfig(preset="kitty-pro", page_size=32, sink_tokens=16, recent_tokens=32)
CHUNK_TOKENS = 32
MAX_KV_BYTES = 330_000  # about five of the longer requests
PREFIX_BYTES = 100_000
KINDS = 40
IN_FLIGHT = 40
LIMITS = SchedulerOptions(max_batch=16, max_waiting=20, prefill_tokens=64)
CANCELLED_SHARE = 0.25
_CODEC = TextCodec(lambda ids: "".join(f"{token} " for token in ids), frozenset())


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One of the different requests."""

    prompt: tuple[int, ...]
    tokens: int
    sampling: SamplingOptions


@dataclasses.dataclass(frozen=True, slots=True)
class SoakReport:
    """``wrong`` counts results that are not what they must be; ``use`` is the pool's in the end, ``peak_bytes`` before."""

    requests: int
    finished: int
    cancelled: int
    refused: int
    wrong: int
    preemptions: int
    reused_tokens: int
    tokens: int
    seconds: float
    peak_bytes: int
    use: PoolUse

    @property
    def is_good(self) -> bool:
        return not self.wrong and not self.use.bytes_in_use and not self.use.bytes_allocated


def soak(requests: int, seed: int = 0, *, runs_ahead: bool = False) -> SoakReport:
    """Runs ``requests`` requests and compares their results; ``runs_ahead`` as in ``SchedulerOptions``."""
    model, chance = miniature(), random.Random(seed)
    kinds = _kinds(chance)
    alone = KvPool(model, CONFIG, prefix_bytes=0, chunk_tokens=CHUNK_TOKENS)
    engine = Engine(SchedulerOptions(max_batch=1))
    wanted = []
    for kind in kinds:
        run = _Run(engine, alone, kind, threading.Semaphore())
        run.start()
        wanted.append(run.result().text)
    engine.stop()
    pool = KvPool(model, CONFIG, max_bytes=MAX_KV_BYTES, prefix_bytes=PREFIX_BYTES, chunk_tokens=CHUNK_TOKENS)
    limits = dataclasses.replace(LIMITS, runs_ahead=runs_ahead)
    return _Crowd(pool, kinds, wanted, chance, limits).run(requests)


class _Crowd:
    """All requests, as many in flight as may be."""

    def __init__(
        self, pool: KvPool, kinds: list[Kind], wanted: list[str], chance: random.Random, limits: SchedulerOptions
    ) -> None:
        self._pool = pool
        self._kinds = kinds
        self._wanted = wanted
        self._chance = chance
        self._engine = Engine(limits)

    def run(self, requests: int) -> SoakReport:
        started = time.monotonic()
        slots = threading.Semaphore(IN_FLIGHT)
        refused, peak, runs = 0, 0, []
        for _ in range(requests):
            slots.acquire()
            number = self._chance.randrange(len(self._kinds))
            run = _Run(self._engine, self._pool, self._kinds[number], slots, *self._whims(self._kinds[number]))
            while not run.start():
                refused += 1
                time.sleep(0.002)
            runs.append((number, run))
            peak = max(peak, self._pool.store.bytes_allocated)
        results = [(number, run.result()) for number, run in runs]
        seconds = time.monotonic() - started
        use = self._use_in_the_end()
        self._engine.stop()
        return SoakReport(
            requests=requests,
            finished=sum(result.finish_reason == "length" for _, result in results),
            cancelled=sum(result.finish_reason == "cancelled" for _, result in results),
            refused=refused,
            wrong=sum(not _is_right(result, self._wanted[number]) for number, result in results),
            preemptions=sum(result.preemptions for _, result in results),
            reused_tokens=sum(result.reused_tokens for _, result in results),
            tokens=sum(result.completion_tokens for _, result in results),
            seconds=seconds,
            peak_bytes=peak,
            use=use,
        )

    def _whims(self, kind: Kind) -> tuple[int | None, int]:
        """After how many tokens it is cancelled, if at all, and how many its reader asks for at a time."""
        is_cancelled = self._chance.random() < CANCELLED_SHARE
        return self._chance.randrange(kind.tokens) if is_cancelled else None, self._chance.choice([1, 7, 1000])

    def _use_in_the_end(self) -> PoolUse:
        done = threading.Event()
        uses = []

        def look() -> None:
            self._pool.prefixes.clear()
            self._pool.give_back()
            uses.append(self._pool.use())
            done.set()

        self._engine.between_steps(look)
        done.wait()
        return uses[0]


class _Run:
    """One request; its reader grants credit as it reads."""

    def __init__(
        self,
        engine: Engine,
        pool: KvPool,
        kind: Kind,
        slots: threading.Semaphore,
        cancel_after: int | None = None,
        credit: int = 1000,
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._cancel_after = cancel_after
        self._read = 0
        self._outcome: Result | BaseException | None = None
        self._ended = threading.Event()
        self._sequence: Sequence | None = pool.new_sequence(CONTEXT_LENGTH)
        request = Request(lambda: kind.prompt, kind.tokens, kind.sampling)
        self._generation: Generation | None = Generation(self._sequence, _CODEC, request, self, credit)

    def start(self) -> bool:
        """False when it was refused."""
        generation = self._generation
        try:
            self._engine.submit(generation)
        except QueueFullError:
            return False
        # By now it may have ended.
        if self._cancel_after == 0:
            self._engine.cancel(generation)
        return True

    def result(self) -> Result:
        self._ended.wait()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def on_tokens(self, text: str, tokens: int) -> None:
        self._read += tokens
        self._engine.grant(self._generation, tokens)
        if self._cancel_after is not None and self._read >= self._cancel_after:
            self._engine.cancel(self._generation)

    def on_end(self, result: Result) -> None:
        self._over(result)

    def on_error(self, error: BaseException) -> None:
        self._over(error)

    def _over(self, outcome: Result | BaseException) -> None:
        self._outcome = outcome
        self._engine.close(self._sequence)
        # What has ended is kept for its result; its cache would be one more user of the pool in every pass.
        self._sequence = self._generation = None
        self._slots.release()
        self._ended.set()


def _kinds(chance: random.Random) -> list[Kind]:
    """Some begin with the same tokens, some are greedy, some sample."""
    common = [chance.randrange(VOCABULARY) for _ in range(128)]
    kinds = []
    for number in range(KINDS):
        own = [chance.randrange(VOCABULARY) for _ in range(chance.randint(1, 60))]
        prompt = [*common[: chance.choice([0, 40, 80, 128])], *own]
        options = {} if number % 2 else {"temperature": 1.0, "seed": number, "top_k": 30, "top_p": 0.9}
        kinds.append(Kind(tuple(prompt), chance.randint(1, 40), SamplingOptions(**options)))
    return kinds


def _is_right(result: Result, wanted: str) -> bool:
    if result.finish_reason == "cancelled":
        return wanted.startswith(result.text)
    return result.text == wanted


def main() -> int:
    """Prints the report."""
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.bench.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs-ahead", action="store_true", help="launch passes as on a GPU, before tokens are known")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = soak(arguments.requests, arguments.seed, runs_ahead=arguments.runs_ahead)
    print(json.dumps(dataclasses.asdict(report), indent=1))
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
