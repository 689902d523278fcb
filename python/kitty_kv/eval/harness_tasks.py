"""Tasks of lm-evaluation-harness by name: found, refused, or loaded with their data, all before a model is."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import os
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError, KittyKvError, UnsupportedError
from .containers import allow_code
from .harness import check_harness
from .offline import TASKS
from .paper_tasks import PAPER_TASKS, SAMPLING_OPTIONS

# Of examples and of the order of choices, as the harness's own command line has them.
_DATA_SEED, _EXAMPLE_SEED = 0, 1234


@dataclasses.dataclass(frozen=True, slots=True)
class HarnessOptions:
    """How tasks of the harness are run.

    Args:
        include: folder with further task files, which the harness calls ``--include_path``.
        metric: by which an answer is right, such as ``exact_match`` or ``exact_match,flexible-extract`` with the name of a filter;
            None for the task's first.
        repeats: how often each question is answered, each time with another seed; None for the paper's, and 1 of other tasks.
        max_new_tokens: of an answer; None for the paper's, or the task's own.
    """

    include: pathlib.Path | None = None
    metric: str | None = None
    repeats: int | None = None
    max_new_tokens: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Those that decide results."""
        return {"metric": self.metric, "repeats": self.repeats, "maxNewTokens": self.max_new_tokens}


@dataclasses.dataclass(frozen=True, slots=True)
class HarnessTask:
    """A task with its data.

    Args:
        task: the harness's own.
        metric: by which an answer is right; None for likelihoods of whole texts.
        repeats: how often each question is answered.
        generation: what generations are made with, over the task's own.
    """

    name: str
    task: Any
    metric: str | None
    repeats: int
    generation: dict[str, Any]


def load_tasks(names: Sequence[str], options: HarnessOptions, *, only_data: bool = False) -> list[HarnessTask]:
    """The tasks by these names, a group's all, with their data.

    Args:
        only_data: nothing will be answered, so that tasks that run code may be had anywhere.

    Raises:
        ConfigError: a name or the metric is unknown.
        UnsupportedError: the harness is missing, or a task runs code that a model wrote and this is no container.
        KittyKvError: a task's data cannot be had.
    """
    if options.include is not None and not options.include.is_dir():
        raise ConfigError(
            f'Cannot find tasks in "{options.include}": there is no such folder; give one with task files as --include-path.'
        )
    check_harness()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = _manager(names, options.include)
    # Seen before any data is fetched.
    unsafe = [leaf for name in names for leaf in _leaves(name, manager.task_index) if _runs_code(leaf, manager)]
    if unsafe and not only_data:
        allow_code(unsafe[0])
    found: dict[str, HarnessTask] = {}
    for name in names:
        if name not in found:
            found.update(_load(name, manager, options))
    # A group's file may say it of a task whose own file does not.
    unseen = [each.name for each in found.values() if getattr(each.task, "UNSAFE_CODE", False)]
    if unseen and not only_data:
        allow_code(unseen[0])
    return list(found.values())


def _manager(names: Sequence[str], include: pathlib.Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    path = None if include is None else str(include)
    if path is not None:
        # Reading all of the harness's own fifteen thousand takes ten seconds.
        own = TaskManager(include_path=path, include_defaults=False)
        if set(names) <= set(own.all_tasks):
            return own
    manager = TaskManager(include_path=path)
    for name in names:
        if name not in manager.task_index:
            known = [*TASKS, *manager.all_tasks]
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f", did you mean {nearest[0]!r}? The" if nearest else "; the"
            raise ConfigError(
                f"Cannot evaluate task {name!r}: it is unknown{hint} tasks are {', '.join(TASKS)}, and lm-evaluation-harness's "
                f"own, such as {', '.join(PAPER_TASKS)}{_unread(include)}.",
                code="unknown_task",
                details={"task": name, "nearest": nearest},
            )
    return manager


def _unread(include: pathlib.Path | None) -> str:
    """Which task files in the folder the harness passed over, since they are none."""
    import yaml
    from lm_eval.tasks._yaml_loader import load_yaml

    found = []
    for path in [] if include is None else sorted(include.rglob("*.yaml")):
        try:
            load_yaml(path, resolve_func=False)
        except (OSError, ValueError, yaml.YAMLError) as error:
            found.append(f'"{path.name}" ({" ".join(str(error).split())[:200]})')
    return f"; what cannot be read of --include-path: {', '.join(found)}" if found else ""


def _leaves(name: str, index: dict[str, Any]) -> list[str]:
    """The tasks that a name stands for, as their files say."""
    found: dict[str, bool] = {}
    waiting = [name]
    while waiting:
        at = waiting.pop()
        entry = index.get(at)
        if entry is None or at in found:
            continue
        found[at] = True
        children = (entry.cfg or {}).get("task")
        if isinstance(children, list):
            waiting += [each if isinstance(each, str) else str(each.get("task")) for each in children]
        if entry.kind.name == "TAG":
            waiting += list(entry.tags)
    return list(found)


def _runs_code(name: str, manager: Any) -> bool:
    return bool((manager.task_index[name].cfg or {}).get("unsafe_code"))


def _load(name: str, manager: Any, options: HarnessOptions) -> dict[str, HarnessTask]:
    random.seed(_DATA_SEED)
    np.random.seed(_EXAMPLE_SEED)
    with _data_errors(name):
        loaded = manager.load([name])["tasks"]
    found = {}
    for leaf, task in loaded.items():
        if getattr(task, "MULTIMODAL", False):
            raise UnsupportedError(f"Cannot evaluate task {leaf!r}: it has images or sounds; give tasks of text.")
        found[leaf] = _prepare(leaf, task, options)
    return found


def _prepare(name: str, task: Any, options: HarnessOptions) -> HarnessTask:
    paper = PAPER_TASKS.get(name)
    generation: dict[str, Any] = {}
    if paper is not None:
        generation = {**SAMPLING_OPTIONS, "max_gen_toks": paper.max_new_tokens}
        if paper.num_fewshot is not None and task.get_config("num_fewshot") != 0:
            task.set_config("num_fewshot", paper.num_fewshot)
    if options.max_new_tokens is not None:
        generation["max_gen_toks"] = options.max_new_tokens
    if task.get_config("num_fewshot") is None:
        task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(_EXAMPLE_SEED)
    repeats = options.repeats or (1 if paper is None else paper.repeats)
    is_written = task.OUTPUT_TYPE == "generate_until"
    return HarnessTask(name, task, _metric(name, task, options.metric), repeats if is_written else 1, generation)


def _metric(name: str, task: Any, wanted: str | None) -> str | None:
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        if wanted is not None:
            raise ConfigError(
                f"Cannot evaluate task {name!r} by metric {wanted!r}: it measures likelihoods; leave --metric out."
            )
        return None
    known = _metrics(task)
    if not known:
        raise UnsupportedError(
            f"Cannot evaluate task {name!r} here: its metrics ({', '.join(task.aggregation())}) are of all answers together, not of "
            f"each; run kitty-lm-eval run --model kitty --tasks {name} (docs/evaluation.md)."
        )
    if wanted is None:
        return known[0]
    chosen = [each for each in known if wanted in (each, each.split(",")[0])]
    if chosen:
        return chosen[0]
    nearest = difflib.get_close_matches(wanted, [*known, *(each.split(",")[0] for each in known)], n=1, cutoff=0.5)
    hint = f", did you mean {nearest[0]!r}? Its" if nearest else "; its"
    raise ConfigError(
        f"Cannot evaluate task {name!r} by metric {wanted!r}: it is unknown{hint} metrics are {' and '.join(known)}.",
        code="unknown_metric",
        details={"metric": wanted, "known": known},
    )


def _metrics(task: Any) -> list[str]:
    """Each with each filter, the task's first first; only those that are means over answers."""
    filters = [each.name for each in getattr(task, "_filters", ())] or ["none"]
    names: list[str] = []
    for name, how in task.aggregation().items():
        if getattr(how, "__name__", "") != "mean":
            continue
        if name == "pass_at_k":  # what it gives is called after its k
            counts = task._metric_fn_kwargs.get(name, {}).get("k", [1])
            names += [f"pass@{k}" for k in (counts if isinstance(counts, list) else [counts])]
        else:
            names.append(name)
    return [f"{name},{each}" for name in names for each in filters]


@contextlib.contextmanager
def _data_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UnsupportedError(
            f'Cannot load task {name!r}: {_first_line(error)}; install what it needs with "pip install kitty-kv[eval]", or as it says.',
            code="missing_package",
        ) from error
    except OSError as error:  # ConnectionError, and what datasets raises where a hub or a file cannot be reached
        raise data_unreachable(name, error) from error
    except KittyKvError:
        raise
    except Exception as error:  # whatever a task's own functions make of its data
        raise KittyKvError(
            f"Cannot load task {name!r}: {type(error).__name__}: {_first_line(error)}; correct the task's file or its data.",
            code="bad_task",
        ) from error


def data_unreachable(name: str, error: OSError) -> KittyKvError:
    """What is said of a task's data that cannot be had."""
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return KittyKvError(
        f'Cannot get the data of task {name!r}: {_first_line(error)}; where there is a network fetch it with "HF_HOME=FOLDER '
        f'python -m kitty_kv.eval.fetch --tasks {name}", bring FOLDER here and set HF_HOME to it (now {cache}).',
        code="data_unreachable",
        details={"task": name},
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
