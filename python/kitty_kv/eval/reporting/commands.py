"""Commands that repeat results, from what the results say of themselves."""

from __future__ import annotations

import re
import shlex
from typing import Any

from .sources import EvaluationResults

_BUNDLED = "kitty-tiny"
_MEASURES = "kitty_kv.bench.latency"
# The command line's configuration has them, and a document on stdout is asked for otherwise there.
_NOT_FLAGS = ("--json", "--device", "--dtype")


def evaluation_command(results: EvaluationResults) -> str:
    """Of one results folder; model, text and task files as they lay on the machine that made it."""
    run, records = results.run, results.records
    presets = ",".join(dict.fromkeys(record["preset"] for record in records))
    tasks = ",".join(dict.fromkeys(record["task"] for record in records))
    limit = 1 + max(int(str(record.get("question", record["item"])).rsplit("/", 1)[-1]) for record in records)
    options = {
        "preset": presets,
        "tasks": tasks,
        "limit": limit,
        "lengths": ",".join(map(str, run.get("lengths", []))),
        "seed": run.get("seed", 0),
    }
    if run.get("model") != _BUNDLED:
        options["model"] = run.get("modelPath", run.get("model"))
    if run.get("textSha256") is not None:
        options["text"] = results.environment.get("textPath", run.get("text"))
    harness = run.get("harness") or {}
    theirs = {
        "include-path": results.environment.get("includePath"),
        **{_kebab(name): harness.get(name) for name in ("metric", "repeats", "maxNewTokens")},
    }
    return _command(
        "kitty-kv eval", {**options, **{name: value for name, value in theirs.items() if value is not None}}
    )


def simulation_command(document: dict[str, Any], more: str = "") -> str:
    """Of one simulation, or with ``more`` of a sensitivity analysis."""
    cache = {_kebab(name): value for name, value in document["cache"].items()}
    windows = {name: document[name] for name in ("sequences", "length") if name in document}
    if document.get("textPath") is not None:
        windows["text"] = document["textPath"]
    if document.get("model", _BUNDLED) != _BUNDLED:
        windows["model"] = document.get("modelPath", document["model"])
    more = " --verify" if "verification" in document else f" {shlex.quote(more)}" if more else ""
    return _command("kitty-kv simulate", {**cache, **windows}) + more


def sensitivity_command(document: dict[str, Any]) -> str:
    """Of one sensitivity analysis."""
    return simulation_command(document, f"--sensitivity={','.join(map(str, document['sensitivity']))}")


def latency_command(document: dict[str, Any]) -> str | None:
    """Of one measurement, from how its module was called; None where that is not known."""
    told = str(document["environment"].get("command", ""))
    called, _, arguments = told.partition(_MEASURES)
    if not called.startswith("python"):
        return told or None
    try:
        flags = [each for each in shlex.split(arguments) if each.partition("=")[0] not in _NOT_FLAGS]
    except ValueError:  # results are others' words
        return told
    return shlex.join(["kitty-kv", "bench", "latency", *flags])


def _command(name: str, options: dict[str, Any]) -> str:
    return " ".join([name, *(f"--{option}={shlex.quote(str(value))}" for option, value in options.items())])


def _kebab(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"-{found[0].lower()}", name)
