"""Runs a module of ours for as long as its host lives: ``python -m kitty_kv.hosted MODULE [ARGUMENT …]``.

The host holds the other end of stdin open. However it dies, the kernel closes that end, and this process and all that it
started are gone at once instead of computing on for nobody.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def end_with_host() -> None:
    """Kills this process's whole group when stdin ends; the process must lead one of its own.

    In a container the group is that of the program that runs the container, which is outside and so has no number (0).
    """
    if os.getpgrp() not in (0, os.getpid()):
        raise OSError("Cannot end with the host: this process leads no group, so the host's would be killed with it.")
    threading.Thread(target=_wait, name="kitty-host", daemon=True).start()


def _wait() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    module, *arguments = sys.argv[1:]
    end_with_host()
    # What the module reads of them is what it reads when it is run by itself.
    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
