"""Runs a launcher without a GPU: each kernel that it would launch is compiled for a target, and nothing is run.

So what is compiled is what is launched: the same constants, number of warps and specialized arguments. Both hooks, the
active driver and ``JITFunction.run(..., warmup=True)``, are the same from Triton 3.1 to 3.7.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from .target import Target

WARP_SIZE = 32


@dataclasses.dataclass(frozen=True, slots=True)
class CompiledKernel:
    """A kernel's machine code and what the compiler says of it."""

    name: str
    cubin: bytes
    shared_bytes: int
    warps: int


def compile_launches(launch: Callable[[], object], target: Target) -> list[CompiledKernel]:
    """Calls ``launch`` and returns the kernels that it launched, compiled for ``target``.

    Afterwards this process can launch nothing any more: call it in a process of its own.

    Args:
        launch: calls launchers on CPU tensors; what they return means nothing.
        target: see ``TARGETS``.

    Raises:
        RuntimeError: this process interprets kernels.
        Exception: whatever Triton raises where a kernel does not compile.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("Cannot compile ahead of time: TRITON_INTERPRET=1 is set, start a process without it.")
    import triton.runtime

    kernels: list[CompiledKernel] = []
    run = triton.runtime.JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        # The only argument that tells CPU tensors from CUDA tensors.
        if "HAS_PTX" in self.arg_names:
            options["HAS_PTX"] = True
        compiled = run(self, *args, grid=grid, warmup=True, **options)
        metadata = compiled.metadata
        kernels.append(CompiledKernel(metadata.name, compiled.asm["cubin"], metadata.shared, metadata.num_warps))
        return compiled

    triton.runtime.driver.set_active(_NoDevice(target))
    triton.runtime.JITFunction.run = compile_only
    launch()
    return kernels


class _NoDevice:
    """What Triton asks its driver before it launches."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def get_current_device(self) -> int:
        # Kernels are remembered per device, so every target is one.
        return self._target.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._target.capability, WARP_SIZE)
