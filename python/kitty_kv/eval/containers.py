"""Whether code that a model wrote may be run here."""

from __future__ import annotations

import os

from ..errors import UnsupportedError


def check_code_may_run(task: str, runs_code: bool) -> None:
    """Lets a task that executes what the model wrote pass in a container only.

    Raises:
        UnsupportedError: it does, and this is none.
    """
    if not runs_code or "APPTAINER_CONTAINER" in os.environ:
        return
    raise UnsupportedError(
        f"Cannot run {task} here: it executes code that the model wrote, which is done inside a container only; run "
        "it in an instance (docs/apptainer.md).",
        code="unsafe_code",
        details={"task": task},
    )


def allow_code(task: str) -> None:
    """Lets this process execute what a model wrote for ``task``.

    Raises:
        UnsupportedError: this is no container.
    """
    check_code_may_run(task, True)
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"  # without it the metric that runs code refuses
