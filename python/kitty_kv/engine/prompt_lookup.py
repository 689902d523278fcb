"""Drafts from the text itself: what followed the latest tokens when they came up before."""

from __future__ import annotations

import array
from collections.abc import Sequence

_BYTES = array.array("i").itemsize


class PromptLookup:
    """Finds the latest earlier place of the last ``ngram_max`` tokens, or of fewer, down to ``ngram_min``.

    The tokens of one generation only grow, so they are kept as bytes, where a place is found at memory speed.

    Source: Saxena, "Prompt Lookup Decoding", 2023.
    """

    def __init__(self, ngram_max: int, ngram_min: int) -> None:
        self._sizes = range(ngram_max, ngram_min - 1, -1)
        self._bytes = bytearray()

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to ``count`` tokens that may follow ``tokens``; none where nothing came up before.

        A place so near the end that fewer tokens follow it goes on with the draft itself: what repeats goes on to repeat.
        """
        self._bytes += array.array("i", tokens[len(self._bytes) // _BYTES :]).tobytes()
        for size in self._sizes:
            after = self._find(size) if size < len(tokens) else None
            if after is not None:
                period = len(tokens) - after
                return [tokens[after + at % period] for at in range(count)]
        return []

    def _find(self, size: int) -> int | None:
        """Index of the token behind the latest earlier place of the last ``size`` tokens."""
        wanted = self._bytes[-size * _BYTES :]
        end = len(self._bytes) - _BYTES  # a token must follow
        while (at := self._bytes.rfind(wanted, 0, end)) % _BYTES and at >= 0:
            # Across the border of two tokens.
            end = at + len(wanted) - 1
        return at // _BYTES + size if at >= 0 else None
