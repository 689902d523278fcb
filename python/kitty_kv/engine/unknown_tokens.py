"""Tokens that a device has been told to choose and that nobody here has waited for: the next pass reads them where they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from .batch_sampling import QueuedTokens, index_on, queue_sampling
from .generation import Generation
from .sampling import SamplerAhead


@dataclasses.dataclass(frozen=True, slots=True)
class UnknownTokens:
    """The next token of each of ``group``."""

    group: list[Generation]
    tokens: QueuedTokens

    @classmethod
    def after(cls, logits: torch.Tensor, group: list[Generation]) -> UnknownTokens:
        """Has them chosen from logits ``[N, V]``; all of ``group`` fulfil ``may_run_ahead``."""
        samplers = [generation.sampler for generation in group]
        # Numbers are drawn for good only once nothing can fail any more.
        tokens = queue_sampling(logits, [SamplerAhead(sampler, ()) for sampler in samplers])
        for sampler in samplers:
            sampler.skip(1)
        return cls(group, tokens)

    def of(self, rows: Sequence[int]) -> torch.Tensor:
        """Those of some rows, int64 ``[n]`` on the device."""
        tokens = self.tokens.tokens
        return tokens if len(rows) == len(self.group) else tokens[index_on(rows, tokens.device)]


def gains_by_it(group: Sequence[Generation]) -> bool:
    """Whether their model's device works while the host goes on."""
    return not group[0].is_on_cpu


def may_run_ahead(group: Sequence[Generation], fed: Sequence[Sequence[int]], is_wanted: bool | None) -> bool:
    """Whether the pass after one that fed each of ``group`` these tokens can be launched without knowing what it chose.

    Args:
        group, fed: who, and the tokens of each.
        is_wanted: None for where there is something to gain.
    """
    return (gains_by_it(group) if is_wanted is None else is_wanted) and all(
        len(tokens) == 1
        and generation.speculator is None
        and not generation.sampler.needs_tokens
        and generation.has_all_fed
        for generation, tokens in zip(group, fed, strict=True)
    )
