"""Runs a model over a Kitty cache and holds every forward pass to the reference as it happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from reference_model import Given, ReferenceRow
from transformers import PreTrainedModel

from kitty_kv import KittyCache

# Of the largest logit. A float64 model leaves the cache's float32 (2**-24) as the coarsest arithmetic, and sharp softmaxes
# and norms multiply what it rounds by some hundreds; stock eager attention has its softmax in float32 as well. 16-bit models
# round in every operation. One code that is off by one changes logits by 1e-3 and more.
TOLERANCE = {torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


class RecordingCache(KittyCache):
    """A cache that tells what is done to it.

    The model runs in float64, so that no rounding of its own decides between two codes; keys and values are made exact in
    16 bits, since the cache holds them so.
    """

    watcher: Watcher

    def update(self, key_states, value_states, layer_idx, cache_kwargs=None):
        exact = [x.half().to(x.dtype) for x in (key_states, value_states)]
        self.watcher.given[layer_idx] = tuple(x.detach().cpu() for x in exact)
        return super().update(*exact, layer_idx, cache_kwargs)

    def crop(self, max_length):
        self.watcher.crop(max_length)
        super().crop(max_length)

    def reorder_cache(self, beam_idx):
        self.watcher.select(beam_idx.tolist())
        super().reorder_cache(beam_idx)

    def batch_select_indices(self, indices):
        self.watcher.select(indices.tolist())
        super().batch_select_indices(indices)

    def batch_repeat_interleave(self, repeats):
        self.watcher.select([row for row in range(len(self.watcher.rows)) for _ in range(repeats)])
        super().batch_repeat_interleave(repeats)

    def reset(self):
        self.watcher.reset()
        super().reset()


class Watcher:
    """Feeds what the model was fed to one reference a row, and compares logits."""

    def __init__(self, model: PreTrainedModel, cache: RecordingCache) -> None:
        self._model, self._config = model, cache.config
        full = [layer for layer, window in enumerate(cache.windows) if window is None]
        weights = cache.pages.weights
        self._weights = {} if weights is None else dict(zip(full, weights.tensor.double().numpy(), strict=True))
        self.given: Given = {}  # of the pass that runs, with all rows
        self.passes = 0
        self.worst = 0.0
        self.reset()

    def reset(self) -> None:
        self.rows: list[ReferenceRow] = []
        self._real: list[list[bool]] = []  # of every position of each row

    def crop(self, slots: int) -> None:
        total = len(self._real[0])
        slots = min(total, total + slots if slots < 0 else slots)
        self._real = [real[:slots] for real in self._real]
        for row, real in zip(self.rows, self._real, strict=True):
            row.crop(sum(real))

    def select(self, indices: Sequence[int]) -> None:
        self.rows = [self.rows[index].fork() for index in indices]
        self._real = [list(self._real[index]) for index in indices]

    def saw(self, ids: torch.Tensor, mask: torch.Tensor | None, logits: torch.Tensor) -> None:
        """The model was fed ``ids`` ``[B, S]`` and gave the logits of the last positions ``[B, n, vocabulary]``."""
        if not self.rows:
            self.rows = [ReferenceRow(self._model, self._config, self._weights) for _ in ids]
            self._real = [[] for _ in ids]
        count, kept = ids.shape[1], logits.shape[1]
        for index, row in enumerate(self.rows):
            real = torch.ones(count, dtype=torch.bool) if mask is None else mask[index, -count:].bool()
            self._real[index] += real.tolist()
            if not real.any():
                continue
            wanted = torch.zeros(count, logits.shape[2], dtype=logits.dtype)
            given = {layer: tuple(x[index][:, real] for x in tokens) for layer, tokens in self.given.items()}
            wanted[real] = row.forward(ids[index][real], given)
            at = real[-kept:]
            got, wanted = logits[index][at], wanted[-kept:][at]
            if len(wanted):
                assert got.isfinite().all()
                error = ((got - wanted).abs().max() / wanted.abs().max()).item()
                self.worst = max(self.worst, error)
                assert error <= TOLERANCE[logits.dtype], (
                    f"pass {self.passes}, row {index}: error {error} of {row.length} tokens"
                )
        self.passes += 1


@contextlib.contextmanager
def watched(model: PreTrainedModel, cache: RecordingCache) -> Iterator[Watcher]:
    """Compares every forward pass of ``model`` over ``cache``."""
    cache.watcher = watcher = Watcher(model, cache)
    is_nested = False

    def compare(_module, args, kwargs, output):
        nonlocal is_nested
        if is_nested or kwargs.get("past_key_values") is not cache:
            return
        ids = args[0] if args else kwargs["input_ids"]
        is_nested = True  # the reference runs the same model
        try:
            mask = kwargs.get("attention_mask")
            watcher.saw(ids.cpu(), None if mask is None else mask.cpu(), output.logits.cpu())
        finally:
            is_nested = False

    hook = model.register_forward_hook(compare, with_kwargs=True)
    try:
        yield watcher
    finally:
        hook.remove()
