"""The worker ends with its host, on request, and whatever its engine is doing."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from worker_host import PYTHONIA, ROOT, Host

# A step that is one torch operation of about a minute.
STUCK = """
import threading, torch
import kitty_kv.engine.scheduler as scheduler
import kitty_kv.worker.__main__ as worker
def endless(sequence):
    print("stuck")
    torch.linalg.svd(torch.rand(6000, 6000))
scheduler.feed = endless
worker.main()
"""


@pytest.fixture
def stuck(start: Callable[..., Host], model_folder: pathlib.Path) -> Host:
    host = start(code=STUCK)
    host.open_session("s", model_folder)
    host.generate("s", "g", "the cat")
    assert host.logged("stuck")
    return host


@pytest.fixture
def busy(start: Callable[..., Host], model_folder: pathlib.Path) -> Host:
    host = start()
    host.open_session("s", model_folder)
    host.generate("s", "g", "the cat", maxNewTokens=4000)
    host.event("tok", "g")
    return host


def test_calls_are_answered_while_a_step_takes_long_and_tell_how_long(stuck: Host) -> None:
    first = stuck.call("ping")
    second = stuck.call("ping")
    assert 0 < first["stepAgeMs"] < second["stepAgeMs"]
    assert second["activeStreams"] == 1
    assert stuck.call("cancel", {"stream": "g"}) == {"cancelled": True}


def test_the_end_of_stdin_ends_a_worker_in_the_middle_of_a_torch_operation(stuck: Host) -> None:
    stuck.process.stdin.close()
    assert stuck.seconds_to_exit() < 2
    assert stuck.process.returncode == 0


def test_the_end_of_stdin_ends_a_generating_worker(busy: Host) -> None:
    busy.process.stdin.close()
    assert busy.seconds_to_exit() < 2


def test_the_end_of_stdin_ends_a_worker_that_is_still_importing(start: Callable[..., Host]) -> None:
    host = start()
    host.event("hello")
    host.process.stdin.close()
    assert host.seconds_to_exit() < 2


def test_a_host_that_reads_no_more_ends_the_worker(start: Callable[..., Host]) -> None:
    host = start()
    host.event("ready")
    host.stop_reading()
    # One event wakes the reader, which then waits; closing under it is what a dying host does.
    host.send("bench.emit", {"stream": "x", "events": 10**6, "text": "x", "tokensPerSecond": None})
    read_fd = host.process.stdout.fileno()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, read_fd)
    os.close(null)
    assert host.seconds_to_exit() < 2
    assert host.process.returncode == 75
    host.go_on_reading()


def test_sigterm_cancels_what_runs_sends_the_ends_and_exits_with_0(busy: Host) -> None:
    busy.process.send_signal(signal.SIGTERM)
    assert busy.seconds_to_exit() < 5
    assert busy.process.returncode == 0
    assert busy.result("g")["finishReason"] == "cancelled"


def test_shutdown_is_answered_and_does_the_same(busy: Host) -> None:
    assert busy.call("shutdown") == {}
    assert busy.seconds_to_exit() < 5
    assert busy.process.returncode == 0
    assert busy.result("g")["finishReason"] == "cancelled"


def test_shutdown_does_not_wait_for_a_stuck_step(stuck: Host) -> None:
    stuck.call("shutdown")
    assert stuck.seconds_to_exit() < 5
    assert stuck.process.returncode == 0


def test_shutdown_sends_what_was_printed_without_a_line_end(start: Callable[..., Host]) -> None:
    host = start(
        code="import kitty_kv.worker.__main__ as w; r = w.Worker.run\n"
        "w.Worker.run = lambda self: (print('no line end', end=''), r(self))\nw.main()"
    )
    host.call("shutdown")
    assert host.logged("no line end")


def test_sigint_is_left_to_the_host(busy: Host) -> None:
    busy.process.send_signal(signal.SIGINT)
    assert busy.call("ping")["activeStreams"] == 1


def test_a_worker_without_its_engine_does_not_stay(start: Callable[..., Host], model_folder: pathlib.Path) -> None:
    code = """
import kitty_kv.engine.scheduler as scheduler, kitty_kv.worker.__main__ as worker
def broken(self):
    raise RuntimeError("the engine is broken")
scheduler.Scheduler.step = broken
worker.main()
"""
    host = start(code=code)
    host.open_session("s", model_folder)
    # Its engine may fail before the call is answered.
    host.send("generate", host.generate_params("s", "g", "the cat"))
    assert host.seconds_to_exit() < 5
    assert host.process.returncode == 70
    assert host.wait(lambda: "the engine is broken" in host.stderr, "the traceback")


def test_imports_that_fail_end_the_worker_with_a_sentence(start: Callable[..., Host]) -> None:
    host = start(code="import sys; sys.modules['transformers'] = None\nimport kitty_kv.worker.__main__ as w; w.main()")
    host.event("hello")
    host.process.wait(30)
    assert host.process.returncode == 1
    assert host.wait(lambda: host.stderr.split("\n")[-2].startswith("Cannot start the worker: "), "the sentence")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_die_with_parent_kills_a_stopped_worker_with_its_parent() -> None:
    # The parent prints the worker's pid and hangs; the worker cannot act on EOF, since somebody else holds its stdin open.
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'kitty_kv.worker', '--pythonia', sys.argv[1], '--die-with-parent'])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    stdin_fd, held_open = os.pipe()
    out_fd, worker_out = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(PYTHONIA)],
        stdin=stdin_fd,
        stdout=worker_out,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'kernels'}"},
    )
    os.close(worker_out)
    output = b""
    while b'"hello"' not in output:
        output += os.read(out_fd, 4096)
    pid = int(output.split(b"\n")[0])
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    # The pipe's end is the worker's death: nobody else holds it.
    started = time.monotonic()
    while os.read(out_fd, 65_536):
        pass
    assert time.monotonic() - started < 2
    os.close(held_open)


@pytest.mark.parametrize("arguments", [[], ["--pythonia", "/nowhere"], ["--pythonia", "x", "--what"]])
def test_wrong_arguments_end_with_code_2_and_a_reason(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kitty_kv.worker", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'kernels'}"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: " in done.stderr.strip().split("\n")[-1]
