"""The offline tasks by name, and their questions: the same for the same seed, whatever preset answers them."""

from __future__ import annotations

import difflib
import pathlib
import random
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from ..hf.loading import LoadedModel
from ..sim.windows import EXCERPT, read_text
from ..tasks.arithmetic import arithmetic
from ..tasks.book_perplexity import book_windows
from ..tasks.copying import copying
from ..tasks.fitting import sentences
from ..tasks.item import Item
from ..tasks.multi_key import multi_key
from ..tasks.passkey import passkey
from ..tasks.variable_tracking import variable_tracking
from .paper_tasks import PAPER_TASKS

ASKED = {"passkey": passkey, "multi_key": multi_key, "variable_tracking": variable_tracking}
WRITTEN = {"copying": copying, "arithmetic": arithmetic}
BOOK = "book_perplexity"
TASKS = (*ASKED, *WRITTEN, BOOK)
GROUP = "offline"
SHORTEST = 512


def resolve_tasks(names: Sequence[str], others_known: bool = False) -> list[str]:
    """Task names without doubles, ``offline`` standing for all of ours; those of the harness stay as they are.

    Args:
        others_known: whether the harness is here to say which other names there are.

    Raises:
        ConfigError: there is none, or one cannot be a task's.
    """
    if not names:
        raise ConfigError(f"Cannot evaluate: no task is named; give {GROUP}, or some of {', '.join(TASKS)}.")
    found: dict[str, None] = {}
    for name in names:
        if name not in (GROUP, *TASKS, *PAPER_TASKS) and (not others_known or _is_misspelt(name)):
            nearest = difflib.get_close_matches(name.lower(), [*TASKS, GROUP, *PAPER_TASKS], n=1, cutoff=0.5)
            hint = f", did you mean {nearest[0]!r}? The" if nearest else "; the"
            others = (
                ""
                if others_known
                else "; lm-evaluation-harness, which has others, is not here in the version that is wanted"
            )
            raise ConfigError(
                f"Cannot evaluate task {name!r}: it is unknown{hint} tasks are {', '.join(TASKS)}, {GROUP} for all of these, "
                f"and {', '.join(PAPER_TASKS)}{others}.",
                code="unknown_task",
                details={"task": name, "known": [*TASKS, GROUP, *PAPER_TASKS]},
            )
        found.update(dict.fromkeys(TASKS if name == GROUP else [name]))
    return list(found)


def _is_misspelt(name: str) -> bool:
    """Whether it is one of ours but for dashes and the like."""
    return _letters(name) in map(_letters, (GROUP, *TASKS, *PAPER_TASKS))


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def check_lengths(lengths: Sequence[int], loaded: LoadedModel) -> None:
    """Checks that the model's context takes questions of such lengths.

    Raises:
        ConfigError: it does not, or one is too short for a question.
    """
    if not lengths or min(lengths) < SHORTEST:
        raise ConfigError(
            f"Cannot evaluate at lengths {', '.join(map(str, lengths)) or 'none'}: questions take {SHORTEST} tokens or more."
        )
    if max(lengths) > loaded.context_length:
        raise ConfigError(
            f"Cannot evaluate at {max(lengths)} tokens: the context of {loaded.name} is {loaded.context_length}; give smaller "
            "--lengths.",
            code="context_exceeded",
            details={"length": max(lengths), "contextLength": loaded.context_length},
        )


def make_items(
    names: Sequence[str], tokenizer: Any, lengths: Sequence[int], items: int, seed: int, text: pathlib.Path | None
) -> list[Item]:
    """``items`` questions of each task, the lengths in turn.

    Args:
        tokenizer: of the model that answers, in whose tokens lengths are.
        text: what fills prompts and is measured; None for the excerpt of Treasure Island.

    Raises:
        ConfigError: the text is unreadable or too short.
    """
    book = read_text(text or EXCERPT)
    filler = sentences(book)

    def count(prompt: str) -> int:
        return len(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])

    found: list[Item] = []
    for name in names:
        if name == BOOK:
            encoded = tokenizer(book, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
            found += book_windows(book, encoded["offset_mapping"], lengths, items)
            continue
        make = {**ASKED, **WRITTEN}[name]
        for index in range(items):
            length = lengths[index % len(lengths)]
            # A string seeds alike in every process and version of Python.
            chance = random.Random(f"{seed}/{name}/{index}/{length}")
            found.append(make(index, length, chance, filler, count))
    return found
