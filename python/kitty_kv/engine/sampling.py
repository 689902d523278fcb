"""Chooses the next token from logits."""

from __future__ import annotations

import dataclasses
import secrets

import torch

from ..errors import ConfigError, KittyKvError

_SEED_MASK = 2**64 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are chosen.

    Args:
        temperature: 0 takes the most probable token each time and ignores the rest.
        top_k: only the k most probable tokens; None for all.
        top_p: only the most probable tokens that hold this probability together, over 0 to 1; None for all.
        seed: any integer; None draws one.

    Raises:
        ConfigError: a value is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"Cannot sample: temperature must be a number >= 0, got {self.temperature!r}.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"Cannot sample: top_k must be an integer >= 1, got {self.top_k!r}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"Cannot sample: top_p must be over 0 and at most 1, got {self.top_p!r}.")


class Sampler:
    """Draws the tokens of one request; its random numbers are its own, so who else runs changes nothing."""

    def __init__(self, options: SamplingOptions) -> None:
        self._options = options
        self._generator: torch.Generator | None = None
        if options.temperature > 0:
            seed = secrets.randbits(63) if options.seed is None else options.seed
            # One uniform number a token, drawn on the CPU: the same on every device.
            self._generator = torch.Generator().manual_seed(seed & _SEED_MASK)

    def sample(self, logits: torch.Tensor) -> int:
        """The next token.

        Args:
            logits: float ``[V]``, any device.

        Raises:
            KittyKvError: the logits hold no largest number (NaN, or -inf everywhere).
        """
        best, index = logits.max(dim=-1)
        if not torch.isfinite(best):
            raise KittyKvError(
                f"Cannot choose a token: the model's largest logit is {best.item()}; "
                "run it with dtype float32 to see whether its numbers overflow."
            )
        if self._generator is None:
            return int(index)
        uniform = torch.rand(1, generator=self._generator, dtype=torch.float64).item()
        return self._draw(logits, best, uniform)

    def _draw(self, logits: torch.Tensor, best: torch.Tensor, uniform: float) -> int:
        # Relative to the largest, so that a small temperature cannot overflow.
        scaled = (logits.double() - best.double()) / self._options.temperature
        count = min(self._options.top_k or scaled.shape[-1], scaled.shape[-1])
        scaled, tokens = scaled.topk(count)  # sorted, largest first
        cumulative = scaled.softmax(-1).cumsum(-1)
        total = cumulative[-1]
        if self._options.top_p is not None:
            # The first token that reaches top_p is still in.
            last = torch.searchsorted(cumulative, self._options.top_p * total).clamp(max=count - 1)
            total = cumulative[last]
        drawn = torch.searchsorted(cumulative, uniform * total, right=True)
        return int(tokens[drawn.clamp(max=count - 1)])
