"""Commands that repeat results, from what the results say of themselves."""

from __future__ import annotations

import re
import shlex
from typing import Any

from .sources import EvaluationResults


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
    if run.get("model") != "kitty-tiny":
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
    more = " --verify" if "verification" in document else f" {shlex.quote(more)}" if more else ""
    return _command("kitty-kv simulate", {**cache, **windows}) + more


def _command(name: str, options: dict[str, Any]) -> str:
    return " ".join([name, *(f"--{option}={shlex.quote(str(value))}" for option, value in options.items())])


def _kebab(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"-{found[0].lower()}", name)
