"""python -m kitty_kv.eval.fetch --tasks gsm8k_cot_llama,… [--include-path FOLDER]

Fetches the data of tasks of lm-evaluation-harness into HF_HOME, for machines without a network. No model is loaded.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from ..command_line import UsageParser, exit_code_of, tell_error
from ..errors import KittyKvError
from .harness_tasks import HarnessOptions, load_tasks


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 all is there, 1 something cannot be had, 2 wrong usage."""
    try:
        options = _parser().parse_args(argv)
        tasks = load_tasks(options.tasks, HarnessOptions(include=options.include_path), only_data=True)
    except KittyKvError as error:
        tell_error(error, is_json=False)
        return exit_code_of(error)
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    for found in tasks:
        print(f"{found.name}: {len(found.task.eval_docs)} questions, in {cache}")
    return 0


def _parser() -> argparse.ArgumentParser:
    about = " ".join(__doc__.split("\n\n")[1].split())
    parser = UsageParser(prog="python -m kitty_kv.eval.fetch", description=about, allow_abbrev=False)
    parser.add_argument("--tasks", type=_names, required=True, help="by commas")
    parser.add_argument("--include-path", type=pathlib.Path, help="folder with task files of your own")
    return parser


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if not names:
        raise argparse.ArgumentTypeError("a list is empty; give names by commas")
    return names


if __name__ == "__main__":
    sys.exit(main())
