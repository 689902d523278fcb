"""One completion in progress: a step feeds what is new, samples one token and passes its text on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch

from .detokenizer import Decode, Detokenizer
from .sampling import Sampler, SamplingOptions
from .sequence import Sequence as TokenSequence
from .stop import StopMatcher

FinishReason = Literal["length", "stop", "cancelled"]


class Listener(Protocol):
    """Hears of one generation, on the engine's thread."""

    def on_tokens(self, text: str, tokens: int) -> None:
        """``text`` is new and stands for ``tokens`` tokens."""
        ...

    def on_end(self, result: Result) -> None:
        """It is over; nothing follows."""
        ...

    def on_error(self, error: BaseException) -> None:
        """It failed; nothing follows."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a generation came to.

    Times are None when it ended before its first token; ``prompt_tokens`` is 0 when it ended before its first step.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    time_to_first_token_ms: float | None
    tokens_per_second: float | None
    memory: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class TextCodec:
    """The parts of a tokenizer that a generation needs."""

    decode: Decode
    eos_ids: frozenset[int]
    replacement_ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What to generate. ``prompt`` gives the new tokens; it runs in the first step, on the engine's thread."""

    prompt: Callable[[], Sequence[int]]
    max_new_tokens: int
    sampling: SamplingOptions = dataclasses.field(default_factory=SamplingOptions)
    stop: Sequence[str] = ()


class Generation:
    """Only the engine's thread calls its methods; ``credit`` and ``is_cancelled`` belong to the engine's lock.

    Args:
        sequence: the session's tokens and cache; nobody else may use them until this ends.
        codec: turns tokens into text.
        request: what to generate.
        listener: hears the text and the end.
        credit: how many tokens may be sent before more is granted.
    """

    def __init__(
        self, sequence: TokenSequence, codec: TextCodec, request: Request, listener: Listener, credit: int
    ) -> None:
        self.credit = credit
        self.is_cancelled = False
        self.listener = listener
        self._sequence = sequence
        self._codec = codec
        self._request = request
        self._sampler = Sampler(request.sampling)
        self._stop = StopMatcher(request.stop)
        self._detokenizer: Detokenizer | None = None
        self._length_before = len(sequence.tokens)
        self._texts: list[str] = []
        self._unreported = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._submitted = time.perf_counter()
        self._first_token: float | None = None
        self._last_token = 0.0

    def step(self) -> Result | None:
        """Produces one token; the result when it was the last one."""
        if self._detokenizer is None:
            self._begin()
        token = self._next_token()
        if token in self._codec.eos_ids:
            return self._finish("stop")
        self._emit(self._stop.push(self._detokenizer.push(token)))
        if self._stop.matched is not None:
            return self._finish("stop")
        if self._completion_tokens == self._request.max_new_tokens or self._sequence.room <= 0:
            return self._finish("length")
        return None

    def cancel(self) -> Result:
        """Ends it where it is. Before the first step this leaves no trace in the session."""
        return self._finish("cancelled")

    def fail(self) -> None:
        """Puts the session back to where it was before; a pass that broke off may have filled some layers only."""
        if self._detokenizer is not None:
            self._sequence.take_back(self._length_before)

    def _begin(self) -> None:
        prompt = self._request.prompt()
        self._sequence.check_fits(prompt)
        tokens = self._sequence.tokens
        self._detokenizer = Detokenizer(self._codec.decode, [*tokens, *prompt], self._codec.replacement_ids)
        self._prompt_tokens = len(prompt)
        tokens.extend(prompt)

    def _next_token(self) -> int:
        sequence = self._sequence
        model = sequence.model
        input_ids = torch.tensor([sequence.unfed], dtype=torch.long, device=model.device)  # [1, S]
        output = model(input_ids=input_ids, past_key_values=sequence.cache, use_cache=True, logits_to_keep=1)
        token = self._sampler.sample(output.logits[0, -1])
        sequence.tokens.append(token)
        self._completion_tokens += 1
        self._unreported += 1
        self._last_token = time.perf_counter()
        if self._first_token is None:
            self._first_token = self._last_token
        return token

    def _emit(self, text: str) -> None:
        # Tokens are reported with their text. Without it only when the reader would wait for us and we for the reader.
        if not text and self.credit > 0:
            return
        if text:
            self._texts.append(text)
        self.listener.on_tokens(text, self._unreported)
        self._unreported = 0

    def _finish(self, reason: FinishReason) -> Result:
        if self._stop.matched is None and self._detokenizer is not None:
            rest = self._stop.push(self._detokenizer.flush())
            rest += "" if self._stop.matched is not None else self._stop.flush()
            if rest:
                self._emit(rest)
        return Result(
            text="".join(self._texts),
            finish_reason=reason if self._stop.matched is None else "stop",
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            time_to_first_token_ms=self._time_to_first_token_ms(),
            tokens_per_second=self._tokens_per_second(),
            memory=self._sequence.cache.memory(),
        )

    def _time_to_first_token_ms(self) -> float | None:
        return None if self._first_token is None else (self._first_token - self._submitted) * 1000

    def _tokens_per_second(self) -> float | None:
        if self._first_token is None:
            return None
        if self._completion_tokens == 1:
            return 1 / max(self._first_token - self._submitted, 1e-9)
        return (self._completion_tokens - 1) / max(self._last_token - self._first_token, 1e-9)
