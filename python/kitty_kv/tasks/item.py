"""One question of a task."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A question with its right answer.

    Args:
        task: its name.
        index: its number in the task; with the task, the seed and the length it determines all else.
        length: most tokens of prompt and answer together.
        prompt: what the model reads; empty where all of ``answer`` is to be predicted.
        answer: what it should write, with the space or line break that comes before.
    """

    task: str
    index: int
    length: int
    prompt: str
    answer: str

    @property
    def name(self) -> str:
        """Its name within one run."""
        return f"{self.task}/{self.index}"

    def describe(self) -> dict[str, Any]:
        """As a record begins; a window of a text is as long as its length says, and not written down."""
        about = {"item": self.name, "task": self.task, "length": self.length}
        return about if self.prompt == "" else {**about, "answer": self.answer}
