"""How many questions of each task family the plain model answers right, asked along the way of a training.

An answer is right when each of its tokens is the most probable one behind the right ones before it, which is when greedy
decoding would write it.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ..tasks.arithmetic import arithmetic
from ..tasks.copying import copying
from ..tasks.fitting import sentences
from ..tasks.multi_key import multi_key
from ..tasks.passkey import passkey
from ..tasks.variable_tracking import variable_tracking
from .model_definition import TinyModel
from .task_documents import SENTENCE_CHARACTERS
from .text import Corpus

_LENGTHS = (512, 1024, 2048, 4096)
_QUESTIONS = 16
_MAKERS = {
    "passkey": passkey,
    "multi_key": multi_key,
    "variable_tracking": variable_tracking,
    "copying": copying,
    "arithmetic": arithmetic,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Tokens of prompt and answer, the answer's from `begin` on."""

    task: str
    length: int
    tokens: list[int]
    begin: int


def draw_questions(tokenizer: Tokenizer, corpus: Corpus, length: int) -> list[Question]:
    """Some of each family and length up to `length`, filled with `corpus`; the seed is neither training's nor evaluation's."""
    text = sentences(" ".join(corpus.documents), SENTENCE_CHARACTERS)

    def count(prompt: str) -> int:
        return len(tokenizer.encode(prompt).ids)

    found = []
    for task, make in _MAKERS.items():
        for size in (size for size in _LENGTHS if size <= length):
            for index in range(_QUESTIONS):
                chance = random.Random(f"training's questions/{task}/{size}/{index}")
                start = chance.randrange(max(1, len(text) - 300))
                item = make(index, size, chance, text[start : start + 300], count)
                # The line's end is not asked for: with the next document's it may be one token.
                prompt, answer = tokenizer.encode(item.prompt).ids, tokenizer.encode(item.answer.rstrip("\n")).ids
                found.append(Question(task, size, [*prompt, *answer], len(prompt)))
    return found


@torch.no_grad()
def accuracies(
    model: TinyModel, questions: Sequence[Question], rows: int, *, autocast: bool
) -> dict[tuple[str, int], float]:
    """The share answered right of each family and length."""
    embedding = model.model.embed_tokens.weight
    was_training = model.training
    model.eval()
    right: dict[tuple[str, int], list[Tensor]] = collections.defaultdict(list)
    for start in range(0, len(questions), rows):
        some = questions[start : start + rows]
        longest = max(len(question.tokens) for question in some)
        padded = [question.tokens + [0] * (longest - len(question.tokens)) for question in some]
        ids = torch.tensor(padded, device=embedding.device)
        with torch.autocast(embedding.device.type, torch.bfloat16, enabled=autocast):
            hidden = model.model(ids)
            for row, question in enumerate(some):
                end = len(question.tokens)
                chosen = F.linear(hidden[row, question.begin - 1 : end - 1], embedding).argmax(-1)
                right[question.task, question.length].append((chosen == ids[row, question.begin : end]).all())
    model.train(was_training)
    return {key: torch.stack(found).float().mean().item() for key, found in right.items()}
