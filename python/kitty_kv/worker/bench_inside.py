"""``python -m kitty_kv.worker.bench_inside --tokens N``: the benchmark's generation inside Python, without a bridge.

Prints ``{"tokens", "seconds", "tokensPerSecond"}``. The worker's method ``bench.generate`` runs the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time

from ..engine.engine import Engine
from ..engine.generation import Result
from .bench_generate import BenchModel
from .threads import set_threads


def main() -> int:
    """Runs one warm-up and one measured generation."""
    options = _parse()
    set_threads()
    engine = Engine()
    model = BenchModel(engine)
    _run(engine, model, min(options.tokens, 64), None)
    seconds = _run(engine, model, options.tokens, options.tokens_per_second)
    engine.stop()
    print(json.dumps({"tokens": options.tokens, "seconds": seconds, "tokensPerSecond": options.tokens / seconds}))
    return 0


class _Counter:
    """Takes every token and does nothing with it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def on_tokens(self, text: str, tokens: int) -> None:
        pass

    def on_end(self, result: Result) -> None:
        self.ended.set()

    def on_error(self, error: BaseException) -> None:
        self.error = error
        self.ended.set()


def _run(engine: Engine, model: BenchModel, tokens: int, rate: float | None) -> float:
    generation_of = model.generation_maker(tokens, rate, credit=tokens)
    listener = _Counter()
    started = time.perf_counter()
    engine.submit(generation_of(listener))
    listener.ended.wait()
    if listener.error is not None:
        raise listener.error
    return time.perf_counter() - started


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.worker.bench_inside", description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, required=True, help="how many tokens to generate")
    parser.add_argument("--tokens-per-second", type=float, help="highest rate; default: as fast as it goes")
    options = parser.parse_args()
    if options.tokens < 1 or (options.tokens_per_second is not None and options.tokens_per_second <= 0):
        parser.error("--tokens and --tokens-per-second must be over 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
