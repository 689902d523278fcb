"""The drafts of one generation: how long they may be, what is pending, how much of them came true."""

from __future__ import annotations

from collections.abc import Sequence as Many

from ..errors import UnsupportedError
from .passes import can_feed_ahead
from .prompt_lookup import PromptLookup
from .sequence import Sequence
from .speculation import Draft, Speculation


class Speculator:
    """Only the engine's thread calls its methods.

    A draft is made once for a place in the text and stays until the text has gone another way: a pass that lacks memory, a
    preemption or a reader who waits for no more tokens may put off the rest of it, but changes no text of a seed.

    Args:
        options: how drafts are made.
        sequence: whose text goes on.

    Raises:
        UnsupportedError: the model's cache takes no pass of several tokens that can be taken back exactly.
    """

    def __init__(self, options: Speculation, sequence: Sequence) -> None:
        if not can_feed_ahead(sequence):
            raise UnsupportedError(
                "Cannot decode speculatively: a model with sliding-window layers, or under a stock attention function, cannot "
                'verify a draft in one pass; generate with speculation method "none".'
            )
        self.options = options
        self.draft: Draft | None = None
        self.drafted = 0
        self.accepted = 0
        self._sequence = sequence
        self._agreed = 0  # tokens of a draft that were chosen and are yet to be taken
        self._lookup = PromptLookup(options.ngram_max, options.ngram_min)

    def limit(self, tokens_left: int) -> int:
        """Most tokens of a draft made now; 0 where none is to be made.

        Args:
            tokens_left: how many tokens the generation may still write, one at least.
        """
        sequence = self._sequence
        if self.draft is not None or sequence.unfed != 1 or sequence.is_replaying:
            return 0
        return min(self.options.draft_tokens, sequence.most_ahead() - 1, tokens_left - 1)

    def look_up(self, count: int) -> None:
        """Drafts from the text itself."""
        self.take(Draft(self._lookup.propose(self._sequence.tokens, count)))

    def take(self, draft: Draft) -> None:
        """Takes a draft of what follows the text."""
        if draft.tokens:
            self.draft = draft
            self.drafted += len(draft.tokens)

    def ahead(self, most: int) -> list[int]:
        """Up to ``most`` tokens of the draft, to feed behind the text's last token."""
        is_at_draft = self.draft is not None and self._sequence.unfed == 1 and not self._sequence.is_replaying
        return self.draft.tokens[:most] if is_at_draft else []

    def settle(self, tokens: Many[int]) -> None:
        """Says which tokens came next; what the draft says of those behind them stays only if it was right so far."""
        draft, self.draft = self.draft, None
        drafted = [] if draft is None else draft.tokens
        agreed = (at for at, pair in enumerate(zip(tokens, drafted, strict=False)) if pair[0] != pair[1])
        self._agreed = next(agreed, min(len(tokens), len(drafted)))
        if draft is not None and self._agreed == len(tokens) <= len(drafted):
            # Where nothing is left of it the model's own token is still to follow, as it does behind a draft fed at once.
            self.draft = draft.behind(len(tokens))

    def count_taken(self) -> None:
        """Says that the next of the tokens last settled became text."""
        self.accepted += self._agreed > 0
        self._agreed -= self._agreed > 0
