"""One evaluation: presets, tasks and items in, a document out."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import pathlib
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .. import __version__
from ..config import KittyConfig
from ..errors import ConfigError
from ..hf.cache import KittyCache
from ..hf.loading import LoadedModel, load_model
from ..sim.windows import EXCERPT, read_text
from ..tasks.item import Item
from .early_stop import decide_records
from .evaluator import CHUNK_TOKENS, Evaluator
from .harness import WANTED, has_harness
from .harness_items import HarnessItem, check_context, make_harness_items
from .harness_tasks import HarnessOptions, load_tasks
from .offline import SHORTEST, TASKS, check_lengths, make_items, resolve_tasks
from .outcome import Outcome
from .parse_cache import parse_cache
from .results_folder import VERSION, ResultsFolder, check_version
from .scoring import answer_items
from .summary import BASELINE, summarize
from .threads import threads_for

DEFAULT_LENGTHS = (512, 1024, 2048)
DEFAULT_LIMIT = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to evaluate.

    Args:
        presets: names, or names with changed fields (``parse_cache``).
        tasks: names.
        model: folder or hub id; None for the bundled model.
        lengths: tokens of questions with their answers, taken in turn.
        limit: items of each task.
        seed: of the questions.
        text: fills prompts and is measured; None for an excerpt of Treasure Island.
        out: folder to keep results in and to go on from.
        home: without ``out``, results are kept in a folder in there that is named after what decides them; None keeps nothing.
        max_batch: most generations that are decoded together.
        stops_early: whether a preset's task ends once it is clearly worse than the 16-bit cache, or clearly as good.
        harness: how tasks of lm-evaluation-harness are run.
    """

    presets: tuple[str, ...]
    tasks: tuple[str, ...]
    model: str | None = None
    lengths: tuple[int, ...] = DEFAULT_LENGTHS
    limit: int = DEFAULT_LIMIT
    seed: int = 0
    text: pathlib.Path | None = None
    out: pathlib.Path | None = None
    home: pathlib.Path | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_batch: int = 16
    stops_early: bool = False
    harness: HarnessOptions = dataclasses.field(default_factory=HarnessOptions)


def evaluate(plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Runs a plan; ``tell`` hears a line of progress for each item.

    Everything that can be refused is refused before the first item.

    Raises:
        ConfigError: a name is unknown, or model, text, lengths and results folder do not fit each other.
        KittyKvError: the model cannot be loaded.
    """
    configs = {name: parse_cache(name) for name in _in_order(plan)}
    named = resolve_tasks(plan.tasks, others_known=has_harness())
    own = [name for name in named if name in TASKS]
    read_text(plan.text or EXCERPT)
    if plan.out is not None:
        check_version(plan.out)
    theirs = load_tasks([name for name in named if name not in TASKS], plan.harness) if len(own) < len(named) else []
    harness_items = make_harness_items(theirs, plan.limit)
    loaded = load_model(plan.model, dtype=plan.dtype, device=plan.device)
    check_lengths(plan.lengths if own else [SHORTEST], loaded)
    for config in configs.values():
        KittyCache.for_model(loaded.model, config=config)
    if harness_items:
        check_context(harness_items, Evaluator(loaded, next(iter(configs.values()))))
    items = [*make_items(own, loaded.tokenizer, plan.lengths, plan.limit, plan.seed, plan.text), *harness_items]
    facts = _facts(plan, loaded, bool(theirs))
    with threads_for(loaded.model):
        records, path, resumed = _answer_all(plan, configs, loaded, items, facts, tell)
        environment = _environment(loaded)
    tasks = [*own, *(task.name for task in theirs)]
    chosen = [records[name, item.name] for name in configs for item in items if (name, item.name) in records]
    rows = summarize(chosen, tasks, list(configs))
    for row in rows:
        decision = _decision(row["preset"], row["task"], items, records, plan)
        if decision is not None and row["length"] is None:
            row["stopped"] = {"decision": decision[0], "afterItems": decision[1]}
    return {
        **facts,
        **environment,
        "presets": list(configs),
        "tasks": tasks,
        "limit": plan.limit,
        "folder": None if path is None else str(path),
        "resumedItems": resumed,
        "baseline": BASELINE if BASELINE in configs else None,
        "rows": rows,
    }


def _answer_all(
    plan: Plan,
    configs: dict[str, KittyConfig],
    loaded: LoadedModel,
    items: Sequence[Item | HarnessItem],
    facts: dict[str, Any],
    tell: Callable[[str], None],
) -> tuple[dict[tuple[str, str], dict[str, Any]], pathlib.Path | None, int]:
    """Records by preset and item, the folder that keeps them, and how many items were there before."""
    with contextlib.ExitStack() as stack:
        path = _results_path(plan, facts)
        folder = stack.enter_context(ResultsFolder(path, facts)) if path is not None else None
        records = dict(folder.records) if folder is not None else {}
        if folder is not None:
            folder.note_environment({**_environment(loaded), **_paths(plan)})
            _check_questions(items, records, path)
        wanted = [(name, item.name) for name in configs for item in items]
        progress = _Progress(len(wanted), sum(key in records for key in wanted), tell)

        def keep(name: str, item: Item | HarnessItem, outcome: Outcome) -> None:
            record = _record(name, item, outcome)
            if folder is not None:
                folder.add(record)
            records[name, item.name] = record
            progress.note(record)

        for name, config in configs.items():
            evaluator = Evaluator(loaded, config, max_batch=plan.max_batch)
            for some in _portions(items, plan) if name != BASELINE else [items]:
                if _decision(name, some[0].task, items, records, plan) is None:
                    left = [item for item in some if (name, item.name) not in records]
                    answer_items(evaluator, left, functools.partial(keep, name), plan.seed)
    return records, path, progress.resumed


def _results_path(plan: Plan, facts: dict[str, Any]) -> pathlib.Path | None:
    if plan.out is not None or plan.home is None:
        return plan.out
    described = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    return plan.home / hashlib.sha256(described.encode()).hexdigest()[:16]


def _in_order(plan: Plan) -> tuple[str, ...]:
    """The presets as given; to stop early, what they are held to comes first."""
    if not plan.stops_early:
        return plan.presets
    if BASELINE not in plan.presets:
        raise ConfigError(
            f"Cannot stop early: presets are held to {BASELINE}, which is not among them; add it to --preset."
        )
    return (BASELINE, *(name for name in plan.presets if name != BASELINE))


def _portions(items: Sequence[Item | HarnessItem], plan: Plan) -> list[list[Item | HarnessItem]]:
    """All items at once, or some of one task at a time, after which a preset may have answered enough."""
    if not plan.stops_early:
        return [list(items)]
    found = []
    for _, of_task in itertools.groupby(items, lambda item: item.task):
        some = list(of_task)
        found += [some[at : at + plan.max_batch] for at in range(0, len(some), plan.max_batch)]
    return found


def _decision(
    preset: str, task: str, items: Sequence[Item], records: dict[tuple[str, str], Any], plan: Plan
) -> tuple[str, int] | None:
    if not plan.stops_early or preset == BASELINE:
        return None
    # A question that is asked again tells nothing that a sequential test could count.
    names = [item.name for item in items if item.task == task and not getattr(item, "repeat", 0)]
    own = list(itertools.takewhile(bool, (records.get((preset, name)) for name in names)))
    return decide_records(own, [records[BASELINE, name] for name in names])


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
        if record["is_correct"] is None and record["nats"] is None:
            came = f"{record['score']:.3f}"
        elif record["is_correct"] is None:
            came = f"{record['nats'] / record['answer_tokens']:.4f} nats a token"
        seconds = time.monotonic() - self._started
        place = f"{self._done}/{self._total}"
        size = f"{record['length'] or record['answer_tokens']} tokens"
        self._tell(f"{place} {record['preset']} {record['item']} ({size}): {came}, {seconds:.0f} s")


def _record(preset: str, item: Item | HarnessItem, outcome: Outcome) -> dict[str, Any]:
    return {"preset": preset, **item.describe(), **outcome.to_dict()}


def _check_questions(
    items: Sequence[Item | HarnessItem], records: dict[tuple[str, str], Any], path: pathlib.Path
) -> None:
    """Checks that what was answered before are the same questions: a task's data or file may have changed since."""
    asked = {item.name: item.asked for item in items if isinstance(item, HarnessItem)}
    for (_, name), record in records.items():
        if "asked" in record and asked.get(name, record["asked"]) != record["asked"]:
            raise ConfigError(
                f'Cannot go on in "{path}": {name} is another question than the one answered there, since the task or its data have '
                "changed; give another --out.",
                code="other_results",
                details={"item": name},
            )


def _facts(plan: Plan, loaded: LoadedModel, uses_harness: bool) -> dict[str, Any]:
    """What decides the results; a results folder belongs to one set of them."""
    harness = {"harness": {"version": WANTED, **plan.harness.to_dict()}} if uses_harness else {}
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
        **harness,
    }


def _paths(plan: Plan) -> dict[str, Any]:
    """What a command that repeats the results names, as it lies here."""
    paths = {"textPath": plan.text, "includePath": plan.harness.include}
    return {name: str(path.resolve()) for name, path in paths.items() if path is not None}


def _environment(loaded: LoadedModel) -> dict[str, Any]:
    """What does not decide the results but who reads them wants to know."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "hardware": _hardware(loaded.model.device),
        "python": platform.python_version(),
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
