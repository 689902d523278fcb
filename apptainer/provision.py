"""Installs packages into the folder that becomes the overlay; runs inside the image, as its root, with nothing but the standard library.

``python3 /mnt/provision.py`` reads ``/mnt/plan.json`` (written by src/apptainer/provision-plan.ts), installs into a virtual
environment at ``/opt/kitty/env``, and leaves ``/tmp/result.json``: ``{"python": str, "packages": {name: version}}``.
Wheels of an offline provision are in ``/media``. Ends with exit code 1, and the failed command's output, when a step fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

INPUT = Path("/mnt")
WHEELS = "/media"
ENVIRONMENT = Path("/opt/kitty/env")
PYTHON = str(ENVIRONMENT / "bin" / "python")

VERSIONS = """
import importlib.metadata, json, platform
packages = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": dict(sorted(packages.items()))}))
"""


def main() -> None:
    """Runs the plan's steps in order."""
    threading.Thread(target=_end_with_host, daemon=True).start()
    plan = json.loads((INPUT / "plan.json").read_text())
    _step(f"make the environment {ENVIRONMENT}")
    _run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], {})
    pip = _pip_install(plan)
    environment = _environment(plan)
    if plan["requirements"]:
        _step(f"install {', '.join(plan['requirements'])}")
        _run([*pip, *plan["requirements"]], environment)
    if plan["sources"]:
        _step(f"install {', '.join(plan['sources'])} and what they need")
        _run([*pip, "--no-build-isolation", *map(_writable_copy, plan["sources"])], environment)
    _step("compile to bytecode")
    # What cannot be compiled (tests of another Python's syntax) is no failure: pip ignores it as well.
    command = [PYTHON, "-I", "-m", "compileall", "-q", "-j", "0", str(ENVIRONMENT / "lib")]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    _step(f"import {', '.join(plan['imports']) or 'nothing'}")
    _run([PYTHON, "-I", "-c", "".join(f"import {name}\n" for name in plan["imports"])], {})
    if "kitty_kv" in plan["imports"]:
        _step("remember what Transformers would look for at every start")
        _run([PYTHON, "-I", "-m", "kitty_kv.hf.import_structure"], {})
    result = subprocess.run([PYTHON, "-I", "-c", VERSIONS], check=True, capture_output=True, text=True)
    Path("/tmp/result.json").write_text(result.stdout)


def _end_with_host() -> None:
    # The orchestrator holds the other end: when it dies, by whatever signal, nobody wants this overlay any more.
    # Not through sys.stdin, whose lock the interpreter wants when it ends.
    while os.read(0, 4096):
        pass
    os._exit(1)


def _pip_install(plan: dict) -> list[str]:
    flags = ["--no-input", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
    if plan["isOffline"]:
        flags += ["--no-index", "--find-links", WHEELS]
    if plan["hasConstraints"]:
        flags += ["--constraint", str(INPUT / "constraints.txt")]
    return [PYTHON, "-I", "-m", "pip", "install", *flags]


def _environment(plan: dict) -> dict[str, str]:
    certificates = INPUT / "ca.crt"
    return {**plan["environment"], **({"PIP_CERT": str(certificates)} if certificates.exists() else {})}


def _writable_copy(name: str) -> str:
    # setuptools builds inside its source folder.
    return shutil.copytree(INPUT / "sources" / name, Path("/tmp/sources") / name)


def _step(text: str) -> None:
    print(f"Provision: {text}", flush=True)


def _run(command: list[str], environment: dict[str, str]) -> None:
    finished = subprocess.run(command, check=False, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
    if finished.returncode != 0:
        print(f"Provision: {command[0]} ended with exit code {finished.returncode}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
