"""The parts of the recipe: reading, segmenting, packing, learning and measuring, each held to its own claim."""

from __future__ import annotations

import lzma
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

import kitty_kv
from kitty_kv.errors import ConfigError
from kitty_kv.tiny.evaluate import Windows, bits_per_byte, windows
from kitty_kv.tiny.export import export_model, load_exported
from kitty_kv.tiny.model_definition import IGNORED, ModelShape, TinyModel
from kitty_kv.tiny.optimizer import learning_rate_factor, orthogonalize
from kitty_kv.tiny.recipe import make_model
from kitty_kv.tiny.segmentation import Segmenter, cut
from kitty_kv.tiny.settings import TrainSettings
from kitty_kv.tiny.source import batches, packed_rows
from kitty_kv.tiny.text import Corpus, hold_out, read_corpus
from kitty_kv.tiny.tokenizer import BYTES_ONLY, EOS_ID, byte_ids, train_tokenizer
from kitty_kv.tiny.train import main

TEXT = "“It’s 1812,” said the old man; the older men didn't answer.\n\n  He'd counted 12,345 — naïve!\r\n" * 40
SHAPE = ModelShape(
    vocab_size=300, intermediate_size=48, hidden_size=32, layers=2, heads=4, kv_heads=2, max_positions=64
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([TEXT], 300)


def random_model(shape: ModelShape = SHAPE) -> TinyModel:
    """Every weight non-zero and exact in bfloat16, so that an export loses nothing."""
    generator = torch.Generator().manual_seed(0)
    model = TinyModel(shape).eval()
    for parameter in model.parameters():
        parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.3).bfloat16().float()
    return model


def test_exported_checkpoint_computes_the_plain_models_logits_in_transformers(tmp_path, tokenizer):
    model = random_model()
    export_model(model, tokenizer, tmp_path)
    stock = Qwen3ForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.float32).eval()
    ids = torch.randint(0, SHAPE.vocab_size, (2, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found, reread = model(ids), stock(ids).logits, load_exported(tmp_path).eval()(ids)
    assert expected.std() > 0.1
    assert torch.equal(reread, expected)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert sum(parameter.numel() for parameter in stock.parameters()) == SHAPE.parameters


def test_plain_segmentation_equals_the_tokenizer(tokenizer):
    pieces, (numbers,) = cut((TEXT,))
    segmenter = Segmenter(tokenizer, pieces, np.bincount(numbers), dropout=0.1, seed=0)
    assert segmenter.encode(numbers, 0.0, np.random.default_rng(0)).tolist() == [*tokenizer.encode(TEXT).ids, EOS_ID]


def test_dropout_segmentation_varies_spells_the_same_text_and_repeats_with_its_seed(tokenizer):
    pieces, (numbers,) = cut((TEXT,))
    drawn = []
    for seed in (0, 0, 1):
        segmenter = Segmenter(tokenizer, pieces, np.bincount(numbers), dropout=0.3, seed=seed)
        drawn.append(segmenter.encode(numbers, 1.0, np.random.default_rng(seed)).tolist())
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert len(drawn[0]) > len(tokenizer.encode(TEXT).ids) + 1
    assert tokenizer.decode(drawn[0][:-1]) == TEXT


@pytest.mark.parametrize("size", [BYTES_ONLY, 300])
def test_tokenizer_has_every_byte_and_splits_digits_one_by_one(size):
    tokenizer = train_tokenizer([TEXT], size)
    assert len(set(byte_ids(tokenizer)) - {EOS_ID}) == 256
    assert len(tokenizer.encode("1234567890").ids) == 10
    spelled = tokenizer.encode("🐈 漢字 \x00\ufeff\u2028 e\u0301").ids
    assert tokenizer.decode(spelled) == "🐈 漢字 \x00\ufeff\u2028 e\u0301"


def test_corpus_is_split_at_separator_lines_only(tmp_path):
    path = tmp_path / "text.txt.xz"
    path.write_bytes(lzma.compress(b"one\n<|endoftext|>\ntwo <|endoftext|> still two\n<|endoftext|>\n"))
    assert read_corpus(path).documents == ("one\n", "two <|endoftext|> still two\n")


def test_hold_out_keeps_the_end_back_at_a_line_and_loses_nothing():
    corpus = Corpus("text", tuple("".join(f"{book}.{line} words\n" for line in range(50)) for book in range(4)))
    kept, held_out = hold_out(corpus, 0.3)
    assert "".join(kept.documents) + "".join(held_out.documents) == "".join(corpus.documents)
    assert kept.documents[-1].endswith("\n")
    assert held_out.size_bytes / corpus.size_bytes == pytest.approx(0.3, abs=0.02)


class Counting:
    """A source by hand: one document 0, 1, 2, …; anything with `documents` can be trained on."""

    def documents(self, epoch, progress):
        yield np.arange(1000, dtype=np.uint16)


def test_rows_are_runs_of_the_stream_that_meet_end_to_end_and_move_with_the_pass():
    first, again, second = (packed_rows(Counting(), 64, epoch, 0.0, seed=5) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(np.sort(first[:, 0]), np.sort(second[:, 0]))
    assert (np.diff(first.astype(int), axis=1) == 1).all()
    assert (np.diff(np.sort(first[:, 0].astype(int))) == 64).all()


def test_batches_go_on_into_the_next_pass():
    stream = batches(Counting(), 64, 10, 0, lambda: 0.0)
    drawn = [next(stream) for _ in range(6)]
    stream.close()
    assert [rows.shape for _, rows in drawn] == [(10, 65)] * 6
    assert [epoch for epoch, _ in drawn][-1] >= 3


def test_bits_per_byte_of_a_model_that_knows_nothing_is_the_cost_of_a_uniform_choice(tokenizer):
    model = TinyModel(SHAPE)
    torch.nn.init.zeros_(model.model.embed_tokens.weight)
    corpus = Corpus("text", (TEXT, TEXT))
    text = windows(tokenizer, corpus, 64)
    assert text.size_bytes == corpus.size_bytes
    assert text.tokens == 2 * (len(tokenizer.encode(TEXT).ids) + 1)
    expected = text.tokens * math.log2(SHAPE.vocab_size) / text.size_bytes
    assert bits_per_byte(model, text, rows=7) == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_does_not_depend_on_how_many_windows_are_read_at_once(tokenizer):
    model, text = random_model(), windows(tokenizer, Corpus("text", (TEXT,)), 64)
    assert (text.targets == IGNORED).sum() == text.targets.numel() - text.tokens
    assert bits_per_byte(model, text, rows=1) == pytest.approx(bits_per_byte(model, text, rows=8), rel=1e-5)
    halves = [
        Windows(text.inputs[part], text.targets[part], text.size_bytes, text.tokens)
        for part in (slice(0, 3), slice(3, None))
    ]
    assert sum(bits_per_byte(model, half, rows=4) for half in halves) == pytest.approx(
        bits_per_byte(model, text, rows=4), rel=1e-5
    )


@pytest.mark.parametrize("shape", [(3, 48, 32), (2, 32, 48), (1, 40, 40)])
def test_orthogonalize_brings_singular_values_near_one_and_keeps_the_singular_vectors(shape):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    core = left.mT @ orthogonalize(drawn) @ right.mT
    diagonal = core.diagonal(dim1=1, dim2=2)
    assert (diagonal > 0.3).all()
    assert (diagonal < 1.3).all()
    assert (core - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_learning_rate_warms_up_stays_flat_and_falls_to_zero():
    settings = TrainSettings(steps=100, warmup_steps=10, decay_share=0.5)
    factors = [learning_rate_factor(step, step / 100, settings) for step in (0, 9, 40, 75, 100)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_default_sizes_fill_the_limit_and_what_exceeds_it_is_refused():
    size = 2 * TrainSettings(steps=1).model_shape(4096).parameters
    assert 24_500_000 < size <= 24_700_000
    with pytest.raises(ConfigError, match="25,000,000"):
        TrainSettings(steps=1, intermediate_size=2048).model_shape(4096)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("words " * 200, ["--steps", "1", "--length", "4096"], "give a longer text or a smaller --length"),
        ("x", ["--steps", "1"], "too short"),
        (b"\xff\xfe\x00", ["--steps", "1"], "not UTF-8"),
        ("words", ["--steps", "1", "--minutes", "1"], "not both"),
        ("words", ["--steps", "0"], "--steps must be from 1"),
        ("words", ["--steps", "1", "--optimizer", "sgd"], "muon, adamw"),
        ("words", ["--steps", "1", "--heads", "3", "--kv-heads", "2"], "multiple of --kv-heads"),
    ],
)
def test_refusals_say_in_one_sentence_what_to_do_and_leave_nothing(tmp_path, capsys, content, options, said):
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["--text", str(text), "--out", str(out), "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.parametrize("name", ["broken.xz", "folder"])
def test_unreadable_text_is_refused(tmp_path, capsys, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"not xz at all")
    assert main(["--text", str(path), "--out", str(tmp_path / "out"), "--steps", "1"]) == 2
    assert name in capsys.readouterr().err


def test_importing_the_package_loads_neither_torch_nor_tokenizers():
    code = "import sys, kitty_kv.tiny; print([m for m in ('torch', 'tokenizers', 'transformers') if m in sys.modules])"
    folder = Path(kitty_kv.__file__).parent.parent
    outcome = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_training_learns_repeats_itself_and_writes_a_model_that_transformers_loads(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"On day {day} the cat sat on the mat and was not at all sorry.\n" for day in range(1000)))
    sizes = {"layers": 1, "hidden_size": 32, "heads": 2, "kv_heads": 1, "intermediate_size": 32, "vocab_size": 300}
    settings = TrainSettings(steps=12, device="cpu", length=64, rows=2, warmup_steps=2, **sizes)
    curves, bits = [], []
    for name in ("first", "second"):
        bits.append(make_model(text, None, tmp_path / name, settings, report=lambda line: None))
        header, *rows = [line.split(",") for line in (tmp_path / name / "curve.csv").read_text().splitlines()]
        seconds = header.index("seconds")
        curves.append([[cell for i, cell in enumerate(row) if i != seconds] for row in rows])
    assert curves[0] == curves[1]
    assert bits[0] == bits[1]
    loss = header.index("loss")
    assert float(rows[-1][loss]) < 0.9 * float(rows[0][loss])
    assert Qwen3ForCausalLM.from_pretrained(tmp_path / "first").config.head_dim == 128
    assert "## What it writes" in (tmp_path / "first" / "README.md").read_text()
