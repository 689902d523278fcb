"""A folder of results to which each item is added as it is done, so that a killed run goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
from types import TracebackType
from typing import Any

from ..errors import ConfigError

VERSION = 2
RUN, ITEMS, ENVIRONMENT = "run.json", "items.jsonl", "environment.json"


def check_version(path: pathlib.Path) -> None:
    """Says early that a folder's results are of another version; whether they are of the same run is seen when it is opened.

    Raises:
        ConfigError: they are.
    """
    try:
        found = json.loads((path / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # there is none yet, or opening it says what is wrong
    if isinstance(found, dict) and found.get("version") != VERSION:
        raise ConfigError(
            f'Cannot go on in "{path}": its results are of another run (version was {found.get("version")!r} and is {VERSION}); '
            "give another --out.",
            code="other_results",
            details={"differing": ["version"]},
        )


class ResultsFolder:
    """Records of one run, by preset and item; a context manager, with one user at a time.

    Args:
        path: made where it is missing.
        run: what decides the results besides presets, tasks and how many items: a folder of another run is refused.

    Raises:
        ConfigError: it holds another run's results or another version's, or another process writes to it.
    """

    def __init__(self, path: pathlib.Path, run: dict[str, Any]) -> None:
        self.path = path
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file = (path / ITEMS).open("a+b")
        except OSError as error:
            raise ConfigError(
                f'Cannot write results to "{path}": {error.strerror or error}; give another --out.'
            ) from error
        try:
            self._lock()
            self._check_run({"version": VERSION, **run})
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResultsFolder:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def note_environment(self, environment: dict[str, Any]) -> None:
        """Says where the items are answered; it does not decide them."""
        (self.path / ENVIRONMENT).write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    def add(self, record: dict[str, Any]) -> None:
        """Writes one record, with ``preset`` and ``item``, before it returns."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records[record["preset"], record["item"]] = record

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f'Cannot write results to "{self.path}": another evaluation is writing there; wait for it, or give another --out.'
            ) from error

    def _check_run(self, run: dict[str, Any]) -> None:
        path = self.path / RUN
        if not path.exists():
            if (self.path / ITEMS).stat().st_size:
                raise ConfigError(
                    f'Cannot go on in "{self.path}": it holds {ITEMS} without {RUN}, so whose results they are is not known; '
                    "give another --out."
                )
            path.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(
                f'Cannot go on in "{self.path}": {RUN} is not JSON ({error}); give another --out.'
            ) from error
        differing = sorted(name for name in {*before, *run} if before.get(name) != run.get(name))
        if differing:
            told = ", ".join(f"{name} was {before.get(name)!r} and is {run.get(name)!r}" for name in differing)
            raise ConfigError(
                f'Cannot go on in "{self.path}": its results are of another run ({told}); give another --out.',
                code="other_results",
                details={"differing": differing},
            )

    def _read(self) -> None:
        whole = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                self.records[record["preset"], record["item"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f'Cannot go on in "{self.path}": line {len(self.records) + 1} of {ITEMS} is no record; give another --out.'
                ) from error
            whole += len(line)
        # What a killed run had begun to write is no record.
        self._file.truncate(whole)
