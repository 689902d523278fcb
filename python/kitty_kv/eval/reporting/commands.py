"""Commands that repeat results, from what the results say of themselves."""

from __future__ import annotations

import re
import shlex
from typing import Any

from .sources import EvaluationResults


def evaluation_command(results: EvaluationResults) -> str:
    """Of one results folder; a text and a model in a folder by their names alone."""
    run, records = results.run, results.records
    presets = ",".join(dict.fromkeys(record["preset"] for record in records))
    tasks = ",".join(dict.fromkeys(record["task"] for record in records))
    limit = 1 + max(int(str(record["item"]).rsplit("/", 1)[-1]) for record in records)
    options = {
        "preset": presets,
        "tasks": tasks,
        "limit": limit,
        "lengths": ",".join(map(str, run.get("lengths", []))),
        "seed": run.get("seed", 0),
    }
    if run.get("model") != "kitty-tiny":
        options["model"] = run.get("model")
    if run.get("textSha256") is not None:
        options["text"] = run.get("text")
    return _command("kitty-kv eval", options)


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
