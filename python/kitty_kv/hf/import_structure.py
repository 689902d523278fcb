"""What Transformers reads in two thousand files at every import, read once when an overlay is provisioned.

``import transformers`` opens the source of every model, twice, to learn which names it exports. Through the FUSE mount of
an overlay that is half of all that a worker's start reads. An overlay is sealed and never changes, so its provision writes
the answer into a file beside Transformers (``python -m kitty_kv.hf.import_structure``) and workers take it from there.
Where there is no such file, or it is of another version, Transformers reads for itself.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

FILE = "kitty-import-structure.json"
_MODULE = "transformers.utils.import_utils"


def use_known_structure(path: pathlib.Path | None = None) -> bool:
    """Has the coming import of Transformers take the file's answer.

    Args:
        path: of the file; None for where ``write_known_structure`` writes it.

    Returns:
        False where there is no such file, it is of another version, or Transformers is imported already.
    """
    spec = importlib.machinery.PathFinder.find_spec("transformers")
    if "transformers" in sys.modules or spec is None or spec.origin is None:
        return False
    models = pathlib.Path(spec.origin).parent / "models"
    known = _read(path or models.parent.parent / FILE)
    if known is None:
        return False
    sys.meta_path.insert(0, _Finder(lambda module: _wrap(module, models, known)))
    return True


class _Finder:
    """Finds one module as usual and calls ``finish`` with it once it has run; everything else is others' to find."""

    def __init__(self, finish: Callable[[ModuleType], None]) -> None:
        self._finish = finish

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._finish(module)

            spec.loader.exec_module = exec_module
        return spec


def _wrap(module: ModuleType, models: pathlib.Path, known: Any) -> None:
    read = module.create_import_structure_from_path

    def create_import_structure_from_path(module_path: Any) -> Any:
        # Of a file it is what it is of its folder.
        is_models = pathlib.Path(module_path) in (models, models / "__init__.py")
        return _from_json(known) if is_models else read(module_path)

    module.create_import_structure_from_path = create_import_structure_from_path


def _read(path: pathlib.Path) -> Any:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return document["structure"] if document["version"] == importlib.metadata.version("transformers") else None


def write_known_structure(path: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the file, from what Transformers itself finds; its place is beside Transformers unless ``path`` says another."""
    import transformers
    from transformers.utils.import_utils import create_import_structure_from_path

    folder = pathlib.Path(transformers.__file__).parent
    structure = _to_json(create_import_structure_from_path(folder / "models"))
    path = path or folder.parent / FILE
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"version": transformers.__version__, "structure": structure}))
    draft.replace(path)
    return path


def _to_json(structure: Any) -> Any:
    """Folders are dicts by name; what a file exports are dicts by the backends that it needs, a frozenset."""
    if isinstance(structure, dict):
        return [
            [sorted(key) if isinstance(key, frozenset) else key, _to_json(value)] for key, value in structure.items()
        ]
    return {"names": sorted(structure)}


def _from_json(structure: Any) -> Any:
    if isinstance(structure, dict):
        return set(structure["names"])
    return {frozenset(key) if isinstance(key, list) else key: _from_json(value) for key, value in structure}


if __name__ == "__main__":
    print(write_known_structure())
