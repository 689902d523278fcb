"""What one session has said and read so far, and how much of it the cache holds."""

from __future__ import annotations

import time
from collections.abc import Sequence as Tokens
from typing import TYPE_CHECKING, Any

from ..cache.geometry import SHORT_CALL, UNDO_TOKENS
from ..errors import ConfigError

if TYPE_CHECKING:
    from .kv_pool import KvPool

CHUNK_TOKENS = 512


class Sequence:
    """Token history over a cache.

    The last sampled token is in the history but not yet in the cache; the next forward pass feeds it first. How many tokens
    each pass took is remembered: tokens of one pass see each other in full precision, so a cache that is filled again by the
    same passes holds the same to the bit, and one that is filled otherwise need not.

    Args:
        model: a causal language model that fills the cache it is called with.
        cache: an empty cache with ``get_seq_length``, ``memory`` and ``reset``.
        context_length: most tokens the model can attend to.
        pool: whose memory the cache shares; None where it has its own.
        chunk_tokens: most tokens that one pass takes. It belongs to the sequence, so that load cannot change a result.
    """

    def __init__(
        self,
        model: Any,
        cache: Any,
        context_length: int,
        pool: KvPool | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> None:
        self.model = model
        self.cache = cache
        self.context_length = context_length
        self.pool = pool
        self.chunk_tokens = chunk_tokens
        self.tokens: list[int] = []
        self.is_busy = False  # a generation runs on it
        self.draft: Sequence | None = None  # the same tokens on a draft model, where one was used
        self.last_used = time.monotonic()
        self._passes: list[int] = []
        self._next_pass = 0

    @property
    def held(self) -> int:
        """How many tokens the cache holds."""
        return self.cache.get_seq_length()

    @property
    def unfed(self) -> int:
        """How many tokens the cache still lacks."""
        return len(self.tokens) - self.held

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self.context_length - len(self.tokens)

    @property
    def is_replaying(self) -> bool:
        """Whether the next pass is one that a dropped cache had taken before."""
        return self._next_pass < len(self._passes)

    def next_pass(self) -> list[int]:
        """The tokens that the next pass must feed."""
        held = self.held
        size = self._passes[self._next_pass] if self.is_replaying else min(self.chunk_tokens, len(self.tokens) - held)
        return self.tokens[held : held + size]

    def note_pass(self, size: int) -> None:
        """Says that a pass has fed ``size`` tokens."""
        if not self.is_replaying:
            self._passes.append(size)
        self._next_pass += 1
        self.last_used = time.monotonic()

    def note_passes(self, count: int) -> None:
        """Says that ``count`` passes of one token each, or what equals them, have fed tokens."""
        for _ in range(count):
            self.note_pass(1)

    def most_ahead(self) -> int:
        """How many tokens the next pass may feed so that it equals as many passes of one token and can be taken back.

        A page that a token completes is read quantized by the token after it, but in full precision inside their pass.
        """
        to_packing = (shape.tokens_to_packing(self.held) for shape in self.cache.pages.geometry)
        return min(SHORT_CALL, UNDO_TOKENS, *(count for count in to_packing if count is not None))

    def crop(self, length: int) -> None:
        """Takes back what the last pass has fed behind ``length`` tokens; exact for up to ``UNDO_TOKENS``."""
        lost = self.held - length
        if lost > 0:
            self.cache.crop(length)
            del self._passes[-lost:]
            self._next_pass -= lost
        if self.draft is not None:
            self.draft.crop(length)

    def whole_chunks(self) -> int:
        """How many chunks the cache holds, if it holds whole chunks from the first token on and nothing else; else 0."""
        passes = self._passes[: self._next_pass]
        return len(passes) if all(size == self.chunk_tokens for size in passes) else 0

    def shareable_chunks(self) -> int:
        """How many whole chunks an empty cache may take over from another of the same tokens; the last token stays to feed."""
        most = (len(self.tokens) - 1) // self.chunk_tokens
        known = next((at for at, size in enumerate(self._passes) if size != self.chunk_tokens), len(self._passes))
        # Only where no pass was taken otherwise before.
        return most if known == len(self._passes) else known

    def passes(self) -> dict[str, Any]:
        """How many tokens each pass took, and how many of the passes the cache holds; for a file of it."""
        return {"passes": list(self._passes), "nextPass": self._next_pass}

    def restore_passes(self, passes: list[int], next_pass: int) -> None:
        """Takes what ``passes()`` told; the caller has checked that it fits the tokens and the cache."""
        self._passes, self._next_pass = passes, next_pass

    def take_over(self, cache: Any, chunks: int) -> None:
        """Takes a cache that holds the first ``chunks`` whole chunks."""
        self.cache.reset()
        self.cache = cache
        self._passes[:chunks] = [self.chunk_tokens] * chunks
        self._next_pass = chunks

    def drop(self) -> None:
        """Empties the cache, which the same passes fill again, and that of the draft model."""
        self.cache.reset()
        self._next_pass = 0
        if self.draft is not None:
            self.draft.take_back(0)

    def close_draft(self) -> None:
        """Forgets the draft model and gives back what its cache holds."""
        draft, self.draft = self.draft, None
        if draft is not None:
            draft.pool.close(draft)

    def check_fits(self, prompt: Tokens[int]) -> None:
        """Checks that there is something to go on from, and room for the prompt and one new token.

        Raises:
            ConfigError: ``empty_prompt`` or ``context_exceeded``.
        """
        held, new = len(self.tokens), len(prompt)
        # The last token of a text that was left unfinished is still to be fed.
        if not new and not self.unfed:
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
        """Forgets all but the first ``length`` tokens; the cache is emptied, and filled again by the next passes."""
        del self.tokens[length:]
        fed = sum(self._passes)
        while fed > length:
            fed -= self._passes.pop()
        self.drop()
