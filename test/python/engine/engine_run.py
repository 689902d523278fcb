"""Generations on an engine, and the same ones by plain forward passes of one sequence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from kitty_kv import KittyCache
from kitty_kv.config import KittyConfig
from kitty_kv.engine.engine import Engine
from kitty_kv.engine.generation import Generation, Request, Result, TextCodec
from kitty_kv.engine.sampling import Sampled, SamplingOptions
from kitty_kv.engine.sequence import Sequence as TokenSequence

TIMEOUT_S = 60
# Fills pages and chunks with few tokens.
SMALL_PAGES = KittyConfig(preset="kitty-pro", page_size=32, sink_tokens=16, recent_tokens=32)


class Run:
    """One generation that remembers what it hears."""

    def __init__(
        self,
        sequence: TokenSequence,
        prompt: Sequence[int] | Callable[[], Sequence[int]],
        tokens: int,
        *,
        credit: int = 10_000,
        **options: object,
    ) -> None:
        self.tokens = 0
        self.outcome: Result | BaseException | None = None
        self.on_each: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        request = Request(prompt if callable(prompt) else lambda: prompt, tokens, SamplingOptions(**options))
        codec = TextCodec(lambda ids: "".join(f"<{token}>" for token in ids), frozenset())
        self.generation = Generation(sequence, codec, request, self, credit)

    def on_tokens(self, text: str, tokens: int, logprobs: Sequence[Sampled] | None = None) -> None:
        self.tokens += tokens
        self.on_each()

    def on_end(self, result: Result) -> None:
        self.outcome = result
        self._ended.set()

    def on_error(self, error: BaseException) -> None:
        self.outcome = error
        self._ended.set()

    def wait(self) -> Result | BaseException:
        assert self._ended.wait(TIMEOUT_S)
        return self.outcome

    def result(self) -> Result:
        outcome = self.wait()
        assert isinstance(outcome, Result), outcome
        return outcome


def run_all(engine: Engine, runs: Sequence[Run]) -> list[Result]:
    """The results of generations that begin in the same step."""
    with engine.paused():
        for run in runs:
            engine.submit(run.generation)
    return [run.result() for run in runs]


@torch.inference_mode()
def plain_greedy(
    model: PreTrainedModel, config: KittyConfig, prompt: Sequence[int], tokens: int, chunk: int = 512
) -> str:
    """Greedy text by one sequence's own forward passes: chunks of the prompt, then token by token."""
    cache = KittyCache.for_model(model, config=config)
    out: list[int] = []
    pieces = [list(prompt[at : at + chunk]) for at in range(0, len(prompt), chunk)]
    while len(out) < tokens:
        for piece in pieces:
            logits = model(torch.tensor([piece]), past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        out.append(int(logits.argmax()))
        pieces = [[out[-1]]]
    return "".join(f"<{token}>" for token in out)
