"""How the tokens of one request are chosen, and what of that outlives a step."""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from collections.abc import Iterable, Sequence

import torch

from ..errors import ConfigError

_SEED_MASK = 2**64 - 1
MAX_LOGPROBS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are chosen.

    Args:
        temperature: 0 takes the most probable token each time (of equal ones the lowest) and ignores the four below.
        top_k: only the k most probable tokens; None for all.
        top_p: only the most probable tokens that hold this probability together, over 0 to 1; None for all.
        min_p: only tokens at least so probable as this share of the most probable one's, 0 to 1; None for all.
        seed: any integer; None draws one.
        repetition_penalty: over 0; logits of tokens in the prompt or the text are divided by it where positive and
            multiplied where negative, so that over 1 repeats less. 1 changes nothing.
        logprobs: report the chosen token's log probability (before all of the above) and those of so many most probable
            tokens, 0 to 20; None for neither.

    Raises:
        ConfigError: a value is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        infinity = float("inf")
        _check("temperature", self.temperature, 0 <= self.temperature < infinity, "a number >= 0")
        _check("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "an integer >= 1")
        _check("top_p", self.top_p, self.top_p is None or 0 < self.top_p <= 1, "over 0 and at most 1")
        _check("min_p", self.min_p, self.min_p is None or 0 <= self.min_p <= 1, "a number from 0 to 1")
        penalty = self.repetition_penalty
        _check("repetition_penalty", penalty, 0 < penalty < infinity, "a number over 0")
        is_count = self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS
        _check("logprobs", self.logprobs, is_count, f"an integer from 0 to {MAX_LOGPROBS}")


@dataclasses.dataclass(frozen=True, slots=True)
class Sampled:
    """One chosen token; ``logprob`` and ``top`` (token, log probability; largest first) where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One request's options, random numbers and tokens so far; all its own, so who else runs changes nothing."""

    def __init__(self, options: SamplingOptions) -> None:
        self.options = options
        self._generator: torch.Generator | None = None
        self._drawn: deque[float] = deque()  # numbers that were looked at before their turn
        self._seen: set[int] = set()
        if options.temperature > 0:
            seed = secrets.randbits(63) if options.seed is None else options.seed
            # One uniform number a token, drawn on the CPU: the same on every device.
            self._generator = torch.Generator().manual_seed(seed & _SEED_MASK)

    @property
    def is_greedy(self) -> bool:
        return self._generator is None

    @property
    def needs_tokens(self) -> bool:
        """Whether the next token cannot be chosen, or told of, without knowing here which ones came before it."""
        return self.options.repetition_penalty != 1 or self.options.logprobs is not None

    def draw(self) -> float:
        """The next uniform number, 0 to 1; only where it is not greedy."""
        self.peek(0)
        return self._drawn.popleft()

    def peek(self, ahead: int) -> float:
        """The number that ``draw`` gives after ``ahead`` others."""
        while len(self._drawn) <= ahead:
            self._drawn.append(torch.rand(1, generator=self._generator, dtype=torch.float64).item())
        return self._drawn[ahead]

    def skip(self, tokens: int) -> None:
        """Draws a number for each of so many tokens that were chosen by looking ahead; none where it is greedy."""
        for _ in range(0 if self.is_greedy else tokens):
            self.draw()

    def see(self, tokens: Iterable[int]) -> None:
        """Tells it tokens of the prompt or the text, which ``repetition_penalty`` is about."""
        if self.options.repetition_penalty != 1:
            self._seen.update(tokens)

    def penalize(self, logits: torch.Tensor, more: Sequence[int] = ()) -> torch.Tensor:
        """Logits ``[V]`` after the repetition penalty, as if ``more`` were seen too; the same tensor where there is none."""
        penalty = self.options.repetition_penalty
        known = self._seen.union(more) if penalty != 1 else ()
        if not known:
            return logits
        seen = torch.tensor(sorted(known), device=logits.device)
        held = logits[seen]
        return logits.index_put((seen,), torch.where(held < 0, held * penalty, held / penalty))


class SamplerAhead:
    """A sampler as it will be once ``tokens`` were chosen, one number drawn for each; the sampler itself stays as it is."""

    def __init__(self, sampler: Sampler, tokens: Sequence[int]) -> None:
        self.options = sampler.options
        self.is_greedy = sampler.is_greedy
        self._sampler = sampler
        self._tokens = tokens

    def draw(self) -> float:
        """The uniform number that will be next."""
        return self._sampler.peek(len(self._tokens))

    def penalize(self, logits: torch.Tensor) -> torch.Tensor:
        """As ``Sampler.penalize``."""
        return self._sampler.penalize(logits, self._tokens)


def _check(name: str, value: object, is_valid: bool, wanted: str) -> None:
    if not is_valid:
        raise ConfigError(f"Cannot sample: {name} must be {wanted}, got {value!r}.")
