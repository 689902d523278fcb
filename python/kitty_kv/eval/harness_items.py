"""Questions of the harness's tasks, and what becomes of them over the packed cache.

The harness builds the requests of each question, filters what comes back and judges it; every request is run by the same
``Evaluator`` as everything else, so that what it says of the packed pages is kept with each answer.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, KittyKvError
from .evaluator import Evaluator, GenerationRequest, Likelihood
from .generations import GenerationResult
from .harness_tasks import HarnessTask
from .outcome import Outcome

if TYPE_CHECKING:
    from .harness_model import KittyLM


@dataclasses.dataclass(frozen=True, slots=True)
class HarnessItem:
    """One question, asked once; ``repeat`` tells the times apart, each of which samples with a seed of its own."""

    of: HarnessTask
    index: int
    repeat: int
    requests: tuple[Any, ...]

    @property
    def task(self) -> str:
        return self.of.name

    @property
    def name(self) -> str:
        """Its name within one run."""
        return f"{self.task}/{self.index}" + (f"@{self.repeat}" if self.repeat else "")

    @property
    def asked(self) -> str:
        """Which question it is, whatever its number: a hash of all that the model reads."""
        arguments = [request.args for request in self.requests]
        return hashlib.sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """As a record begins."""
        question = f"{self.task}/{self.index}"
        about = {"item": self.name, "task": self.task, "length": None, "question": question, "asked": self.asked}
        return {**about, "repeat": self.repeat}


def make_harness_items(tasks: Sequence[HarnessTask], limit: int) -> list[HarnessItem]:
    """The first ``limit`` questions of each task, all of them once before any is asked again.

    Raises:
        KittyKvError: the harness cannot build a task's requests.
    """
    found = []
    for each in tasks:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar of a moment
                each.task.build_all_requests(limit=min(limit, len(each.task.eval_docs)), rank=0, world_size=1)
        except Exception as error:  # whatever a task's own functions make of its data
            raise KittyKvError(
                f"Cannot build the questions of task {each.name!r}: {type(error).__name__}: {error}; correct the task's file or its data.",
                code="bad_task",
            ) from error
        by_question: dict[int, list[Any]] = {}
        for request in each.task.instances:
            by_question.setdefault(request.doc_id, []).append(request)
        found += [
            HarnessItem(each, index, repeat, tuple(sorted(requests, key=lambda request: request.idx)))
            for repeat in range(each.repeats)
            for index, requests in sorted(by_question.items())
        ]
    return found


def check_context(items: Sequence[HarnessItem], evaluator: Evaluator) -> None:
    """Checks that the model's context takes every question with its longest answer.

    Raises:
        ConfigError: it does not.
    """
    model, limit = _model(evaluator), evaluator.loaded.context_length
    for item in items:
        if item.repeat or item.of.metric is None:
            continue  # the same question once more; whole texts are read in windows
        needed = max(_tokens(model, request, item.of) for request in item.requests)
        if needed > limit:
            raise ConfigError(
                f"Cannot evaluate {item.name}: it needs a context of {needed} tokens, that of {evaluator.loaded.name} is {limit}; give "
                "a model with a longer one, or a smaller --max-new-tokens where answers are written.",
                code="context_exceeded",
                details={"item": item.name, "needed": needed, "contextLength": limit},
            )


def answer_harness_items(
    evaluator: Evaluator, items: Sequence[HarnessItem], seed: int, on_outcome: Callable[[HarnessItem, Outcome], None]
) -> None:
    """Answers all ``items`` and hands over each outcome as soon as it is there.

    Args:
        seed: of sampling; each question, repeat and copy has one of its own that it decides, the same for all presets.
    """
    model, written = _model(evaluator), []
    for item in items:
        if item.of.task.OUTPUT_TYPE == "generate_until":
            written.append(item)
            continue
        asked = _fresh(item)
        found = getattr(model, asked[0].request_type)(asked, disable_tqdm=True)
        for request, answer in zip(asked, found, strict=True):
            request.resps.append(answer)
        prompt = 0 if item.of.metric is None else sum(len(model.tok_encode(request.args[0])) for request in asked)
        on_outcome(item, _outcome(item, asked, model.measured, prompt))
    _write(evaluator, model, written, seed, on_outcome)


def _write(
    evaluator: Evaluator,
    model: KittyLM,
    items: Sequence[HarnessItem],
    seed: int,
    on_outcome: Callable[[HarnessItem, Outcome], None],
) -> None:
    """All generations of all items on one engine; an item is done with the last of its own."""
    asked = [_fresh(item) for item in items]
    places = [
        (at, number, turn)
        for at, requests in enumerate(asked)
        for number, request in enumerate(requests)
        for turn in range(request.repeats or 1)
    ]
    wanted = [_request(model, items[at], asked[at][number], f"{number}/{turn}", seed) for at, number, turn in places]
    results: list[dict[tuple[int, int], GenerationResult]] = [{} for _ in items]

    def on_result(index: int, result: GenerationResult) -> None:
        at, number, turn = places[index]
        results[at][number, turn] = result
        if len(results[at]) < sum(request.repeats or 1 for request in asked[at]):
            return
        in_order = [results[at][key] for key in sorted(results[at])]
        for (place, _), text in zip(sorted(results[at]), in_order, strict=True):
            asked[at][place].resps.append(text.text)
        prompt = sum(len(request.prompt) for request, (of, _, _) in zip(wanted, places, strict=True) if of == at)
        on_outcome(items[at], _outcome(items[at], asked[at], in_order, prompt, in_order[0].text))

    if wanted:
        evaluator.generate_until(wanted, on_result)


def _outcome(
    item: HarnessItem,
    asked: Sequence[Any],
    measured: Sequence[Likelihood | GenerationResult],
    prompt_tokens: int,
    text: str | None = None,
) -> Outcome:
    metrics = _judge(item, asked)
    figures = {
        "text": text,
        "answer_tokens": sum(found.tokens for found in measured),
        "packed_bytes": sum(found.packed_bytes for found in measured),
        "compression": sum(found.compression for found in measured) / len(measured),
        "prompt_tokens": prompt_tokens,
    }
    if item.of.metric is None:
        size = sum(len(str(request.args[0]).encode()) for request in asked)
        nats = sum(found.nats for found in measured)
        return Outcome(is_correct=None, score=None, nats=nats, answer_bytes=size, metrics=metrics, **figures)
    if item.of.metric not in metrics:
        raise KittyKvError(
            f"Cannot judge {item.name} by {item.of.metric!r}: the task gave {', '.join(metrics) or 'nothing'}; give one of these as "
            "--metric.",
            code="unknown_metric",
        )
    score = metrics[item.of.metric]
    size = sum(len(found.text.encode()) for found in measured if isinstance(found, GenerationResult))
    is_correct = bool(score) if score in (0, 1) else None
    return Outcome(is_correct=is_correct, score=score, nats=None, answer_bytes=size, metrics=metrics, **figures)


def _judge(item: HarnessItem, asked: Sequence[Any]) -> dict[str, float]:
    """The task's own filters and metrics of one question."""
    task = copy.copy(item.of.task)
    task._instances = list(asked)
    found: dict[str, float] = {}
    try:
        task.apply_filters()
        for name in asked[0].filtered_resps:
            results = task.process_results(asked[0].doc, [each.filtered_resps[name] for each in asked])
            for metric, value in results.items():
                if isinstance(value, (bool, int, float)) or getattr(value, "shape", None) == ():
                    found[f"{metric},{name}"] = float(value)
    except Exception as error:  # whatever a task's own functions make of an answer
        raise KittyKvError(
            f"Cannot judge {item.name}: {type(error).__name__}: {error}; correct the task's file, what is answered so far is kept.",
            code="bad_task",
        ) from error
    return found


def _fresh(item: HarnessItem) -> list[Any]:
    """Its requests without the answers of another preset."""
    return [dataclasses.replace(request, resps=[], filtered_resps={}) for request in item.requests]


def _request(model: KittyLM, item: HarnessItem, request: Any, copy_of: str, seed: int) -> GenerationRequest:
    context, options = request.args
    # A string seeds alike in every process and version of Python.
    chosen = random.Random(f"{seed}/{item.task}/{item.index}/{item.repeat}/{copy_of}").getrandbits(31)
    return model.to_request(context, {**options, **item.of.generation}, chosen)


def _tokens(model: KittyLM, request: Any, of: HarnessTask) -> int:
    """Most tokens that a request needs room for."""
    if request.request_type == "generate_until":
        wanted = model.to_request(request.args[0], {**request.args[1], **of.generation}, 0)
        return len(wanted.prompt) + wanted.max_new_tokens
    return len(model.tok_encode("".join(request.args)))


def _model(evaluator: Evaluator) -> KittyLM:
    from .harness_model import KittyLM

    return KittyLM.over(evaluator)
