"""The model that is measured, and the machine that it lies on."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from typing import Any

import torch

from ...errors import ConfigError, KittyKvError
from ...hf.loading import DTYPES, choose_device, load_model
from ...hf.random_model import SHAPES, random_model


def load_subject(name: str | None, dtype: str, device: str) -> Any:
    """A model under the kitty attention.

    Args:
        name: folder or hub id, or one of ``SHAPES`` for random weights; None for the bundled one.
        dtype: ``auto`` or one of ``DTYPES``.
        device: ``auto`` or a torch device name.

    Raises:
        ConfigError: there is no such model or device.
    """
    if name in SHAPES:
        return random_model(name, DTYPES.get(dtype, torch.bfloat16), choose_device(device))
    try:
        return load_model(name, dtype=dtype, device=device).model
    except KittyKvError as error:
        # On a command line it is an argument that is wrong.
        raise ConfigError(str(error), code=error.code, details=error.details) from error


def describe(model: Any, name: str | None, command: str) -> dict[str, Any]:
    """Plain data that belongs to every figure."""
    is_cuda = model.device.type == "cuda"
    cpu = f"{platform.machine()} CPU, torch threads: {torch.get_num_threads()}"
    return {
        "hardware": torch.cuda.get_device_name(model.device) if is_cuda else cpu,
        "model": name or "kitty-tiny",
        "dtype": str(model.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
    }
