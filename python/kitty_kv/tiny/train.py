"""Trains the bundled model: ``python -m kitty_kv.tiny.train --text books.txt.xz --valid other.txt.xz --minutes 7``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

from ..errors import ConfigError, KittyKvError
from . import MODEL_PATH
from .recipe import make_model
from .settings import TrainSettings

_DEFAULT_MINUTES = 7.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    try:
        chosen = {field.name: getattr(options, field.name) for field in fields(TrainSettings)}
        if chosen["steps"] is None and chosen["minutes"] is None:
            chosen["minutes"] = _DEFAULT_MINUTES
        make_model(options.text, options.valid, options.out, TrainSettings(**chosen), started=started)
    except ConfigError as error:
        return _fail(error, 2)
    except (KittyKvError, OSError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        print("Interrupted: no model was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kitty_kv.tiny.train", description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text to learn from, plain or .xz")
    parser.add_argument("--valid", type=Path, help="text to validate on; by default the last 5%% of --text")
    parser.add_argument("--out", type=Path, default=MODEL_PATH, help="folder to write (default: the bundled model's)")
    for field in fields(TrainSettings):
        kind = {"str": str, "str | None": str, "float": float, "float | None": float}.get(str(field.type), int)
        shown = "" if field.default is None else f" (default {field.default})"
        if field.name == "minutes":
            shown = f" (default {_DEFAULT_MINUTES:g}, without --steps)"
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=field.default, help=field.metadata["meaning"] + shown)
    return parser


def _fail(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
