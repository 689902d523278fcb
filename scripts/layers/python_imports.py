"""Lists every import of the Python files below the given folders, as JSON: python_imports.py ROOT FOLDER…"""

from __future__ import annotations

import ast
import json
import pathlib
import sys


def imports_of(path: pathlib.Path, package: list[str]) -> list[dict[str, object]]:
    """Absolute dotted names; ``from a import b`` counts as ``a.b``, as b may be a module."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    lazy = {id(inner) for node in ast.walk(tree) if isinstance(node, FUNCTIONS) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for name in _names(node, package):
            found.append({"name": name, "line": node.lineno, "isTopLevel": id(node) not in lazy})
    return found


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _names(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return [argument.value] if not argument.value.startswith(".") else []
    return []


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def main(root: pathlib.Path, folders: list[str]) -> None:
    """Prints {"stdlib": […], "files": {path: [{name, line, isTopLevel}]}}."""
    files = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).parts
            package = [pathlib.Path(folder).name, *parts[:-1]]
            files[path.relative_to(root).as_posix()] = imports_of(path, package)
    print(json.dumps({"stdlib": sorted(sys.stdlib_module_names), "files": files}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
