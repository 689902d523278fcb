"""A module that the host runs ends with the host, whatever it does just then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

SLEEPY = "import os, subprocess, time; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"


def start(*arguments: str, leads_group: bool = True) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kitty_kv.hosted", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=leads_group,
    )


def test_a_module_runs_with_its_own_arguments_and_exit_code() -> None:
    with start("calendar", "2026", "11") as process:
        assert b"November 2026" in process.stdout.read()
        assert process.wait(10) == 0
    with start("calendar", "2026", "13") as process:
        assert process.wait(10) != 0


def test_it_and_what_it_started_end_when_stdin_does() -> None:
    with start("timeit", "-n1", "-r1", SLEEPY) as process:
        grandchild = int(process.stdout.readline())
        os.kill(grandchild, 0)
        process.stdin.close()
        assert process.wait(5) == -signal.SIGKILL
        # Only pytest's own parent, or init, reaps it, so its state is what counts.
        try:
            with open(f"/proc/{grandchild}/stat") as stat:
                assert stat.read().rsplit(")")[1].split()[0] in "ZX"
        except FileNotFoundError:
            pass


def test_it_refuses_to_run_where_it_would_kill_its_host() -> None:
    with start("calendar", leads_group=False) as process:
        assert process.wait(10) == 1
        assert b"leads no group" in process.stderr.read()
