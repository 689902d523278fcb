"""What goes wrong in one request of a batch changes no other's text, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from engine_run import SMALL_PAGES, Run, plain_greedy

from kitty_kv.engine.engine import Engine
from kitty_kv.engine.generation import Result
from kitty_kv.engine.kv_pool import KvPool
from kitty_kv.engine.scheduler import SchedulerOptions
from kitty_kv.errors import CacheOutOfMemoryError, ConfigError, KittyKvError
from kitty_kv.hf.miniature import CONTEXT_LENGTH

CHUNK = 32
TOKENS = 25
PROMPTS = [[3 + at, *range(7, 7 + 13 * at)] for at in range(4)]
OWN = [90, *range(50, 70)]
LONG = [1 + at % 90 for at in range(20 * CHUNK)]

pytestmark = pytest.mark.usefixtures("one_thread", "both_ways")


class Broken(Exception):
    """What a model's code may raise."""


@pytest.fixture(scope="module")
def wanted(model) -> list[str]:
    return [plain_greedy(model, SMALL_PAGES, prompt, TOKENS, CHUNK) for prompt in PROMPTS]


class Crowd:
    """Four requests that are well, and one in their middle that is not."""

    def __init__(self, model, prompt=OWN, tokens: int = TOKENS, max_bytes: int = 10**7, **limits: int) -> None:
        self.engine = Engine(SchedulerOptions(prefill_tokens=CHUNK, **limits))
        self.pool = KvPool(model, SMALL_PAGES, max_bytes=max_bytes, prefix_bytes=0, chunk_tokens=CHUNK)
        self.others = [Run(self._sequence(), prompt, TOKENS) for prompt in PROMPTS]
        self.own = Run(self._sequence(), prompt, tokens)

    def run(self, at: int = 2) -> Result | BaseException:
        """What becomes of the one, which arrives behind ``at`` others; the others end too."""
        order = [*self.others[:at], self.own, *self.others[at:]]
        with self.engine.paused():
            for run in order:
                self.engine.submit(run.generation)
        outcomes = [run.wait() for run in order]
        return outcomes[at]

    def check(self, wanted: list[str], *, is_untouched: bool = True) -> None:
        """The others wrote what they write alone, the one's session is as new, and closed sessions hold nothing."""
        assert [run.result().text for run in self.others] == wanted
        if is_untouched:
            again = Run(self.own.generation.sequence, PROMPTS[1], TOKENS)
            self.engine.submit(again.generation)
            assert again.result().text == wanted[1]
        uses, done = [], threading.Event()
        for run in (*self.others, self.own):
            self.engine.close(run.generation.sequence)
        self.engine.between_steps(lambda: (uses.append(self.pool.use()), done.set()))
        assert done.wait(60)
        assert (uses[0].bytes_in_use, uses[0].bytes_allocated) == (0, 0)
        self.engine.stop()

    def _sequence(self):
        return self.pool.new_sequence(CONTEXT_LENGTH)


def row_of(crowd: Crowd, cache) -> int | None:
    """Which row of a pass is the one's."""
    own = crowd.own.generation.sequence.cache.pages.rows
    return next((at for at, row in enumerate(cache.pages.rows) if any(row is mine for mine in own)), None)


@contextlib.contextmanager
def raising(model, crowd: Crowd, error: BaseException, tokens: int) -> Iterator[None]:
    def fail(_, __, inputs):
        # In the second layer, when the first has taken the tokens.
        if crowd.own.tokens >= tokens and row_of(crowd, inputs["past_key_value"]) is not None:
            raise error

    handle = model.model.layers[1].register_forward_pre_hook(fail, with_kwargs=True)
    yield
    handle.remove()


@contextlib.contextmanager
def spoiling(model, crowd: Crowd, value: float, tokens: int) -> Iterator[None]:
    def spoil(_, __, inputs, output):
        row = row_of(crowd, inputs["past_key_values"])
        if crowd.own.tokens >= tokens and row is not None:
            output.logits = output.logits.index_fill(0, torch.tensor([row]), value)
        return output

    handle = model.register_forward_hook(spoil, with_kwargs=True)
    yield
    handle.remove()


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("tokens", [0, 6], ids=["prefilling", "decoding"])
@pytest.mark.parametrize("error", [Broken("no"), SystemExit(3), torch.OutOfMemoryError("CUDA out of memory")], ids=repr)
def test_a_model_that_raises_in_one_row(model, wanted, error, tokens, at) -> None:
    crowd = Crowd(model)
    with raising(model, crowd, error, tokens):
        assert crowd.run(at) is error
    crowd.check(wanted)


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("tokens", [0, 6], ids=["prefilling", "decoding"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_of_one_row_that_are_no_numbers(model, wanted, value, tokens, at) -> None:
    crowd = Crowd(model)
    with spoiling(model, crowd, value, tokens):
        error = crowd.run(at)
    assert isinstance(error, KittyKvError) and error.code == "bad_logits"
    crowd.check(wanted)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_prompt_longer_than_the_context(model, wanted, at) -> None:
    crowd = Crowd(model, [5] * CONTEXT_LENGTH)
    error = crowd.run(at)
    assert isinstance(error, ConfigError) and error.code == "context_exceeded"
    crowd.check(wanted)


def test_a_tokenizer_that_raises(model, wanted) -> None:
    def broken() -> list[int]:
        raise Broken("no")

    crowd = Crowd(model, broken)
    assert isinstance(crowd.run(), Broken)
    crowd.check(wanted)


@pytest.mark.parametrize("at", [0, 2])
def test_a_listener_that_raises_when_it_hears_of_tokens(model, wanted, at) -> None:
    def broken() -> None:
        if crowd.own.tokens == 6:
            raise Broken("no")

    crowd = Crowd(model)
    crowd.own.on_each = broken
    assert isinstance(crowd.run(at), Broken)
    crowd.check(wanted)


@pytest.mark.parametrize("heard", ["on_end", "on_error"])
def test_a_listener_that_raises_when_it_hears_of_the_end_is_reported(model, wanted, heard, capsys) -> None:
    crowd = Crowd(model, OWN if heard == "on_end" else [5] * CONTEXT_LENGTH)
    hear = getattr(crowd.own, heard)

    def broken(outcome: object) -> None:
        hear(outcome)
        raise Broken("no")

    setattr(crowd.own, heard, broken)
    assert isinstance(crowd.run(), Result if heard == "on_end" else ConfigError)
    assert crowd.engine.wait_idle(60)
    crowd.check(wanted, is_untouched=False)
    assert "test_faults.Broken: no" in capsys.readouterr().err


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize(("prompt", "tokens"), [([5] * 1500, 5), ([5] * 3, 1500)], ids=["prompt", "text"])
def test_more_memory_than_there_is(model, wanted, prompt, tokens, at) -> None:
    crowd = Crowd(model, prompt, tokens, max_bytes=50_000)
    error = crowd.run(at)
    assert isinstance(error, CacheOutOfMemoryError), error
    assert error.details["maxBytes"] == 50_000
    assert "50,000 bytes" in str(error) and "kvMemoryMiB" in str(error)
    crowd.check(wanted)


@pytest.mark.parametrize("at", [0, 2])
def test_a_request_that_is_cancelled_while_it_is_prefilled(model, wanted, at) -> None:
    crowd = Crowd(model, LONG)
    fed = []
    hook = functools.partial(cancel_when, crowd, lambda: fed.append(1) or len(fed) == 5)
    handle = model.model.layers[1].register_forward_pre_hook(
        lambda _, __, inputs: hook() if row_of(crowd, inputs["past_key_value"]) is not None else None, with_kwargs=True
    )
    result = crowd.run(at)
    handle.remove()
    assert (result.finish_reason, result.text, len(fed)) == ("cancelled", "", 5)
    assert result.memory["tokens"] == 5 * CHUNK
    crowd.check(wanted, is_untouched=False)


def cancel_when(crowd: Crowd, is_time: Callable[[], bool]) -> None:
    if is_time():
        crowd.engine.cancel(crowd.own.generation)


def test_a_request_that_is_cancelled_while_it_waits(model, wanted) -> None:
    crowd = Crowd(model, max_batch=2)
    first = crowd.others[0]
    first.on_each = lambda: cancel_when(crowd, lambda: first.tokens == 3)
    result = crowd.run(at=3)
    assert (result.finish_reason, result.text, result.prompt_tokens, result.queue_time_ms) == ("cancelled", "", 0, None)
    crowd.check(wanted)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_request_that_is_cancelled_while_it_writes(model, wanted, at) -> None:
    crowd = Crowd(model)
    crowd.own.on_each = lambda: cancel_when(crowd, lambda: crowd.own.tokens == 6)
    result = crowd.run(at)
    assert (result.finish_reason, result.completion_tokens) == ("cancelled", 6)
    assert result.text == plain_greedy(model, SMALL_PAGES, OWN, 6, CHUNK)
    crowd.check(wanted, is_untouched=False)
