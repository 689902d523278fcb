"""What a model made of one question."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of one item under one preset; a field is None where the task has no such thing.

    Args:
        is_correct: whether the answer is right.
        score: the share of the answer that is right up to its first error, 0 to 1.
        nats: negative log-likelihood of the answer.
        answer_tokens: tokens that ``nats`` is the sum over, or that were written.
        answer_bytes: UTF-8 bytes of the answer.
        text: what the model wrote.
        prompt_tokens: tokens before the answer.
        packed_bytes: of quantized pages that the cache held in the end.
        compression: of that cache.
        metrics: all that a task of the harness says of the answer, by ``metric,filter``.
    """

    is_correct: bool | None
    score: float | None
    nats: float | None
    answer_tokens: int
    answer_bytes: int
    text: str | None
    prompt_tokens: int
    packed_bytes: int
    compression: float
    metrics: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = dataclasses.asdict(self)
        if self.metrics is None:
            del found["metrics"]
        return found
