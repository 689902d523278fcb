"""What drafts tokens ahead of the model, and what a draft is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, get_args

import torch

from ..cache.geometry import SHORT_CALL
from ..errors import ConfigError

if TYPE_CHECKING:
    from .kv_pool import KvPool

Method = Literal["none", "prompt-lookup", "draft-model"]
# The model's own token goes with a draft, and together they attend straight to the cache.
MAX_DRAFT_TOKENS = SHORT_CALL - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding: tokens are drafted cheaply, one pass of the model verifies them, and the text is what it would be.

    Args:
        method: ``prompt-lookup`` repeats what followed the latest tokens when they last came up in prompt or text;
            ``draft-model`` asks a smaller model; ``none`` decodes one token a pass.
        draft_tokens: most tokens of a draft, 1 to ``MAX_DRAFT_TOKENS``.
        ngram_max, ngram_min: of ``prompt-lookup``: how many of the latest tokens must have come up before, the longest
            match first.
        draft_pool: of ``draft-model``: memory of the draft model's caches, and the model, of the same vocabulary.

    Raises:
        ConfigError: a value is out of range, or ``draft_pool`` and ``method`` do not belong together.
    """

    method: Method
    draft_tokens: int = 5
    ngram_max: int = 4
    ngram_min: int = 2
    draft_pool: KvPool | None = None

    def __post_init__(self) -> None:
        methods = get_args(Method)
        _check("method", self.method, self.method in methods, f"one of {', '.join(methods)}")
        is_count = 1 <= self.draft_tokens <= MAX_DRAFT_TOKENS
        _check("draft_tokens", self.draft_tokens, is_count, f"an integer from 1 to {MAX_DRAFT_TOKENS}")
        _check("ngram_min", self.ngram_min, self.ngram_min >= 1, "an integer >= 1")
        _check("ngram_max", self.ngram_max, self.ngram_max >= self.ngram_min, f"at least ngram_min, {self.ngram_min}")
        needs_pool = self.method == "draft-model"
        wanted = "a KvPool of the draft model" if needs_pool else f"left out with method {self.method}"
        _check("draft_pool", self.draft_pool, (self.draft_pool is not None) == needs_pool, wanted)


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may come next; ``probabilities``, float64 ``[n, V]``, by which they were drawn, None where by no chance."""

    tokens: list[int]
    probabilities: torch.Tensor | None = None

    def behind(self, count: int) -> Draft:
        """All but the first ``count`` tokens."""
        return Draft(self.tokens[count:], None if self.probabilities is None else self.probabilities[count:])


def _check(name: str, value: object, is_valid: bool, wanted: str) -> None:
    if not is_valid:
        raise ConfigError(f"Cannot decode speculatively: {name} must be {wanted}, got {value!r}.")
