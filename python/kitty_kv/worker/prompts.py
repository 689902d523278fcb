"""What a host wants to go on from, text or messages, as the tokens that a session still lacks."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..engine.sequence import Sequence
from ..errors import ConfigError, UnsupportedError
from .models import ServedModel

Message = dict[str, str]

_MARKER = "\u2e28reply\u2e29"


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """Exactly one of the two is given; the empty text goes on from what the session ended with.

    Raises:
        ConfigError: none or both are given.
    """

    text: str | None
    messages: list[Message] | None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.messages is None):
            found = "both" if self.text is not None else "neither"
            raise ConfigError(f"Cannot generate: want either prompt or messages, got {found}; give one of them.")

    def check_history(self, sequence: Sequence | None) -> None:
        """Raises ConfigError ``empty_prompt`` when there is nothing new and no text that was left unfinished."""
        if self.text == "" and (sequence is None or not sequence.unfed):
            raise ConfigError("Cannot generate: the prompt is empty; give at least one character.", code="empty_prompt")

    def check_model(self, model: ServedModel) -> None:
        """Raises UnsupportedError when there are messages and the model has no chat template."""
        if self.messages is not None and model.loaded.tokenizer.chat_template is None:
            raise UnsupportedError(
                "Cannot generate from messages: this model has no chat template; send the text itself as prompt."
            )

    def tokens(self, model: ServedModel, sequence: Sequence, history: list[Message]) -> list[int]:
        """The new tokens after what ``sequence`` holds.

        Args:
            history: the messages so far; the last one is the model's reply, whose tokens the sequence holds.

        Raises:
            ConfigError: the chat template refuses the messages.
        """
        tokenizer = model.loaded.tokenizer
        if self.messages is None:
            # A text that continues another one does not begin a document.
            return _encode(tokenizer, self.text, add_special_tokens=not sequence.tokens)
        ids = _encode(tokenizer, _render_turn(tokenizer, history, self.messages), add_special_tokens=False)
        last = sequence.tokens[-1] if sequence.tokens else None
        # The template closes the model's turn; often the model has done so itself.
        return ids[1:] if last in model.codec.eos_ids and ids[:1] == [last] else ids


def _encode(tokenizer: Any, text: str | None, *, add_special_tokens: bool) -> list[int]:
    return tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]


def _render_turn(tokenizer: Any, history: list[Message], new: list[Message]) -> str:
    """The text to append for ``new``, up to where the model's reply begins."""
    if not history:
        return _render(tokenizer, new)
    # What follows the marker closes the model's turn and opens the next.
    marked = [*history[:-1], {"role": "assistant", "content": _MARKER}, *new]
    _, _, text = _render(tokenizer, marked).rpartition(_MARKER)
    return text


def _render(tokenizer: Any, messages: list[Message]) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    # A template is a program of the model's author and raises what it likes.
    except Exception as error:
        raise ConfigError(
            f"Cannot generate from these messages: the chat template refuses them ({error}); check roles and order."
        ) from error
