"""Which implementation of an operation runs: chosen by name or by device, never silently replaced."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

Operation = TypeVar("Operation", bound=Callable)


def choose(operation: str, implementations: Mapping[str, Operation], impl: str, device: torch.device) -> Operation:
    """Returns the implementation called ``impl``.

    Args:
        operation: the operation's name, for the error.
        implementations: name to function; ``reference`` always exists.
        impl: a name in ``implementations``, or ``auto``: ``triton`` on CUDA devices, ``reference`` elsewhere.
        device: where the tensors lie.

    Raises:
        NotImplementedError: there is no such implementation, or it cannot run here.
    """
    if impl == "auto":
        impl = "triton" if device.type == "cuda" else "reference"
    if impl not in implementations:
        raise NotImplementedError(
            f"Cannot run {operation} with impl={impl!r}: this version has {', '.join(sorted(implementations))}; "
            "choose one of these or 'auto'."
        )
    if impl == "triton":
        _check_triton(operation, device)
    return implementations[impl]


def _check_triton(operation: str, device: torch.device) -> None:
    if importlib.util.find_spec("triton") is None:
        raise NotImplementedError(
            f"Cannot run {operation} with impl='triton' on {device}: triton is not installed; "
            "install it or choose impl='reference'."
        )
    # Triton reads the variable when it is imported; its interpreter runs the kernels on the CPU.
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise NotImplementedError(
            f"Cannot run {operation} with impl='triton' on {device}: triton needs a CUDA device, or TRITON_INTERPRET=1 "
            "set before it is first imported; choose impl='reference' or 'auto'."
        )
