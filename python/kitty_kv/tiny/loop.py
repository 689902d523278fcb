"""The training loop: steps, learning rate, measuring on the way, and the best weights at the end."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .evaluate import Windows, bits_per_byte
from .model_definition import IGNORED, TinyModel
from .optimizer import build_optimizers, learning_rate_factor
from .settings import TrainSettings
from .source import Source, batches, mixed
from .task_accuracy import Question, accuracies

# cuDNN's attention is the fastest on Hopper; the others stand by for devices and sizes that it does not take.
ATTENTION_ORDER = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
_LOG_POINTS = 120
_EVALUATIONS = 16
_EXPORT_SECONDS = 6.0


@dataclass(frozen=True)
class CurvePoint:
    """One line of the loss curve; the bits per byte are NaN where they were not measured."""

    step: int
    epoch: int
    tokens: int
    seconds: float  # since the first step was done
    loss: float  # nats a token of the training batches since the last point
    learning_rate_factor: float
    train_bits_per_byte: float = math.nan
    valid_bits_per_byte: float = math.nan
    task_accuracy: float = math.nan  # mean over the task families


@dataclass(frozen=True)
class TaskPoint:
    """The share of a family's questions at one length that were answered right after so many steps."""

    step: int
    task: str
    length: int
    accuracy: float


@dataclass
class TrainResult:
    """What a run leaves: the curves, and the weights of its best validation.

    The best is where bits per byte and the share of wrong answers have the lowest sum.
    """

    points: list[CurvePoint] = field(default_factory=list)
    task_points: list[TaskPoint] = field(default_factory=list)
    best_score: float = math.inf
    best_bits_per_byte: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """Trains `model` on `source`; one `run` per instance.

    Args:
        valid: measured along the way, decides which weights are kept.
        train_sample: measured beside it, so that the curve shows memorising.
        started: `time.monotonic()` at the start of the command, from which `settings.minutes` counts.
        report: receives progress, one line at a time.
        tasks: makes rows of task documents (`task_rows.py`), `settings.task_share` of a step's, from the progress.
        questions: asked along the way (`task_accuracy.py`).
    """

    def __init__(
        self,
        model: TinyModel,
        source: Source,
        valid: Windows,
        train_sample: Windows,
        settings: TrainSettings,
        started: float,
        report: Callable[[str], None] = print,
        tasks: Callable[[Callable[[], float]], Iterator[np.ndarray]] | None = None,
        questions: Sequence[Question] = (),
    ) -> None:
        self._make_tasks, self._questions = tasks, questions
        self._model, self._source, self._settings, self._report = model, source, settings, report
        self._valid, self._train_sample = valid, train_sample
        self._device = model.model.embed_tokens.weight.device
        self._on_gpu = self._device.type == "cuda"
        self._optimizers = build_optimizers(model, settings)
        self._begun = time.monotonic()
        self._deadline = started + settings.minutes * 60 if settings.minutes else math.inf
        self._evaluation_seconds = 0.0
        self._step = 0
        self._marks: dict[int, int] = {}
        self._result = TrainResult()

    def run(self) -> TrainResult:
        """Train to the end of the plan; the model holds the best weights afterwards."""
        settings = self._settings
        task_rows = round(settings.rows * settings.task_share) if self._make_tasks is not None else 0
        stream = batches(self._source, settings.length, settings.rows - task_rows, settings.seed, self._progress)
        losses: list[Tensor] = []
        self._model.train()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(stream))
            if self._make_tasks is not None:
                tasks = stack.enter_context(contextlib.closing(self._make_tasks(self._progress)))
                stream = mixed(stream, tasks, task_rows)
            stack.enter_context(sdpa_kernel(ATTENTION_ORDER, set_priority=True))
            while self._progress() < 1:
                epoch, rows = next(stream)
                losses.append(self._train_step(torch.from_numpy(rows.astype("int64"))))
                if self._step == 1:
                    # Compiling happened in this step; the schedule of a timed run begins after it.
                    losses[0].item()
                    self._begun = time.monotonic()
                if self._is_due(_LOG_POINTS):
                    self._log(epoch, losses)
                    losses = []
        self._model.load_state_dict(self._result.best_weights)
        return self._result

    def _train_step(self, rows: Tensor) -> Tensor:
        """One optimizer step; returns the mean loss, still on the device so that nothing waits for it."""
        if self._on_gpu:
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        factor = self._learning_rate_factor()
        # What is not scored comes as its complement.
        inputs = torch.where(rows < 0, ~rows, rows)[:, :-1]
        targets = torch.where(rows < 0, IGNORED, rows)[:, 1:]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._on_gpu):
            loss = self._model.loss_sum(inputs, targets) / (targets != IGNORED).sum()
        loss.backward()
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
            optimizer.zero_grad()
        self._step += 1
        return loss.detach()

    def _learning_rate_factor(self) -> float:
        return learning_rate_factor(self._step, self._progress(), self._settings)

    def _progress(self) -> float:
        """Share of the training that is done, by steps or by the clock."""
        if self._settings.steps:
            return self._step / self._settings.steps
        reserved = 3 * self._evaluation_seconds + _EXPORT_SECONDS
        left = max(self._deadline - reserved - self._begun, 1.0)
        return (time.monotonic() - self._begun) / left

    def _is_due(self, points: int) -> bool:
        """Whether one of `points` evenly spaced moments, or the end, has passed since this was last asked."""
        mark = int(self._progress() * points)
        passed = mark > self._marks.get(points, 0)
        self._marks[points] = mark
        return passed

    def _log(self, epoch: int, losses: list[Tensor]) -> None:
        loss = torch.stack(losses).mean().item()
        seconds = time.monotonic() - self._begun
        train, valid, accuracy = self._measure() if self._is_due(_EVALUATIONS) else (math.nan,) * 3
        tokens = self._step * self._settings.rows * self._settings.length
        factor = self._learning_rate_factor()
        points = self._result.points
        points.append(CurvePoint(self._step, epoch, tokens, seconds, loss, factor, train, valid, accuracy))
        self._report(self._line(points[-1], points[-2] if len(points) > 1 else None))

    def _measure(self) -> tuple[float, float, float]:
        """Bits per byte of the training sample and the validation text, accuracy; keeps the weights if they are the best yet."""
        begun = time.monotonic()
        rows = self._settings.rows
        train = bits_per_byte(self._model, self._train_sample, rows, autocast=self._on_gpu)
        valid = bits_per_byte(self._model, self._valid, rows, autocast=self._on_gpu)
        found = accuracies(self._model, self._questions, rows, autocast=self._on_gpu)
        self._result.task_points += [TaskPoint(self._step, *key, share) for key, share in found.items()]
        accuracy = sum(found.values()) / len(found) if found else math.nan
        score = valid + (1 - accuracy if found else 0)
        if score < self._result.best_score:
            self._result.best_score = score
            self._result.best_bits_per_byte, self._result.best_step = valid, self._step
            self._result.best_weights = {name: p.clone() for name, p in self._model.state_dict().items()}
        self._evaluation_seconds = time.monotonic() - begun
        if found:
            told = "  ".join(f"{task}@{length} {share:.0%}" for (task, length), share in found.items())
            self._report(f"answered right: {told}")
        return train, valid, accuracy

    def _line(self, point: CurvePoint, previous: CurvePoint | None) -> str:
        tokens = point.tokens - (previous.tokens if previous else 0)
        seconds = point.seconds - (previous.seconds if previous else 0)
        progress = max(self._progress(), 1e-9)
        eta = max(0.0, (time.monotonic() - self._begun) * (1 - progress) / progress)
        line = (
            f"step {point.step}  {min(progress, 1):.0%}  epoch {point.epoch}  loss {point.loss:.4f}  "
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s  eta {eta:.0f} s"
        )
        if not math.isnan(point.valid_bits_per_byte):
            line += f"  bits/byte train {point.train_bits_per_byte:.4f} valid {point.valid_bits_per_byte:.4f}"
        if not math.isnan(point.task_accuracy):
            line += f"  tasks {point.task_accuracy:.1%}"
        return line
