"""Reads results from folders and files, whatever they hold, and refuses what is none."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError
from ..results_folder import ENVIRONMENT, ITEMS, RUN, VERSION

_FIGURES = ("figures.json", "report.json")


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationResults:
    """One results folder: what decided it, where it ran, and its items' records."""

    run: dict[str, Any]
    environment: dict[str, Any]
    records: list[dict[str, Any]]


@dataclasses.dataclass(slots=True)
class Sources:
    """All that was found."""

    evaluations: list[EvaluationResults] = dataclasses.field(default_factory=list)
    latencies: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    simulations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sensitivities: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def read_sources(paths: Sequence[pathlib.Path]) -> Sources:
    """Results of each path: a results folder of an evaluation, the folder of a job, or a document that a command printed.

    Raises:
        ConfigError: a path is missing or holds no results, or those of another version.
    """
    if not paths:
        raise ConfigError("Cannot report: no results are named; give jobs, folders of results or files.")
    found = Sources()
    for path in paths:
        _read_path(path, found)
    return found


def _read_path(path: pathlib.Path, found: Sources) -> None:
    if path.is_file():
        _take(_document(path), path, found)
        return
    if not path.is_dir():
        raise ConfigError(f'Cannot report on "{path}": there is no such job, folder or file.', code="no_results")
    for folder in (path, path / "items"):
        if (folder / RUN).is_file():
            found.evaluations.append(_evaluation(folder))
            return
    for name in _FIGURES:
        if (path / name).is_file():
            _take(_document(path / name), path / name, found)
            return
    raise ConfigError(
        f'Cannot report on "{path}": it holds neither {RUN} nor {" nor ".join(_FIGURES)}, so no results of an evaluation, a '
        "latency or a simulation; a job must have succeeded.",
        code="no_results",
    )


def _evaluation(folder: pathlib.Path) -> EvaluationResults:
    run = _document(folder / RUN)
    if run.get("version") != VERSION:
        raise ConfigError(
            f'Cannot report on "{folder}": its results are of version {run.get("version")!r}, this is {VERSION}; evaluate again.',
            code="other_results",
        )
    environment = _document(folder / ENVIRONMENT) if (folder / ENVIRONMENT).is_file() else {}
    records = []
    for number, line in enumerate((folder / ITEMS).read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break  # a run that is being written, or was killed
        try:
            record = json.loads(line)
            records.append({**record, "task": str(record["task"]), "preset": str(record["preset"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'Cannot report on "{folder}": line {number} of {ITEMS} is no record ({error}).'
            ) from error
    if not records:
        raise ConfigError(
            f'Cannot report on "{folder}": it holds no item yet; let the evaluation go on.', code="no_results"
        )
    return EvaluationResults(run, environment, records)


def _take(document: dict[str, Any], path: pathlib.Path, found: Sources) -> None:
    if isinstance(document.get("environment"), dict) and isinstance(document.get("rows"), list):
        found.latencies.append(document)
    elif isinstance(document.get("cache"), dict) and "klDivergence" in document:
        is_sensitivity = isinstance(document.get("sensitivity"), dict)
        (found.sensitivities if is_sensitivity else found.simulations).append(document)
    elif isinstance(document.get("children"), list):
        raise ConfigError(f'Cannot report on "{path}": it is a sweep; name it by its id, or name its children.')
    else:
        raise ConfigError(
            f'Cannot report on "{path}": it is no document of bench latency or simulate; of an evaluation give the folder.',
            code="no_results",
        )


def _document(path: pathlib.Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f'Cannot report on "{path}": it is not readable as JSON ({error}).', code="no_results"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f'Cannot report on "{path}": it holds no results.', code="no_results")
    return document
