"""When the worker ends: with its host, on request, and never later than that.

Every way out is ``os._exit``: an orderly interpreter shutdown would wait for threads that may be deep in torch.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

HOST_GONE_EXIT_CODE = 75  # EX_TEMPFAIL: not the worker's fault
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Lets the kernel kill this process when the thread that started it ends (Linux)."""
    if not sys.platform.startswith("linux"):
        raise OSError("Cannot tie the worker to its parent: --die-with-parent needs Linux, leave it out elsewhere.")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "Cannot tie the worker to its parent: prctl(PR_SET_PDEATHSIG) failed.")


def leave_now() -> NoReturn:
    """Ends the process: there is nobody left to tell."""
    os._exit(HOST_GONE_EXIT_CODE)


class ShutdownRequest:
    """Runs ``on_shutdown`` once, on a thread of its own, after SIGTERM or ``request()``.

    The signal is taken by C code that writes to a pipe: it works while Python threads hold any lock, and needs no free
    moment of the main thread. SIGINT is ignored, since Ctrl-C reaches the host as well, and the host decides.

    Args:
        on_shutdown: must end the process.
    """

    def __init__(self, on_shutdown: Callable[[], NoReturn]) -> None:
        self._on_shutdown = on_shutdown
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._wait, name="kitty-shutdown", daemon=True).start()

    def request(self) -> None:
        """Asks for the shutdown and returns."""
        os.write(self._write_fd, b"\0")

    def _wait(self) -> None:
        os.read(self._read_fd, 1)
        self._on_shutdown()


def end_on_own_crash() -> None:
    """Ends the process when one of the worker's own threads fails: without its engine it would only look alive."""
    stock = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        stock(args)
        if args.thread is not None and args.thread.name.startswith("kitty-"):
            sys.stderr.flush()
            os._exit(70)

    threading.excepthook = hook
