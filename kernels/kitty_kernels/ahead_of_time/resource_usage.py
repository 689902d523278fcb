"""What a kernel's machine code takes of a multiprocessor, read from it by the cuobjdump of Triton's package."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import tempfile


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Of one thread: registers, and memory that holds what registers did not (STACK and LOCAL of cuobjdump)."""

    registers: int
    spilled_bytes: int


def read_usage(cubin: bytes) -> ResourceUsage:
    """Reads a cubin with one kernel.

    Raises:
        RuntimeError: Triton's package has no cuobjdump, or it does not say.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(_cuobjdump()), "-res-usage", file.name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    fields = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", result.stdout + result.stderr)}
    if len(fields) != 3:
        raise RuntimeError(f"Cannot read resource usage: {command[0]} printed {(result.stdout + result.stderr)!r}.")
    return ResourceUsage(fields["REG"], fields["STACK"] + fields["LOCAL"])


def _cuobjdump() -> pathlib.Path:
    import triton

    path = pathlib.Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not path.exists():
        raise RuntimeError(f"Cannot read resource usage: triton {triton.__version__} has no {path}.")
    return path
