"""Says as JSON what this Python has, for ``kitty-kv doctor``: ``python -m kitty_kv.doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys

PACKAGES = ("numpy", "torch", "transformers", "safetensors", "triton", "kitty_kernels", "kitty_kv")
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def report() -> dict[str, object]:
    """Imports what a worker needs and reports how that went; nothing here raises for what is missing."""
    return {
        "version": platform.python_version(),
        "file": sys.executable,
        "packages": {name: _package(name) for name in PACKAGES},
        "gpus": _gpus(),
        "model": _model(),
    }


def _package(name: str) -> dict[str, str]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return {} if error.name == name else {"error": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises is its finding
        return {"error": f"{type(error).__name__}: {error}"}
    return {"version": getattr(module, "__version__", None) or _installed_version(name)}


def _installed_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "from its folder"


def _gpus() -> list[dict[str, object]]:
    try:
        import torch
    except Exception:  # noqa: BLE001 - the package's own check says so
        return []
    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memoryMiB": device.total_memory // 2**20} for device in devices]


def _model() -> dict[str, object] | None:
    try:
        from kitty_kv.tiny import MODEL_PATH
    except Exception:  # noqa: BLE001 - the package's own check says so
        return None
    missing = [name for name in MODEL_FILES if not (MODEL_PATH / name).is_file()]
    return {"path": str(MODEL_PATH), "missing": missing}


if __name__ == "__main__":
    print(json.dumps(report()))
