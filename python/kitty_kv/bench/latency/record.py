"""Rows as they come, and the files that hold them."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from .plot import svg
from .report import is_stock, markdown
from .row import LatencyRow


class Record:
    """Everything that was measured so far; files are written anew after each row, so that a run that is cut off leaves them.

    Args:
        environment: what the rows were measured on, plain data.
        folder: for ``report.json``, ``report.md`` and ``latency.svg``; None for none.
        plot: another place for the plot, or None.
    """

    def __init__(self, environment: dict[str, Any], folder: pathlib.Path | None, plot: pathlib.Path | None) -> None:
        self.rows: list[LatencyRow] = []
        self._environment = environment
        self._folder = folder
        self._plot = plot
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def add(self, row: LatencyRow) -> None:
        """Takes a row and writes the files."""
        self.rows.append(row)
        self._write()

    def document(self) -> dict[str, Any]:
        """JSON-like."""
        return {"environment": self._environment, "rows": [_to_json(row) for row in self.rows]}

    def report(self) -> str:
        """Markdown."""
        return markdown(self._environment, _by_shape(self.rows))

    def _write(self) -> None:
        drawn = svg(self._environment, _by_shape(self.rows))
        if self._plot is not None:
            _replace(self._plot, drawn)
        if self._folder is not None:
            _replace(self._folder / "report.json", json.dumps(self.document(), indent=1) + "\n")
            _replace(self._folder / "report.md", self.report() + "\n")
            _replace(self._folder / "latency.svg", drawn)


def _by_shape(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """Rows of one shape together, shapes as they came, those of Transformers first; rows of a budget have a batch each."""
    shapes = list(dict.fromkeys((row.part, row.batch, row.prompt_tokens) for row in rows if row.part != "budget"))
    order = {shape: at for at, shape in enumerate(shapes)}

    def place(row: LatencyRow) -> tuple[int, bool]:
        return order.get((row.part, row.batch, row.prompt_tokens), len(order)), not is_stock(row)

    return sorted(rows, key=place)


def _replace(path: pathlib.Path, text: str) -> None:
    half = path.with_name(f"{path.name}.part")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)


def _to_json(row: LatencyRow) -> dict[str, object]:
    return {camel_case(name): value for name, value in dataclasses.asdict(row).items()}


def camel_case(name: str) -> str:
    """What a field of ``LatencyRow`` is called in a report."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)
