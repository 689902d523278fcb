"""The model card, written from the run that made the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .loop import TrainResult
from .model_definition import ModelShape
from .settings import TrainSettings
from .text import Corpus


@dataclass(frozen=True)
class RunRecord:
    """What the card reports of a run."""

    settings: TrainSettings
    shape: ModelShape
    train: Corpus
    valid: Corpus
    valid_tokens: int
    result: TrainResult
    exported_bits_per_byte: float
    weights_bytes: int
    seconds: float
    hardware: str
    software: str
    command: str
    samples: list[tuple[str, str]]


def model_card(run: RunRecord) -> str:
    """README.md of the model's folder."""
    return "\n".join([_header(run), _making(run), _quality(run), _samples(run), _again(run)])


def _header(run: RunRecord) -> str:
    shape = run.shape
    return f"""---
language: en
license: mit
pipeline_tag: text-generation
---
# Kitty KV's bundled model

A small English language model in Qwen3 architecture ({shape.parameters / 1e6:.1f} M parameters, {run.weights_bytes:,} bytes of bfloat16
weights), made so that the 2-bit KV cache can be tried, tested and measured with a real model and no download.

| | |
|---|---|
| layers, width, feed-forward | {shape.layers}, {shape.hidden_size}, {shape.intermediate_size} |
| heads | {shape.heads} query, {shape.kv_heads} key/value, head_dim {shape.head_dim}, qk-norm, RoPE (theta {shape.rope_theta:.0f}) |
| context | {run.settings.length} tokens, the length it was trained at |
| tokenizer | byte-level BPE, {shape.vocab_size} entries, digits one by one, `<|endoftext|>` (id 0) as bos and eos, no chat template |
"""


def _making(run: RunRecord) -> str:
    settings, result = run.settings, run.result
    last = result.points[-1]
    muon = f"Muon (lr {settings.muon_lr}, weight decay {settings.muon_weight_decay}) for the matrices, "
    optimizer = muon if settings.optimizer == "muon" else ""
    begun = (
        f"- **Begun** from the weights of `{Path(settings.initial).name}`, tokenizer kept.\n"
        if settings.initial
        else ""
    )
    tasks = _TASKS.format(share=f"{settings.task_share:.1%}", length=settings.length) if settings.task_share else ""
    return f"""## How it was made

- **Data**: `{run.train.name}`, {run.train.size_bytes:,} bytes of English books, {len(run.train.documents)} documents; for the bundled
  weights these are Project Gutenberg plain texts, public domain in the United States. Validation: `{run.valid.name}`,
  {run.valid.size_bytes:,} bytes, {len(run.valid.documents)} documents.
- **Training**: {last.step:,} steps of {settings.rows} x {settings.length} tokens = {last.tokens / 1e6:.1f} M tokens ({last.epoch + 1} passes begun), {last.seconds:.0f} s
  of training and {run.seconds:.0f} s in all on {run.hardware} ({run.software}); the weights are those of step {result.best_step:,}.
- **Optimizer**: {optimizer}AdamW (lr {settings.adam_lr}, weight decay {settings.adam_weight_decay}) for the rest; {settings.warmup_steps}
  warm-up steps, flat, then linear to zero over the last {settings.decay_share:.0%}. Seed {settings.seed}.
- **Against memorising**: BPE-dropout {settings.bpe_dropout} for the first {settings.plain_from:.0%} of the training (every pass sees another
  segmentation), dropout {settings.dropout}, rows cut at other places and shuffled each pass.
{begun}{tasks}"""


_TASKS = """- **Tasks**: {share} of the rows are questions with answers of the offline evaluation's families (`kitty_kv.tasks`, from other
  seeds, 128 to {length} tokens, short ones first); what is drawn at random in them is read and not scored.
"""


def _quality(run: RunRecord) -> str:
    measured = [p for p in run.result.points if not math.isnan(p.valid_bits_per_byte)]
    rows = "\n".join(
        f"| {p.step:,} | {p.tokens / 1e6:.1f} | {p.loss:.3f} | {p.train_bits_per_byte:.4f} | {p.valid_bits_per_byte:.4f} |"
        for i, p in enumerate(measured)
        if i % max(1, len(measured) // 10) == 0 or p is measured[-1]
    )
    return f"""## How good it is

**{run.exported_bits_per_byte:.4f} bits per byte** on the validation text (the exported bfloat16 weights): {run.valid_tokens:,} tokens in windows of
{run.settings.length} that do not overlap, every token but the first predicted once with its own window as context, the bits of the
separators counted, their bytes not.

| step | tokens (M) | training loss (nats/token) | training sample (bits/byte) | validation (bits/byte) |
|---|---|---|---|---|
{rows}

![curve](curve.svg) The full curve is in `curve.csv`.
{_answers(run)}"""


def _answers(run: RunRecord) -> str:
    """How many questions it answered right at the end, of families and lengths."""
    last = [point for point in run.result.task_points if point.step == run.result.best_step]
    if not last:
        return ""
    lengths = sorted({point.length for point in last})
    found = {(point.task, point.length): point.accuracy for point in last}
    rows = "\n".join(
        f"| {task} | {' | '.join(f'{found[task, length]:.0%}' for length in lengths)} |"
        for task in dict.fromkeys(point.task for point in last)
    )
    head = " | ".join(f"{length} tokens" for length in lengths)
    return f"""
Questions of the task families, 16 of each length, that it answers right with a 16-bit cache (all steps: `task_curve.csv`):

| family | {head} |
|---|{"---|" * len(lengths)}
{rows}
"""


def _samples(run: RunRecord) -> str:
    texts = "\n\n".join(f"{label}:\n\n```text\n{text}\n```" for label, text in run.samples)
    return f"## What it writes\n\n{texts}\n"


def _again(run: RunRecord) -> str:
    return f"""## How to make it again

```sh
{run.command}
```

The seed fixes tokenizer, order, segmentations and first weights. On a CPU a run with `--steps` repeats exactly; on a GPU the
attention's backward pass adds in any order, and a run with `--minutes` fits its schedule to the machine's speed.

## Limits

It has read {run.train.size_bytes / 1e6:.0f} MB of text{" and tasks" if run.settings.task_share else ""} and nothing else: it writes in the manner of old books, knows no facts worth trusting, follows no
instructions, repeats the prejudices of its sources, and fails beyond {run.settings.length} tokens. It is a test object, not an assistant.
"""
