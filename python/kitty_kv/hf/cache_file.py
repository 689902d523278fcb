"""The file of a saved cache: safetensors with one JSON document, whose checksums cover all of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import CacheFileError

FORMAT = "kitty-kv-cache"
VERSION = 1
_TENSORS = "sha256"


def write_cache_file(path: str | os.PathLike[str], document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Writes all of it or nothing: to a file beside ``path``, which takes its name once the disk has it.

    Raises:
        CacheFileError: the disk refuses; ``path`` is as before.
    """
    target = pathlib.Path(path)
    text = json.dumps({**document, _TENSORS: {name: _sha256(x) for name, x in tensors.items()}})
    header = {"format": FORMAT, "version": str(VERSION), "document": text, "sha256": _sha256_of(text)}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        save_file(tensors, temporary, metadata=header)
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    # Whatever stops it, Ctrl-C included, must not leave half a file.
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, (OSError, SafetensorError)):
            raise CacheFileError(
                f"Cannot save the cache to {str(target)!r}: {error}; check the folder and its free space."
            ) from error
        raise


def read_cache_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Mapping[str, torch.Tensor]]:
    """The document and the tensors, all of which are what was written; nothing in the file is ever run.

    Raises:
        CacheFileError: there is no such file, or it is not one that ``write_cache_file`` of this version has written.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            document = _document(path, file.metadata() or {})
            sums, names = document.pop(_TENSORS), set(file.keys())
            if names != set(sums):
                raise _refusal(path, f"its tensors are not those it was saved with: {sorted(names ^ set(sums))[:4]}")
            tensors = {}
            for name, wanted in sums.items():
                tensors[name] = file.get_tensor(name)
                if _sha256(tensors[name]) != wanted:
                    raise _refusal(path, f"the bytes of tensor {name!r} have changed since it was saved")
    except (OSError, SafetensorError) as error:
        raise _refusal(path, f"it cannot be read as safetensors ({error})") from error
    return document, tensors


def _document(path: str | os.PathLike[str], header: Mapping[str, str]) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise _refusal(path, f"its format is {header.get('format')!r}, not {FORMAT!r}")
    if header.get("version") != str(VERSION):
        raise _refusal(path, f"it is of version {header.get('version')!r}, this program reads version {VERSION}")
    text = header.get("document", "")
    if _sha256_of(text) != header.get("sha256"):
        raise _refusal(path, "its header has changed since it was saved")
    return json.loads(text)


def _refusal(path: str | os.PathLike[str], found: str) -> CacheFileError:
    return CacheFileError(
        f"Cannot load a cache from {os.fspath(path)!r}: {found}; give a file that cache.save() wrote."
    )


def _sha256(x: torch.Tensor) -> str:
    # One element has no stride to reinterpret; flat bytes always work.
    flat = x.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy()).hexdigest()


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: str | os.PathLike[str]) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
