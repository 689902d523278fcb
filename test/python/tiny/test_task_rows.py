"""Task documents to learn from: what is scored can be known, rows hold whole documents, and equal seeds give equal rows."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import kitty_kv
from kitty_kv.errors import ConfigError
from kitty_kv.sim.windows import EXCERPT, read_text
from kitty_kv.tasks.fitting import sentences
from kitty_kv.tiny.export import load_exported
from kitty_kv.tiny.recipe import make_model
from kitty_kv.tiny.settings import TrainSettings
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


def test_a_model_is_trained_on_tasks_and_gone_on_from(tmp_path):
    shape = {"layers": 1, "hidden_size": 16, "intermediate_size": 16, "heads": 1, "kv_heads": 1, "vocab_size": 700}
    common = {"steps": 1, "rows": 2, "length": 512, "device": "cpu", **shape}
    make_model(EXCERPT, None, tmp_path / "first", TrainSettings(**common), report=lambda line: None)
    lines: list[str] = []
    settings = TrainSettings(**common, task_share=0.5, task_workers=1, initial=str(tmp_path / "first"), dropout=0.0)
    make_model(EXCERPT, None, tmp_path / "second", settings, report=lines.append)
    assert (tmp_path / "second/tokenizer.json").read_text() == (tmp_path / "first/tokenizer.json").read_text()
    first, second = (load_exported(tmp_path / name).state_dict() for name in ("first", "second"))
    changes = [(second[name] - first[name]).abs().max() for name in first]
    # One step of warm-up from the first's weights, not from drawn ones.
    assert 0 < max(changes) < 0.05
    assert any(line.startswith("answered right: passkey@512 ") for line in lines)
    card = (tmp_path / "second/README.md").read_text()
    assert "50.0% of the rows are questions" in card and "| arithmetic | 0% |" in card
    assert (tmp_path / "second/task_curve.csv").read_text().startswith("step,task,length,accuracy\n1,passkey,512,")


def test_going_on_from_what_is_no_model_or_has_no_such_context_is_refused(tmp_path):
    for folder, length, message in (
        (tmp_path, 64, "Cannot go on from the model .*tokenizer.json"),
        (kitty_kv.tiny.MODEL_PATH, 8192, "at length 8192: its context is 4096"),
    ):
        settings = TrainSettings(steps=1, length=length, initial=str(folder), device="cpu")
        with pytest.raises(ConfigError, match=message):
            make_model(EXCERPT, None, tmp_path / "out", settings, report=lambda line: None)
    assert not (tmp_path / "out").exists()
