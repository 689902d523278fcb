"""Every kernel compiles for SM 8.0, 8.9 and 9.0, and what is checked about it; no GPU is needed."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import torch

from kitty_kernels.ahead_of_time import run_cases as runner
from kitty_kernels.ahead_of_time.cases import LAUNCHES, Case, all_cases, some_cases
from kitty_kernels.ahead_of_time.run_cases import KernelResult, run_cases
from kitty_kernels.ahead_of_time.target import TARGETS, Target

ROOT = pathlib.Path(__file__).parents[3]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python in which Triton compiles, whatever this one does."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT / "kernels")
    environment.setdefault("TRITON_CACHE_DIR", str(ROOT / ".setup" / "triton-cache"))
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)


@needs_triton
@pytest.mark.parametrize("operation", sorted(LAUNCHES))
def test_kernels_compile_within_every_targets_limits_and_decode_does_not_spill(operation):
    result = run_python("-m", "kitty_kernels.ahead_of_time", "--json", "--only", operation)
    assert result.stdout, result.stderr
    found = json.loads(result.stdout)["results"]
    problems = [line for line in result.stderr.splitlines() if line.startswith("FAILED")]
    assert not problems, "\n".join(problems)
    assert {one["target"] for one in found} == set(TARGETS)
    assert result.returncode == 0


@needs_triton
def test_a_kernel_that_spills_is_seen():
    result = run_python(str(pathlib.Path(__file__).parent / "spilling_kernel.py"))
    assert result.returncode == 0, result.stderr
    usage = json.loads(result.stdout)
    assert usage["name"] == "spilling_kernel"
    assert usage["warps"] == 1
    assert usage["spilled_bytes"] > 0


@needs_triton
def test_interpreting_and_compiling_in_one_process_is_refused():
    code = "import os; os.environ['TRITON_INTERPRET'] = '1'\n"
    code += "from kitty_kernels.ahead_of_time import compile_launches as c, target as t\n"
    code += "c.compile_launches(print, t.TARGETS[90])"
    result = run_python("-c", code)
    assert "TRITON_INTERPRET=1 is set, start a process without it" in result.stderr


def crash(_: Case, __: torch.device) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_: Case, __: torch.device) -> None:
    raise ValueError("at 3:4:\n    x = tl.dot(a, b)\n        ^\nshapes do not fit")


@needs_triton
@pytest.mark.parametrize(
    ("launch", "problem"),
    [
        (crash, "the compiler crashed (exit code -9)"),
        (refuse, "ValueError: shapes do not fit"),
        (lambda case, device: None, "launched no kernel"),
    ],
    ids=["crash", "compile error", "nothing"],
)
def test_a_case_that_fails_says_why_and_the_next_one_is_still_run(monkeypatch, launch, problem):
    monkeypatch.setitem(LAUNCHES, "append", launch)
    results = list(run_cases([Case("append"), Case("append", head_dim=64)], [TARGETS[90]], processes=1))
    assert [result.problems for result in results] == [(problem,), (problem,)]
    assert [result.case.head_dim for result in results] == [128, 64]


@needs_triton
def test_a_compiler_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(runner, "CASE_TIMEOUT_S", 0.2)
    monkeypatch.setitem(LAUNCHES, "append", lambda case, device: __import__("time").sleep(600))
    (result,) = run_cases([Case("append")], [TARGETS[80]], processes=2)
    assert result.problems == ("compiles for more than 0 s",)


@pytest.mark.parametrize(("capability", "limit_kib"), [(80, 163), (89, 99), (90, 227)])
def test_shared_memory_over_a_targets_limit_is_a_problem(capability, limit_kib):
    target = TARGETS[capability]
    fits = KernelResult("pack", 255, 8, limit_kib * 1024, 4)
    too_much = KernelResult("pack", 255, 8, limit_kib * 1024 + 1, 4)
    assert problems_of("pack_keys", target, fits) == []
    assert problems_of("pack_keys", target, too_much) == [
        f"pack wants {limit_kib * 1024 + 1} bytes of shared memory, a block has {limit_kib * 1024}"
    ]


def test_a_spill_is_a_problem_in_decode_attention_alone():
    kernel = KernelResult("decode_kernel", 255, 16, 0, 1)
    assert problems_of("append", TARGETS[90], kernel) == []
    assert problems_of("decode_attention", TARGETS[90], kernel) == [
        "decode_kernel spills 16 bytes a thread at 255 registers"
    ]


def problems_of(operation: str, target: Target, kernel: KernelResult) -> list[str]:
    return list(runner._problems(Case(operation), target, (kernel,)))


def test_the_whole_coverage_holds_every_size_and_the_chosen_cases_every_operation():
    cases = all_cases()
    assert len(cases) == len(set(cases))
    assert {case.head_dim for case in cases} == {64, 80, 96, 128, 256}
    assert {case.group for case in cases} == {1, 4, 8, 32}
    assert {case.boost for case in cases} == {0.0, 0.125, 0.25, 0.13}
    for some in (cases, some_cases()):
        assert {case.operation for case in some} == set(LAUNCHES)
        assert {case.dtype for case in some} == {"float16", "bfloat16"}
    assert {case.head_dim for case in some_cases()} == {case.head_dim for case in cases}
    assert {case.group for case in some_cases()} == {case.group for case in cases}
