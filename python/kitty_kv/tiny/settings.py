"""Everything a run of the recipe can vary, with the values that made the bundled model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from .model_definition import ModelShape

MODEL_LIMIT_BYTES = 25_000_000
# Tokenizer, loss curve and card stay inside the limit with the weights.
_WEIGHTS_BUDGET_BYTES = 24_700_000
_BOUNDS: dict[str, tuple[float, float]] = {
    "steps": (1, 10**9),
    "minutes": (0.1, 10**6),
    "seed": (0, 2**63 - 1),
    "vocab_size": (257, 65_536),
    "layers": (1, 100),
    "hidden_size": (8, 8192),
    "heads": (1, 100),
    "kv_heads": (1, 100),
    "length": (8, 65_536),
    "rows": (1, 4096),
    "warmup_steps": (1, 10**9),
    "decay_share": (0.01, 1),
    "dropout": (0, 0.9),
    "bpe_dropout": (0, 0.9),
    "plain_from": (0, 1),
    "task_share": (0, 1),
    "task_workers": (1, 1024),
}


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class TrainSettings:
    """One run: its length, the model's sizes, and how it learns; every field is an option of the command."""

    steps: int | None = _option(None, "train for this many steps")
    minutes: float | None = _option(None, "end the whole command, export included, within this time")
    seed: int = _option(0, "fixes order, segmentations and first weights")
    device: str = _option("auto", "auto, cpu or cuda")
    vocab_size: int = _option(4096, "tokenizer entries; 257 means bytes only")
    layers: int = _option(6, "number of layers")
    hidden_size: int = _option(384, "width of the residual stream")
    intermediate_size: int | None = _option(None, "feed-forward width; by default as large as the size limit allows")
    heads: int = _option(6, "query heads of 128 channels")
    kv_heads: int = _option(2, "key/value heads")
    length: int = _option(4096, "tokens a training row holds")
    rows: int = _option(8, "rows a step")
    optimizer: str = _option("muon", "muon or adamw")
    muon_lr: float = _option(0.015, "peak learning rate of the matrices")
    muon_weight_decay: float = _option(0.2, "decoupled decay of the matrices")
    adam_lr: float = _option(3e-3, "peak learning rate of embedding and gains")
    adam_weight_decay: float = _option(0.1, "decoupled decay of the embedding")
    warmup_steps: int = _option(60, "steps of linear warm-up")
    decay_share: float = _option(0.8, "last share of the training in which the learning rate falls to zero")
    dropout: float = _option(0.15, "dropout of what a layer adds to the residual stream")
    bpe_dropout: float = _option(0.1, "probability that a merge is skipped while BPE-dropout is on")
    task_share: float = _option(0.0, "share of a step's rows that are documents of the offline task families")
    task_workers: int = _option(4, "processes that make them")
    initial: str | None = _option(None, "folder of a model to go on from, its sizes and tokenizer kept")
    plain_from: float = _option(0.85, "share of the training after which BPE-dropout is off")

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ConfigError("Cannot plan the training: give either --steps or --minutes, not both and not neither")
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"Cannot train: {option} must be from {least} to {most}, got {value}")
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"Cannot train: --heads must be a multiple of --kv-heads, got {self.heads} and {self.kv_heads}"
            )
        for name, known in (("optimizer", ("muon", "adamw")), ("device", ("auto", "cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"Cannot train: --{name} must be one of {', '.join(known)}, got {getattr(self, name)}"
                )

    def model_shape(self, vocab_size: int) -> ModelShape:
        """The model's sizes for a tokenizer of `vocab_size` entries."""
        base = ModelShape(
            vocab_size=vocab_size,
            intermediate_size=0,
            hidden_size=self.hidden_size,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            max_positions=self.length,
        )
        fitting = (_WEIGHTS_BUDGET_BYTES // 2 - base.parameters) // (3 * self.layers * self.hidden_size) // 8 * 8
        intermediate = self.intermediate_size or fitting
        if intermediate < 8 or intermediate > fitting:
            raise ConfigError(
                f"Cannot size the model: {self.layers} layers of width {self.hidden_size} leave room for a feed-forward "
                f"width of {max(fitting, 0)} within {MODEL_LIMIT_BYTES:,} bytes, wanted {intermediate}; make it smaller"
            )
        return replace(base, intermediate_size=intermediate)
