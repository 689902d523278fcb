"""One evaluation: presets, tasks and items in, a document out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from .. import __version__
from ..config import KittyConfig
from ..hf.cache import KittyCache
from ..hf.loading import LoadedModel, load_model
from ..tasks.item import Item
from .evaluator import CHUNK_TOKENS, Evaluator
from .offline import check_lengths, make_items, resolve_tasks
from .outcome import Outcome
from .results_folder import ResultsFolder
from .scoring import answer_items
from .summary import BASELINE, summarize

DEFAULT_LENGTHS = (512, 1024, 2048)
DEFAULT_LIMIT = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate.

    Args:
        presets, tasks: names.
        model: folder or hub id; None for the bundled model.
        lengths: tokens of questions with their answers, taken in turn.
        limit: items of each task.
        seed: of the questions.
        text: fills prompts and is measured; None for an excerpt of Treasure Island.
        out: folder to keep results in and to go on from; None keeps nothing.
        max_batch: most generations that are decoded together.
    """

    presets: tuple[str, ...]
    tasks: tuple[str, ...]
    model: str | None = None
    lengths: tuple[int, ...] = DEFAULT_LENGTHS
    limit: int = DEFAULT_LIMIT
    seed: int = 0
    text: pathlib.Path | None = None
    out: pathlib.Path | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_batch: int = 16


def evaluate(plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Runs a plan; ``tell`` hears a line of progress for each item.

    Everything that can be refused is refused before the first item.

    Raises:
        ConfigError: a name is unknown, or model, text, lengths and results folder do not fit each other.
        KittyKvError: the model cannot be loaded.
    """
    configs = {name: KittyConfig.from_dict({"preset": name}) for name in plan.presets}
    tasks = resolve_tasks(plan.tasks)
    loaded = load_model(plan.model, dtype=plan.dtype, device=plan.device)
    check_lengths(plan.lengths, loaded)
    for config in configs.values():
        KittyCache.for_model(loaded.model, config=config)
    items = make_items(tasks, loaded, plan.lengths, plan.limit, plan.seed, plan.text)
    facts = _facts(plan, loaded)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(ResultsFolder(plan.out, facts)) if plan.out is not None else None
        records = dict(folder.records) if folder is not None else {}
        wanted = [(name, item) for name in configs for item in items]
        progress = _Progress(len(wanted), sum((name, item.name) in records for name, item in wanted), tell)
        for name, config in configs.items():

            def keep(item: Item, outcome: Outcome, name: str = name) -> None:
                record = _record(name, item, outcome)
                if folder is not None:
                    folder.add(record)
                records[name, item.name] = record
                progress.note(record)

            left = [item for item in items if (name, item.name) not in records]
            answer_items(Evaluator(loaded, config, max_batch=plan.max_batch), left, keep)
    chosen = [records[name, item.name] for name, item in wanted]
    return {
        **facts,
        "hardware": _hardware(loaded.model.device),
        "presets": list(configs),
        "tasks": tasks,
        "limit": plan.limit,
        "resumedItems": progress.resumed,
        "baseline": BASELINE if BASELINE in configs else None,
        "rows": summarize(chosen, tasks, list(configs)),
    }


class _Progress:
    """Counts items and says what became of each."""

    def __init__(self, total: int, resumed: int, tell: Callable[[str], None]) -> None:
        self.resumed = resumed
        self._done, self._total, self._tell = resumed, total, tell
        self._started = time.monotonic()
        if resumed:
            tell(f"{resumed} of {total} items were done before")

    def note(self, record: dict[str, Any]) -> None:
        self._done += 1
        came = "right" if record["is_correct"] else "wrong"
        if record["is_correct"] is None:
            came = f"{record['nats'] / record['answer_tokens']:.4f} nats a token"
        seconds = time.monotonic() - self._started
        place = f"{self._done}/{self._total}"
        self._tell(f"{place} {record['preset']} {record['item']} ({record['length']} tokens): {came}, {seconds:.0f} s")


def _record(preset: str, item: Item, outcome: Outcome) -> dict[str, Any]:
    about = {"preset": preset, "item": item.name, "task": item.task, "length": item.length, "answer": item.answer}
    if item.prompt == "":
        del about["answer"]  # a window of the text, as long as the length says
    return {**about, **outcome.to_dict()}


def _facts(plan: Plan, loaded: LoadedModel) -> dict[str, Any]:
    """What decides the results; a results folder belongs to one set of them."""
    text = None if plan.text is None else hashlib.sha256(plan.text.read_bytes()).hexdigest()
    return {
        "kittyKv": __version__,
        "torch": torch.__version__,
        "model": loaded.name,
        "modelPath": loaded.path,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
        "lengths": list(plan.lengths),
        "seed": plan.seed,
        "text": "excerpt of Treasure Island" if plan.text is None else plan.text.name,
        "textSha256": text,
        "chunkTokens": CHUNK_TOKENS,
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
