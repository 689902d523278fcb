"""python -m kitty_kernels.ahead_of_time [--all] [--only OPERATION] [--target 90] [--processes 2] [--json]

Compiles every kernel for SM 8.0, 8.9 and 9.0, no GPU needed. Exit code 1 when a kernel does not compile, wants more shared
memory than a block has, or, in decode attention, spills registers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from .cases import LAUNCHES, all_cases, chosen, some_cases
from .run_cases import CaseResult, run_cases
from .target import TARGETS


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    options = _parse(arguments)
    try:
        import triton
    except ModuleNotFoundError:
        print("Cannot compile ahead of time: triton is not installed, install it.", file=sys.stderr)
        return 1
    cases = list(chosen(all_cases() if options.all else some_cases(), tuple(options.only)))
    targets = [TARGETS[capability] for capability in options.target or TARGETS]
    results = []
    for result in run_cases(cases, targets, options.processes):
        results.append(result)
        print(_line(result), file=sys.stderr, flush=True)
    failed = [result for result in results if result.problems]
    if options.json:
        document = {"triton": triton.__version__, "results": [_document(result) for result in results]}
        print(json.dumps(document))
    print(f"triton {triton.__version__}: {len(results)} compiled, {len(failed)} with problems", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kitty_kernels.ahead_of_time", description=__doc__.split("\n\n")[1])
    parser.add_argument("--all", action="store_true", help="the whole coverage, which takes hours")
    parser.add_argument("--only", action="append", default=[], choices=sorted(LAUNCHES), help="may be given again")
    parser.add_argument("--target", action="append", type=int, choices=sorted(TARGETS), help="may be given again")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args(arguments)


def _line(result: CaseResult) -> str:
    kernels = "; ".join(
        f"{kernel.name} {kernel.registers} registers, {kernel.spilled_bytes} spilled, {kernel.shared_bytes} B shared"
        for kernel in result.kernels
    )
    outcome = "FAILED" if result.problems else "ok"
    told = "; ".join((kernels, *result.problems)).removeprefix("; ")
    return f"{outcome:6}  {result.target.name}  {result.case.name}  ({result.seconds:.1f} s)  {told}"


def _document(result: CaseResult) -> dict[str, object]:
    return {
        "case": dataclasses.asdict(result.case),
        "target": result.target.capability,
        "kernels": [dataclasses.asdict(kernel) for kernel in result.kernels],
        "problems": list(result.problems),
        "seconds": round(result.seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
