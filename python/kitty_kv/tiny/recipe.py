"""The whole recipe: text in, model folder out."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from tokenizers import Tokenizer

from ..errors import ConfigError
from .curve import write_csv, write_svg
from .evaluate import Windows, bits_per_byte, windows
from .export import export_model, load_exported
from .loop import Trainer, TrainResult
from .model_card import RunRecord, model_card
from .model_definition import TinyModel
from .sample import sample
from .settings import MODEL_LIMIT_BYTES, TrainSettings
from .source import TextSource
from .task_accuracy import draw_questions
from .task_rows import task_rows
from .text import Corpus, excerpt, hold_out, read_corpus
from .tokenizer import load_tokenizer, train_tokenizer

_PROMPT = "It was a dark night, and the old man"
_TRAIN_SAMPLE_CHARACTERS = 400_000


def make_model(
    text: Path,
    valid: Path | None,
    out: Path,
    settings: TrainSettings,
    *,
    started: float | None = None,
    report: Callable[[str], None] = print,
) -> float:
    """Train on `text`, write the model's folder to `out`, and return its bits per byte on `valid`.

    Args:
        valid: validation text; None keeps back the last 5% of `text`.
        out: folder to write; its files appear only when the run has succeeded.
        started: `time.monotonic()` from which `settings.minutes` counts; None means now.
        report: receives progress, one line at a time.

    Raises:
        ConfigError: a file, a setting or the text's size is wrong; the message says what to do.
    """
    started = time.monotonic() if started is None else started
    device = _device(settings.device)
    if out.exists() and not out.is_dir():
        raise ConfigError(f'Cannot write the model to "{out}": it is a file; give a folder as --out')
    data = _prepare(text, valid, settings)
    source = TextSource(data.train, data.tokenizer, settings.bpe_dropout, settings.plain_from, settings.seed)
    model = _first_model(data, settings).to(device)
    shape = model.shape
    is_compiled = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    if is_compiled:
        model.compile_parts()
    report(
        f"{data.train.size_bytes:,} bytes to learn, {data.valid.size_bytes:,} to validate, {shape.vocab_size} tokenizer "
        f"entries, {shape.parameters:,} parameters, {'compiled' if is_compiled else 'not compiled'}, on "
        f"{_hardware(device)}; {time.monotonic() - started:.0f} s to prepare"
    )
    torch.manual_seed(settings.seed)
    tasks, questions = None, []
    if settings.task_share:
        tasks = functools.partial(
            task_rows, text, data.tokenizer, settings.length, settings.seed, settings.task_workers
        )
        questions = draw_questions(data.tokenizer, data.valid, settings.length)
    trainer = Trainer(
        model, source, data.valid_windows, data.train_windows, settings, started, report, tasks, questions
    )
    result = trainer.run()
    return _finish(model, data, settings, result, out, started, report)


def _first_model(data: _Data, settings: TrainSettings) -> TinyModel:
    """With drawn weights, or with those of the model to go on from."""
    if settings.initial is not None:
        model = load_exported(Path(settings.initial), settings.dropout)
        if model.shape.max_positions < settings.length:
            raise ConfigError(
                f'Cannot go on from the model "{settings.initial}" at length {settings.length}: its context is '
                f"{model.shape.max_positions}; give a smaller --length"
            )
        return model
    model = TinyModel(settings.model_shape(data.tokenizer.get_vocab_size()), settings.dropout)
    model.initialize(settings.seed)
    return model


@dataclass(frozen=True)
class _Data:
    train: Corpus
    valid: Corpus
    tokenizer: Tokenizer
    train_windows: Windows
    valid_windows: Windows


def _prepare(text: Path, valid: Path | None, settings: TrainSettings) -> _Data:
    train_corpus = read_corpus(text)
    if valid:
        valid_corpus = read_corpus(valid)
    else:
        train_corpus, valid_corpus = hold_out(train_corpus)
    if settings.initial is None:
        tokenizer = train_tokenizer(train_corpus.documents, settings.vocab_size)
    else:
        tokenizer = load_tokenizer(Path(settings.initial))
    train_sample = excerpt(train_corpus, _TRAIN_SAMPLE_CHARACTERS)
    return _Data(
        train=train_corpus,
        valid=valid_corpus,
        tokenizer=tokenizer,
        train_windows=windows(tokenizer, train_sample, settings.length),
        valid_windows=windows(tokenizer, valid_corpus, settings.length),
    )


def _finish(
    model: TinyModel,
    data: _Data,
    settings: TrainSettings,
    result: TrainResult,
    out: Path,
    started: float,
    report: Callable[[str], None],
) -> float:
    """Export, measure what was exported, write curve and card, and move all of it into place."""
    device = model.model.embed_tokens.weight.device
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kitty-kv-tiny-", dir=out.parent) as name:
        folder = Path(name)
        export_model(model, data.tokenizer, folder)
        weights_bytes = sum((folder / part).stat().st_size for part in ("model.safetensors", "tokenizer.json"))
        if weights_bytes > MODEL_LIMIT_BYTES:
            raise ConfigError(
                f"Cannot export the model: weights and tokenizer take {weights_bytes:,} bytes, at most "
                f"{MODEL_LIMIT_BYTES:,} are allowed; make the model smaller"
            )
        exported = load_exported(folder).to(device)
        bits = bits_per_byte(exported, data.valid_windows, settings.rows, autocast=device.type == "cuda")
        write_csv(result.points, folder / "curve.csv")
        write_svg(result.points, folder / "curve.svg")
        if result.task_points:
            write_csv(result.task_points, folder / "task_curve.csv")
        record = RunRecord(
            settings=settings,
            shape=model.shape,
            train=data.train,
            valid=data.valid,
            valid_tokens=data.valid_windows.tokens,
            result=result,
            exported_bits_per_byte=bits,
            weights_bytes=(folder / "model.safetensors").stat().st_size,
            seconds=time.monotonic() - started,
            hardware=_hardware(device),
            software=f"Python {platform.python_version()}, torch {torch.__version__}",
            command=_command(data, settings),
            samples=_samples(exported, data.tokenizer, settings),
        )
        (folder / "README.md").write_text(model_card(record))
        out.mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            file.chmod(0o644)  # safetensors writes for its owner alone
            os.replace(file, out / file.name)
    report(
        f"exported {record.weights_bytes:,} bytes of weights; {bits:.4f} bits per byte on {data.valid.name} (weights of "
        f"step {result.best_step}); {time.monotonic() - started:.0f} s in all"
    )
    return bits


def _samples(model: TinyModel, tokenizer: Tokenizer, settings: TrainSettings) -> list[tuple[str, str]]:
    new_tokens = min(100, settings.length // 2)
    kinds = (("Greedy", 0.0), ("Temperature 0.8", 0.8))
    return [(label, sample(model, tokenizer, _PROMPT, new_tokens, heat, settings.seed)) for label, heat in kinds]


def _command(data: _Data, settings: TrainSettings) -> str:
    """The command line that repeats this run, with file names instead of paths."""
    parts = [f"python -m kitty_kv.tiny.train --text {data.train.name}"]
    if not data.valid.name.startswith("the last"):
        parts.append(f"--valid {data.valid.name}")
    for field in fields(TrainSettings):
        value = getattr(settings, field.name)
        if value != field.default:
            parts.append(f"--{field.name.replace('_', '-')} {value}")
    return " ".join(parts)


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("Cannot train on cuda: PyTorch sees no GPU here; use --device cpu or install a CUDA build")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
