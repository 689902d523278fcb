"""Book perplexity: a window of a text, every token of it predicted."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError
from .item import Item


def book_windows(text: str, offsets: Sequence[tuple[int, int]], lengths: Sequence[int], items: int) -> list[Item]:
    """Windows spread over a text, the lengths in turn; they overlap where the text is shorter than all together.

    Args:
        offsets: first and last character of each of its tokens.
        lengths: tokens of a window.
        items: how many windows.

    Raises:
        ConfigError: the text is shorter than a window.
    """
    if len(offsets) < max(lengths):
        raise ConfigError(
            f"Cannot measure book perplexity at {max(lengths)} tokens: the text has {len(offsets)}; give a longer text "
            "(--text) or smaller --lengths.",
            code="text_too_short",
            details={"tokens": len(offsets), "length": max(lengths)},
        )
    found = []
    for index in range(items):
        length = lengths[index % len(lengths)]
        start = index * (len(offsets) - length) // max(1, items - 1)
        window = text[offsets[start][0] : offsets[start + length - 1][1]]
        found.append(Item("book_perplexity", index, length, "", window))
    return found
