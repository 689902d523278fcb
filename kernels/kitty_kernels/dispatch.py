"""Which implementation of an operation runs: chosen by name or by device, never silently replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

Operation = TypeVar("Operation", bound=Callable)


def choose(operation: str, implementations: Mapping[str, Operation], impl: str) -> Operation:
    """Returns the implementation called ``impl``.

    Args:
        operation: the operation's name, for the error.
        implementations: name to function; ``reference`` always exists.
        impl: a name in ``implementations``, or ``auto`` for the fastest one that exists.

    Raises:
        NotImplementedError: there is no such implementation.
    """
    if impl == "auto":
        impl = "triton" if "triton" in implementations else "reference"
    if impl not in implementations:
        raise NotImplementedError(
            f"Cannot run {operation} with impl={impl!r}: this version has {', '.join(sorted(implementations))}; "
            "choose one of these or 'auto'."
        )
    return implementations[impl]
