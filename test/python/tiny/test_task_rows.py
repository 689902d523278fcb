"""Task documents to learn from: what is scored can be known, rows hold whole documents, and equal seeds give equal rows."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import kitty_kv
from kitty_kv.sim.windows import EXCERPT, read_text
from kitty_kv.tasks.fitting import sentences
from kitty_kv.tiny.task_accuracy import Question, accuracies, draw_questions
from kitty_kv.tiny.task_documents import FAMILIES
from kitty_kv.tiny.task_rows import RowMaker, longest_at
from kitty_kv.tiny.text import Corpus
from kitty_kv.tiny.tokenizer import EOS_ID


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(kitty_kv.tiny.MODEL_PATH / "tokenizer.json"))


@pytest.fixture(scope="module")
def text():
    return sentences(read_text(EXCERPT))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("length", [256, 1024])
def test_every_scored_digit_was_read_before(tokenizer, text, name, length):
    # Of all that is scored, only numbers and names are drawn at random; totals follow from the steps.
    for seed in range(5):
        segments = FAMILIES[name].make(length, random.Random(seed), text)
        whole = "".join(part for part, _ in segments)
        assert abs(len(tokenizer.encode(whole).ids) - length) < 0.5 * length
        before = ""
        for part, is_scored in segments:
            if is_scored and name in ("passkey", "multi_key", "variable_tracking"):
                for number in re.findall(r"\d{5,}", part):  # shorter ones are the text's own
                    assert number in before, (number, name)
            before += part


def test_a_row_holds_whole_documents_with_what_is_not_scored_as_complements(tokenizer, text):
    maker = RowMaker(tokenizer, text)
    row = maker.row(1024, 512, random.Random(0))
    assert row.shape == (1025,)
    tokens = np.where(row < 0, ~row, row)
    assert tokens.min() >= 0 and tokens.max() < tokenizer.get_vocab_size()
    assert 0.1 < (row < 0).mean() < 0.9
    ends = np.flatnonzero(row == EOS_ID)
    assert len(ends) >= 2
    # Each document begins with its family's first words.
    heads = ("Each line", "VAR A", "The list", "Keep the", "There is")
    for begin in (0, *(ends[:-1] + 1)):
        assert tokenizer.decode(tokens[begin : begin + 12]).startswith(heads)
    assert np.array_equal(row, maker.row(1024, 512, random.Random(0)))
    assert not np.array_equal(row, maker.row(1024, 512, random.Random(1)))


def test_documents_grow_to_the_rows_length():
    assert [longest_at(progress, 4096) for progress in (0, 0.2, 0.4, 1)] == [512, 1448, 4096, 4096]
    assert longest_at(0, 256) == 256


def test_an_answer_is_right_when_every_token_of_it_is_the_most_probable(tokenizer, text):
    class Echo:
        """Says each token's successor."""

        training = False

        def __init__(self):
            self.model = lambda ids: torch.nn.functional.one_hot((ids + 1) % 8, 8).float()
            self.model.embed_tokens = type("Embedding", (), {"weight": torch.eye(8)})

        def eval(self): ...

        def train(self, mode): ...

    questions = [Question("a", 4, [1, 2, 3, 4], 2), Question("a", 4, [1, 2, 3, 5], 2), Question("b", 4, [7, 7, 0], 2)]
    assert accuracies(Echo(), questions, 2, autocast=False) == {("a", 4): 0.5, ("b", 4): 1.0}
    drawn = draw_questions(tokenizer, Corpus("text", (" ".join(text),)), 512)
    assert {question.task for question in drawn} == set(FAMILIES)
    assert all(0 < question.begin < len(question.tokens) <= 512 for question in drawn)
