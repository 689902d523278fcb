"""A generation to measure the bridge with: of a model so small that a CPU makes about a thousand tokens a second.

``bench.generate`` runs it in a worker, ``bench_inside`` without any bridge, through the same engine.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import KittyConfig
from ..engine.engine import Engine
from ..engine.generation import Generation, Listener, Request
from ..errors import ConfigError
from .models import ServedModel, serve

PRESET = "fp16"
_CONTEXT_LENGTH = 32_768
_PROMPT = "a"


class BenchModel:
    """Makes the generations; the model is built for the first one.

    Args:
        engine: stands still while the model is built.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._model: ServedModel | None = None

    def generation_maker(
        self, tokens: int, tokens_per_second: float | None, credit: int
    ) -> Callable[[Listener], Generation]:
        """Prepares one generation of ``tokens`` tokens.

        Args:
            tokens_per_second: the highest rate; None for as fast as it goes.
            credit: as for any generation.

        Raises:
            ConfigError: more tokens than the model's context holds.
        """
        if tokens >= _CONTEXT_LENGTH - 1:
            raise ConfigError(
                f"Cannot generate {tokens} tokens: the model of the benchmark ends at {_CONTEXT_LENGTH}; ask for fewer."
            )
        with self._lock, self._engine.paused():
            self._model = self._model or _build()
        model = self._model
        sequence = model.new_sequence(KittyConfig(preset=PRESET))
        if tokens_per_second is not None:
            sequence.model = _Paced(sequence.model, 1 / tokens_per_second)
        prompt = model.loaded.tokenizer(_PROMPT)["input_ids"]
        request = Request(prompt=lambda: prompt, max_new_tokens=tokens)
        return lambda listener: Generation(sequence, model.codec, request, listener, credit)


class _Paced:
    """A model that starts its passes a fixed time apart, or later when it cannot keep up."""

    def __init__(self, model: Any, interval_s: float) -> None:
        self._model = model
        self._interval_s = interval_s
        self._due = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        now = time.perf_counter()
        if self._due == 0.0:
            self._due = now
        if self._due > now:
            time.sleep(self._due - now)
        self._due += self._interval_s
        return self._model(**inputs)


def _build() -> ServedModel:
    from ..hf.loading import load_model
    from ..tiny.export import export_model
    from ..tiny.model_definition import ModelShape, TinyModel
    from ..tiny.tokenizer import BYTES_ONLY, train_tokenizer

    shape = ModelShape(
        vocab_size=BYTES_ONLY,
        intermediate_size=64,
        hidden_size=64,
        layers=1,
        heads=1,
        kv_heads=1,
        max_positions=_CONTEXT_LENGTH,
    )
    model = TinyModel(shape)
    # Its blocks write nothing at first, so greedy text repeats the prompt's letter: one token, one character, no end.
    model.initialize(seed=0)
    with tempfile.TemporaryDirectory(prefix="kitty-kv-bench-") as folder:
        export_model(model, train_tokenizer([_PROMPT], BYTES_ONLY), Path(folder))
        return serve(load_model(folder, dtype="float32", device="cpu"))
