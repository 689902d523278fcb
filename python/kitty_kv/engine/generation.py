"""One completion in progress: what a request asks for, what has become of it, and who hears of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .detokenizer import Decode, Detokenizer
from .draft_model import check_draft_pool
from .sampling import Sampled, Sampler, SamplingOptions
from .sequence import Sequence as TokenSequence
from .speculation import Draft, Speculation
from .speculator import Speculator
from .stop import StopMatcher
from .timing import Timing

if TYPE_CHECKING:
    from .kv_pool import KvPool

FinishReason = Literal["length", "stop", "cancelled"]


class Listener(Protocol):
    """Hears of one generation, on the engine's thread."""

    def on_tokens(self, text: str, tokens: int, logprobs: Sequence[Sampled] | None = None) -> None:
        """``text`` is new and stands for ``tokens`` tokens, whose ``logprobs`` are given where they were asked for."""
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

    Times are None when it ended before its first token (``inter_token_latency_ms``, the mean: before its second);
    ``prompt_tokens`` is 0 when it ended before its first step. ``reused_tokens`` of the prompt came from another prompt that
    begins alike. ``preemptions`` says how often its cache was dropped for others and filled again. ``drafted_tokens`` were
    proposed ahead of the model, ``accepted_tokens`` of them became text. ``kv_bytes`` is what its cache holds. ``logprobs``
    has an entry a token where they were asked for.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    time_to_first_token_ms: float | None
    tokens_per_second: float | None
    memory: dict[str, Any]
    queue_time_ms: float | None
    inter_token_latency_ms: float | None
    reused_tokens: int
    preemptions: int
    drafted_tokens: int
    accepted_tokens: int
    kv_bytes: int
    logprobs: tuple[Sampled, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class TextCodec:
    """The parts of a tokenizer that a generation needs."""

    decode: Decode
    eos_ids: frozenset[int]
    replacement_ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What to generate.

    ``prompt`` gives the new tokens; it runs when the generation's turn comes, on the engine's thread. ``speculation`` is None
    for what the engine's options say.
    """

    prompt: Callable[[], Sequence[int]]
    max_new_tokens: int
    sampling: SamplingOptions = dataclasses.field(default_factory=SamplingOptions)
    stop: Sequence[str] = ()
    speculation: Speculation | None = None


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
        self.sequence = sequence
        self.is_on_cpu = sequence.model.device.type == "cpu"  # asking the model takes as long as much else in a step
        self.sampler = Sampler(request.sampling)
        self.order = 0  # of arrival; the engine's
        self.preemptions = 0
        self.reused_tokens = 0
        self.speculation = request.speculation  # may be set until it is submitted
        self.speculator: Speculator | None = None
        self.is_ahead = False  # whether a pass may have been taken whose token nobody here has waited for
        self._codec = codec
        self._request = request
        self._stop = StopMatcher(request.stop)
        self._detokenizer: Detokenizer | None = None
        self._length_before = len(sequence.tokens)
        self._texts: list[str] = []
        self._logprobs: list[Sampled] = []
        self._reported = 0
        self._unreported = 0
        self._unwritten: list[int] = []
        self._prompt_tokens = 0
        self._timing = Timing()

    @property
    def has_begun(self) -> bool:
        """Whether its prompt is part of the session."""
        return self._detokenizer is not None

    @property
    def has_all_fed(self) -> bool:
        """Whether the last pass was the one whose logits choose a new token; a cache that is filled again has passes before."""
        return self.sequence.unfed <= 0

    @property
    def draft(self) -> Draft | None:
        """What is drafted of the tokens that come next."""
        return None if self.speculator is None else self.speculator.draft

    @property
    def draft_pool(self) -> KvPool | None:
        """Memory of the draft model's caches, where one drafts."""
        return None if self.speculator is None else self.speculator.options.draft_pool

    @property
    def tokens_left(self) -> int:
        """How many more tokens it may write."""
        return min(self._request.max_new_tokens - self._timing.tokens, self.sequence.room)

    def begin(self, speculation: Speculation | None = None) -> None:
        """Adds the prompt to the session.

        Args:
            speculation: where the request says nothing of it.

        Raises:
            ConfigError: it is empty or does not fit, or the draft model writes other tokens.
            UnsupportedError: the model cannot verify drafts.
        """
        options = self.speculation or speculation
        if options is not None and options.method != "none":
            if options.draft_pool is not None:
                check_draft_pool(self.sequence, options.draft_pool)
            self.speculator = Speculator(options, self.sequence)
        self._length_before = len(self.sequence.tokens)
        prompt = self._request.prompt()
        self.sequence.check_fits(prompt)
        tokens = self.sequence.tokens
        self._detokenizer = Detokenizer(self._codec.decode, [*tokens, *prompt], self._codec.replacement_ids)
        self._prompt_tokens = len(prompt)
        tokens.extend(prompt)
        self.sampler.see(tokens)
        self._timing.begin()

    def next_tokens(self, is_speculating: bool) -> list[int]:
        """What the next pass feeds: one token, and where that is asked for what is drafted and may be sent."""
        tokens = self.sequence.next_pass()
        is_ahead = is_speculating and self.speculator is not None
        return [*tokens, *self.speculator.ahead(self.credit - 1)] if is_ahead else tokens

    def settle(self, chosen: Sequence[int]) -> None:
        """Says which tokens a pass has confirmed, before they are taken; what it fed behind them is taken back."""
        if self.speculator is not None:
            self.sequence.crop(len(self.sequence.tokens) - 1 + max(len(chosen), 1))
            self.speculator.settle(chosen)

    def take(self, sampled: Sampled) -> Result | None:
        """Takes the next token; the result when it was the last one."""
        token = sampled.token
        self.sequence.tokens.append(token)
        self.sampler.see([token])
        self._timing.token()
        if self.speculator is not None:
            self.speculator.count_taken()
        if self._request.sampling.logprobs is not None:
            self._logprobs.append(sampled)
        if token in self._codec.eos_ids:
            return self._finish("stop")
        self._unwritten.append(token)
        if self._is_urgent:
            self.write()
            if self._stop.matched is not None:
                return self._finish("stop")
        if self._timing.tokens == self._request.max_new_tokens or self.sequence.room <= 0:
            return self._finish("length")
        return None

    @property
    def has_unwritten(self) -> bool:
        """Whether tokens were taken that the listener has not heard of."""
        return bool(self._unwritten)

    def write(self) -> None:
        """Tells the listener of the tokens taken so far, which can be done while the device computes the next ones."""
        tokens, self._unwritten = self._unwritten, []
        for token in tokens:
            self._unreported += 1
            self._emit(self._stop.push(self._detokenizer.push(token)))
            if self._stop.matched is not None:
                return

    @property
    def _is_urgent(self) -> bool:
        """Whether a token's text may be the end, or is waited for."""
        return bool(self._request.stop) or self._timing.tokens == 1

    def cancel(self) -> Result:
        """Ends it where it is. Before its prompt is part of the session this leaves no trace there."""
        return self._finish("cancelled")

    def fail(self) -> None:
        """Puts the session back to where it was before; a pass that broke off may have filled some layers only."""
        if self.has_begun:
            self.sequence.take_back(self._length_before)

    def _emit(self, text: str) -> None:
        # Tokens are reported with their text. Without it only when the reader would wait for us and we for the reader.
        if not text and self.credit > 0:
            return
        if text:
            self._texts.append(text)
        end = self._reported + self._unreported
        if self._request.sampling.logprobs is None:
            self.listener.on_tokens(text, self._unreported)
        else:
            self.listener.on_tokens(text, self._unreported, self._logprobs[self._reported : end])
        self._reported, self._unreported = end, 0

    def _finish(self, reason: FinishReason) -> Result:
        if self.speculator is not None or self.is_ahead:
            # A draft or the last token itself may have been fed: the session is what one token a pass leaves.
            self.sequence.crop(len(self.sequence.tokens) - 1)
        if self._stop.matched is None and self.has_begun:
            self.write()
            rest = self._stop.push(self._detokenizer.flush())
            rest += "" if self._stop.matched is not None else self._stop.flush()
            if rest:
                self._emit(rest)
        memory, timing = self.sequence.cache.memory(), self._timing
        return Result(
            text="".join(self._texts),
            finish_reason=reason if self._stop.matched is None else "stop",
            prompt_tokens=self._prompt_tokens,
            completion_tokens=timing.tokens,
            time_to_first_token_ms=timing.time_to_first_token_ms,
            tokens_per_second=timing.tokens_per_second,
            memory=memory,
            queue_time_ms=timing.queue_time_ms,
            inter_token_latency_ms=timing.inter_token_latency_ms,
            reused_tokens=self.reused_tokens,
            preemptions=self.preemptions,
            drafted_tokens=self.speculator.drafted if self.speculator is not None else 0,
            accepted_tokens=self.speculator.accepted if self.speculator is not None else 0,
            kv_bytes=memory["packed_bytes"] + memory["full_precision_bytes"],
            logprobs=None if self._request.sampling.logprobs is None else tuple(self._logprobs),
        )
