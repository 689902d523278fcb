"""Tokens per second of the engine: sessions decoded as one batch, beside the same sessions one at a time.

Run: python -m kitty_kv.bench.engine [--sessions 1,8,32] [--model M] [--preset P] [--prompt-tokens N] [--new-tokens N]

Both columns run through the same engine and make the same passes for prompts; "one at a time" steps one generation until it
ends. Times are wall clock from the first submission to the last end.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time

from ..config import DEFAULT_PRESET, PRESETS
from ..engine.engine import Engine
from ..engine.generation import Generation, Request, Result, TextCodec
from ..engine.kv_pool import KvPool
from ..engine.scheduler import SchedulerOptions
from ..hf.loading import LoadedModel, load_model


class Reader:
    """Waits for the end."""

    def __init__(self) -> None:
        self._outcome: Result | BaseException | None = None
        self._ended = threading.Event()

    def on_tokens(self, text: str, tokens: int) -> None:
        pass

    def on_end(self, result: Result) -> None:
        self._finish(result)

    def on_error(self, error: BaseException) -> None:
        self._finish(error)

    def result(self) -> Result:
        self._ended.wait()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _finish(self, outcome: Result | BaseException) -> None:
        self._outcome = outcome
        self._ended.set()


def measure(
    loaded: LoadedModel, preset: str, sessions: int, prompt_tokens: int, new_tokens: int, max_batch: int
) -> dict:
    """Runs ``sessions`` generations that arrive together; JSON-like figures, times in milliseconds."""
    engine = Engine(SchedulerOptions(max_batch=max_batch))
    pool = KvPool(loaded.model, PRESETS[preset], prefix_bytes=0)
    chance = random.Random(0)
    vocabulary = loaded.model.config.get_text_config().vocab_size
    codec = TextCodec(loaded.tokenizer.decode, frozenset())
    readers = []
    started = time.perf_counter()
    with engine.paused():
        for _ in range(sessions):
            prompt = [chance.randrange(1, vocabulary) for _ in range(prompt_tokens)]
            sequence = pool.new_sequence(loaded.context_length)
            readers.append(Reader())
            request = Request(lambda prompt=prompt: prompt, new_tokens)
            engine.submit(Generation(sequence, codec, request, readers[-1], new_tokens))
    results = [reader.result() for reader in readers]
    seconds = time.perf_counter() - started
    engine.stop()
    return {
        "tokensPerSecond": sessions * new_tokens / seconds,
        "timeToFirstTokenMs": statistics.median(result.time_to_first_token_ms for result in results),
        "interTokenLatencyMs": statistics.median(result.inter_token_latency_ms for result in results),
        "texts": [result.text for result in results],
    }


def main() -> int:
    """Prints a JSON line for each number of sessions."""
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.bench.engine", description=__doc__.split("\n")[0])
    parser.add_argument("--sessions", default="1,8,32", help="numbers of sessions, separated by commas")
    parser.add_argument("--model", help="folder; default: the bundled model")
    parser.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    loaded = load_model(options.model)
    sizes = (options.prompt_tokens, options.new_tokens)
    measure(loaded, options.preset, 1, *sizes, max_batch=1)  # warms up
    for sessions in map(int, options.sessions.split(",")):
        together = measure(loaded, options.preset, sessions, *sizes, max_batch=max(2, sessions))
        alone = measure(loaded, options.preset, sessions, *sizes, max_batch=1)
        line = {
            "sessions": sessions,
            "preset": options.preset,
            "device": str(loaded.model.device),
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "equalTexts": together.pop("texts") == alone.pop("texts"),
            "speedup": together["tokensPerSecond"] / alone["tokensPerSecond"],
            "batched": together,
            "oneAtATime": alone,
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
