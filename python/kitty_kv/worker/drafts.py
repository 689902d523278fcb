"""How a request asks for speculative decoding."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..engine.kv_pool import KvPool
from ..engine.speculation import Speculation
from ..errors import ConfigError
from .models import ServedModel


@dataclasses.dataclass(frozen=True, slots=True)
class DraftModelDrafts:
    """Drafts of a model that must be loaded before it is known how they are made."""

    model: str
    draft_tokens: int

    def speculation(self, pool: KvPool) -> Speculation:
        """With the memory of the loaded model's caches."""
        return Speculation("draft-model", self.draft_tokens, draft_pool=pool)


def speculation_from_wire(fields: dict[str, Any] | None) -> Speculation | DraftModelDrafts | None:
    """What the checked ``speculation`` of a request asks for.

    Raises:
        ConfigError: it names a draft model and another method, or none and that one; or ``ngramMax`` is below ``ngramMin``.
    """
    if fields is None:
        return None
    method, model, ngrams = fields["method"], fields["model"], (fields["ngramMax"], fields["ngramMin"])
    if (method == "draft-model") != (model is not None):
        found = "nothing" if model is None else repr(model)
        wanted = "the draft model's folder or hub id" if model is None else "left out"
        raise ConfigError(
            f"Cannot run generate: with method {method} options.speculation.model must be {wanted}, got {found}.",
            details={"field": "options.speculation.model"},
        )
    if model is not None:
        return DraftModelDrafts(model, fields["draftTokens"])
    if ngrams[0] < ngrams[1]:
        raise ConfigError(
            f"Cannot run generate: options.speculation.ngramMax must be at least ngramMin, {ngrams[1]}, got {ngrams[0]}.",
            details={"field": "options.speculation.ngramMax"},
        )
    return Speculation(method, fields["draftTokens"], *ngrams)


def check_tokenizer(model: ServedModel, draft: ServedModel) -> None:
    """Raises ``ConfigError`` where the draft model's tokens are not the model's."""
    if model.loaded.tokenizer.get_vocab() != draft.loaded.tokenizer.get_vocab():
        raise ConfigError(
            f"Cannot decode speculatively: the tokenizer of the draft model {draft.loaded.name} is not that of "
            f"{model.loaded.name}; use a draft model of the same family."
        )
