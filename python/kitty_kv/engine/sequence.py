"""What one session has said and read so far, and how much of it the cache holds."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from typing import Any

from ..errors import ConfigError


class Sequence:
    """Token history over a cache.

    The last sampled token is in the history but not yet in the cache; the next forward pass feeds it first.

    Args:
        model: a causal language model that fills the cache it is called with.
        cache: an empty cache with ``get_seq_length``, ``memory`` and ``reset``.
        context_length: most tokens the model can attend to.
    """

    def __init__(self, model: Any, cache: Any, context_length: int) -> None:
        self.model = model
        self.cache = cache
        self.context_length = context_length
        self.tokens: list[int] = []

    @property
    def unfed(self) -> list[int]:
        """The tokens that the next forward pass must feed."""
        return self.tokens[self.cache.get_seq_length() :]

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self.context_length - len(self.tokens)

    def check_fits(self, prompt: Tokens[int]) -> None:
        """Checks that there is something to go on from, and room for the prompt and one new token.

        Raises:
            ConfigError: ``empty_prompt`` or ``context_exceeded``.
        """
        held, new = len(self.tokens), len(prompt)
        if not new:
            raise ConfigError(
                "Cannot generate: the prompt holds no tokens; give at least one character.", code="empty_prompt"
            )
        if held + new < self.context_length:
            return
        before = f"after the session's {held} tokens " if held else ""
        remedy = "open a new session" if held else "give a shorter prompt"
        raise ConfigError(
            f"Cannot generate: the prompt has {new} tokens, which {before}leaves no room in the model's context of "
            f"{self.context_length}; {remedy}.",
            code="context_exceeded",
            details={"promptTokens": new, "sessionTokens": held, "contextLength": self.context_length},
        )

    def take_back(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens; the cache is emptied, and filled again by the next pass."""
        del self.tokens[length:]
        self.cache.reset()
