"""Text from tokens that arrive one at a time.

A token is not a piece of text: a character may need several, and some tokenizers write a token differently next to
another. So a short window of tokens is decoded with and without the new one, and the difference is the new text (the
method of vLLM and text-generation-inference). It is held back while it ends in a character with bytes missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
_PROMPT_WINDOW = 8
_LONGEST_CHARACTER = 4  # bytes, so tokens too
_PENDING_LIMIT = 16

Decode = Callable[[list[int]], str]


class Detokenizer:
    """Incremental decoder of one completion; its chunks put together are the decoded completion.

    Args:
        decode: token ids to text, special tokens left out.
        prompt: the tokens before the completion; their end tells how the first new token is written.
        replacement_ids: the tokens of a U+FFFD that somebody wrote, to tell it from one that stands for missing bytes.
    """

    def __init__(self, decode: Decode, prompt: Sequence[int] = (), replacement_ids: Sequence[int] = ()) -> None:
        self._decode = decode
        self._replacement_ids = list(replacement_ids)
        self._window = list(prompt[-_PROMPT_WINDOW:])
        # Not from the middle of a character: some decoders then give up on all bytes that follow.
        while (text := decode(self._window)).startswith(REPLACEMENT):
            del self._window[0]
        self._known = len(self._window)
        # A text that goes on from the middle of a character has not written it yet.
        self._known_text = text if self._ends_in_written_replacement() else text.rstrip(REPLACEMENT)

    def push(self, token: int) -> str:
        """Takes one token; returns the text that is complete now, often empty."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(REPLACEMENT):
            return self._shed_noise(text) if len(self._window) - self._known > _PENDING_LIMIT else ""
        if len(text) <= len(self._known_text):
            return ""
        new = text[len(self._known_text) :]
        self._advance()
        return new

    def flush(self) -> str:
        """The text held back, at the end of the completion. Bytes that are no whole character are left out."""
        text = self._decode(self._window)
        if text.endswith(REPLACEMENT) and not self._ends_in_written_replacement():
            text = text.rstrip(REPLACEMENT)
        new = text[len(self._known_text) :]
        self._advance()
        return new

    def _advance(self) -> None:
        del self._window[: self._known]
        self._known = len(self._window)
        self._known_text = self._decode(self._window)

    def _shed_noise(self, text: str) -> str:
        """Lets go of bytes that will never be a character, all but the last few, so that the window stays short."""
        for size in range(_LONGEST_CHARACTER, 0, -1):
            head, tail = self._decode(self._window[:-size]), self._decode(self._window[-size:])
            # No character spans a place where the parts decode to the whole.
            if head + tail == text:
                new = head[len(self._known_text) :]
                del self._window[:-size]
                self._known, self._known_text = 0, ""
                return new
        return ""

    def _ends_in_written_replacement(self) -> bool:
        size = len(self._replacement_ids)
        return size > 0 and self._window[-size:] == self._replacement_ids
