"""kitty-lm-eval run --model kitty --model_args pretrained=FOLDER,preset=kitty-pro --tasks T,…

The command line of lm-evaluation-harness with our model type ``kitty`` registered. ``--paper NAME`` stands for one of the
paper's tasks with its sampling, such as ``--paper gsm8k_cot_llama``; give ``seed=N`` in ``--model_args`` for each repeat.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import sys
from collections.abc import Sequence

from ..command_line import tell_error
from ..errors import ConfigError, KittyKvError, UnsupportedError
from .containers import check_code_may_run
from .paper_tasks import paper_task

HARNESS = "lm_eval"
WANTED = "0.4.13"
OUR_TASKS = pathlib.Path(__file__).with_name("harness_format")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage; the harness itself may end the process as it does."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = expand_paper(arguments)
        check_harness()
        run_harness(arguments)
    except KittyKvError as error:
        tell_error(error, is_json=False)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def has_harness() -> bool:
    """Whether the harness is here, in the version that the adapter was tested with."""
    return _found() == WANTED


def check_harness() -> None:
    """Checks that the harness is here, in the version that the adapter was tested with.

    Raises:
        UnsupportedError: it is not.
    """
    found = _found()
    if found == WANTED:
        return
    state = "it is not installed" if found is None else f"version {found} is installed"
    raise UnsupportedError(
        f"Cannot run lm-evaluation-harness: {state}, and model type kitty was tested with {WANTED}; install it with "
        f"\"pip install kitty-kv[eval]\" or \"pip install '{HARNESS}[math]=={WANTED}' 'huggingface_hub<1.0'\".",
        code="missing_harness",
        details={"found": found, "wanted": WANTED},
    )


def _found() -> str | None:
    try:
        return importlib.metadata.version(HARNESS)
    except importlib.metadata.PackageNotFoundError:
        return None


def expand_paper(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with what ``--paper NAME`` stands for.

    Raises:
        ConfigError: the name is missing or unknown.
        UnsupportedError: the task runs code that a model wrote, and this is no container.
    """
    found = list(arguments)
    if "--paper" not in found:
        return found
    at = found.index("--paper")
    if at + 1 == len(found):
        raise ConfigError("Cannot read the command line: --paper needs the name of a task.", code="usage")
    task = paper_task(found[at + 1])
    check_code_may_run(task.name, task.runs_code)
    found[at : at + 2] = task.arguments()
    return found


def with_our_tasks(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the folder of our own tasks, ``kitty_offline`` and what it has, unless there is another."""
    found = list(arguments)
    has_other = any(each.partition("=")[0] == "--include_path" for each in found)
    return found if found[:1] != ["run"] or has_other else [*found, "--include_path", str(OUR_TASKS)]


def run_harness(arguments: Sequence[str]) -> None:
    """The harness's own command line, with our model type.

    Raises:
        KittyKvError: a task's data cannot be had; no model has been loaded then.
    """
    from lm_eval.__main__ import cli_evaluate

    from . import harness_model  # noqa: F401  # registers the type

    before = sys.argv
    sys.argv = [HARNESS, *with_our_tasks(arguments)]
    try:
        cli_evaluate()
    except OSError as error:  # ConnectionError, and what datasets raises when a hub cannot be reached
        raise KittyKvError(
            f"Cannot get a task's data: {str(error).strip().splitlines()[0]}; fetch it where there is a network with "
            '"HF_HOME=FOLDER python -m kitty_kv.eval.fetch --tasks NAME", bring FOLDER here and set HF_HOME to it.',
            code="data_unreachable",
        ) from error
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
