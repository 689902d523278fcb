"""``python -m kitty_kv.worker.bench_sessions < prompts.json``: sessions of a worker inside Python, without a bridge.

Reads a JSON list of prompts, generates from all of them together as the worker would for so many sessions, and prints
``{"tokens", "seconds", "tokensPerSecond", "processorSeconds", "texts"}``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from ..bench.engine import Reader
from ..config import DEFAULT_PRESET, PRESETS
from ..engine.engine import Engine
from ..engine.generation import Generation, Request, Result
from ..hf.loading import load_model
from .models import ServedModel, serve
from .prompts import Prompt
from .threads import set_threads

_WARM_UP_TOKENS = 8


def main() -> int:
    """Runs one warm-up and one measured round."""
    parser = argparse.ArgumentParser(
        prog="python -m kitty_kv.worker.bench_sessions", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET)
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    prompts = json.load(sys.stdin)
    set_threads()
    engine = Engine()
    model = serve(load_model())
    _round(engine, model, options.preset, prompts, _WARM_UP_TOKENS)
    before = time.process_time()
    seconds, results = _round(engine, model, options.preset, prompts, options.new_tokens)
    spent = time.process_time() - before
    engine.stop()
    tokens = sum(result.completion_tokens for result in results)
    figures = {
        "tokens": tokens,
        "seconds": seconds,
        "tokensPerSecond": tokens / seconds,
        "processorSeconds": spent,
        "texts": [result.text for result in results],
    }
    print(json.dumps(figures))
    return 0


def _round(
    engine: Engine, model: ServedModel, preset: str, prompts: list[str], new_tokens: int
) -> tuple[float, list[Result]]:
    """Seconds from the first submission to the last end, and what each came to."""
    sequences = [model.new_sequence(PRESETS[preset]) for _ in prompts]
    readers = [Reader() for _ in prompts]
    started = time.perf_counter()
    for text, sequence, reader in zip(prompts, sequences, readers, strict=True):
        prompt = Prompt(text, None)
        request = Request(lambda prompt=prompt, sequence=sequence: prompt.tokens(model, sequence, []), new_tokens)
        engine.submit(Generation(sequence, model.codec, request, reader, new_tokens))
    results = [reader.result() for reader in readers]
    seconds = time.perf_counter() - started
    for sequence in sequences:
        engine.close(sequence)
    return seconds, results


if __name__ == "__main__":
    sys.exit(main())
