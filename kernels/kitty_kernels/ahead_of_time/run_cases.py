"""Compiles cases side by side, each in a process of its own: a compiler that crashes ends one case, not the run."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Iterable, Iterator

import torch

from .cases import Case, launch
from .compile_launches import compile_launches
from .resource_usage import read_usage
from .target import Target

CASE_TIMEOUT_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class KernelResult:
    """One compiled kernel."""

    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    warps: int


@dataclasses.dataclass(frozen=True, slots=True)
class CaseResult:
    """One case on one target, and what is wrong with it."""

    case: Case
    target: Target
    kernels: tuple[KernelResult, ...]
    problems: tuple[str, ...]
    seconds: float


def run_cases(cases: Iterable[Case], targets: Iterable[Target], processes: int) -> Iterator[CaseResult]:
    """Yields a result for every case on every target as they are done."""
    # The children have them loaded then.
    import triton.compiler  # noqa: F401

    targets = tuple(targets)
    waiting = iter([(case, target) for case in cases for target in targets])
    context = multiprocessing.get_context("fork")
    running: dict[multiprocessing.connection.Connection, _Running] = {}
    while True:
        while len(running) < processes and (work := next(waiting, None)) is not None:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_compile, args=(*work, sender), daemon=True)
            process.start()
            sender.close()
            running[receiver] = _Running(*work, process, time.monotonic())
        if not running:
            return
        oldest = min(one.started for one in running.values())
        ready = multiprocessing.connection.wait(
            [*running], timeout=max(0.0, oldest + CASE_TIMEOUT_S - time.monotonic())
        )
        late = [pipe for pipe, one in running.items() if time.monotonic() - one.started > CASE_TIMEOUT_S]
        for pipe in {*ready, *late}:
            yield _finish(pipe, running.pop(pipe), is_late=pipe not in ready)


@dataclasses.dataclass(frozen=True, slots=True)
class _Running:
    case: Case
    target: Target
    process: multiprocessing.process.BaseProcess
    started: float


def _finish(pipe: multiprocessing.connection.Connection, one: _Running, *, is_late: bool) -> CaseResult:
    kernels: tuple[KernelResult, ...] = ()
    problems: tuple[str, ...]
    try:
        if is_late:
            one.process.kill()
            problems = (f"compiles for more than {CASE_TIMEOUT_S:.0f} s",)
        else:
            kernels, error = pipe.recv()
            problems = (error,) if error else tuple(_problems(one.case, one.target, kernels))
    except EOFError:
        one.process.join()
        problems = (f"the compiler crashed (exit code {one.process.exitcode})",)
    one.process.join()
    pipe.close()
    return CaseResult(one.case, one.target, kernels, problems, time.monotonic() - one.started)


def _problems(case: Case, target: Target, kernels: tuple[KernelResult, ...]) -> Iterator[str]:
    if not kernels:
        yield "launched no kernel"
    for kernel in kernels:
        if kernel.spilled_bytes and not case.may_spill:
            yield f"{kernel.name} spills {kernel.spilled_bytes} bytes a thread at {kernel.registers} registers"
        if kernel.shared_bytes > target.shared_bytes:
            yield f"{kernel.name} wants {kernel.shared_bytes} bytes of shared memory, a block has {target.shared_bytes}"


def _compile(case: Case, target: Target, sender: multiprocessing.connection.Connection) -> None:
    kernels: tuple[KernelResult, ...] = ()
    error = None
    # What the compiler prints about a failure is long; the first line of its exception names it.
    with open(os.devnull, "w") as nothing, _stderr_to(nothing.fileno()):
        try:
            compiled = compile_launches(lambda: launch(case, torch.device("cpu")), target)
            kernels = tuple(
                KernelResult(
                    kernel.name, *dataclasses.astuple(read_usage(kernel.cubin)), kernel.shared_bytes, kernel.warps
                )
                for kernel in compiled
            )
        # Any error is a result here.
        except Exception as caught:  # noqa: BLE001
            lines = [line for line in str(caught).splitlines() if line.strip()] or [""]
            error = f"{type(caught).__name__}: {_telling(lines)}"
    sender.send((kernels, error))


def _telling(lines: list[str]) -> str:
    """Of a compiler's message, the line that says what is wrong: the last one, which is not source text."""
    return next((line.strip() for line in reversed(lines) if not set(line.strip()) <= set("^~ ")), lines[0])[:300]


@contextlib.contextmanager
def _stderr_to(descriptor: int) -> Iterator[None]:
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
