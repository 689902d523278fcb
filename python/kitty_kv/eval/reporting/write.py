"""Writes a report's files: each whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from ...errors import ConfigError
from .blocks import as_html, as_markdown
from .document import TITLE, build
from .sources import Sources


def check_out(out: pathlib.Path) -> pathlib.Path:
    """``out`` if a report can be written there.

    Raises:
        ConfigError: it does not end in .html, or is a folder.
    """
    if out.suffix != ".html" or out.is_dir():
        raise ConfigError(f'Cannot write a report to "{out}": give a file that ends in .html as --out.')
    return out


def write_report(sources: Sources, out: pathlib.Path, date: str) -> tuple[list[pathlib.Path], dict[str, Any], str]:
    """Writes ``out`` and, beside it, .md, .json and .csv.

    Returns:
        The files, the report's data and its Markdown.

    Raises:
        ConfigError: a file cannot be written.
    """
    report = build(sources, date)
    text = as_markdown(report.blocks)
    data = json.dumps(report.data, indent=1, allow_nan=False) + "\n"
    contents = {".html": as_html(TITLE, report.blocks), ".md": text, ".json": data, ".csv": report.csv()}
    files = []
    for suffix, content in contents.items():
        path = out.with_suffix(suffix)
        half = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            half.write_text(content, encoding="utf-8")
            os.replace(half, path)
        except OSError as error:
            raise ConfigError(
                f'Cannot write a report to "{path}": {error.strerror or error}; give another --out.'
            ) from error
        files.append(path)
    return files, report.data, text
