"""``python -m kitty_kv.worker --pythonia DIR``: the worker process."""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import sys
import threading
import traceback
from typing import NoReturn

from .. import __version__
from .channel import Channel
from .engine_limits import EngineLimits
from .lifetime import ShutdownRequest, die_with_parent, end_on_own_crash, leave_now
from .methods import Methods
from .pythonia_bridge import PythoniaBridge, load_bridge_class

PROTOCOL = 1
# Python threads hand over this often at the latest; the stock 5 ms would delay every call under generation.
_SWITCH_INTERVAL_S = 0.0005
_CANCEL_TIMEOUT_S = 2.0
_FLUSH_TIMEOUT_S = 1.0


def main() -> NoReturn:
    """Runs until the host closes stdin, asks for a shutdown or sends SIGTERM."""
    parser = _parser()
    options = parser.parse_args()
    try:
        if options.die_with_parent:
            die_with_parent()
        bridge_class = load_bridge_class(options.pythonia)
    except OSError as error:
        parser.error(str(error))
    Worker(bridge_class, EngineLimits(options.max_batch, options.max_waiting)).run()


class Worker:
    """The process: one channel, one bridge, and a service that arrives when the heavy imports are done."""

    def __init__(self, bridge_class: type, limits: EngineLimits) -> None:
        self._limits = limits
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        end_on_own_crash()
        self._channel = Channel(on_broken=leave_now)
        self._outbox = self._channel.outbox
        self._service = None
        shutdown = ShutdownRequest(self._shut_down)
        self._methods = Methods(self._outbox, shutdown.request)
        self._bridge = PythoniaBridge(bridge_class, self._methods.invoke, self._outbox)

    def run(self) -> NoReturn:
        """Answers calls until the host is gone."""
        hello = {
            "protocol": PROTOCOL,
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
        }
        self._outbox.send_event(["hello", hello])
        threading.Thread(target=self._start_service, name="kitty-start", daemon=True).start()
        for line in self._channel.lines():
            problem = self._bridge.receive(line)
            if problem is not None:
                self._outbox.send_log("worker", f"Ignored a line of {len(line)} bytes from the host: {problem}.")
        os._exit(0)

    def _start_service(self) -> None:
        try:
            from .start import start_service

            self._service, ready = start_service(self._outbox, self._limits)
        except BaseException as error:  # noqa: BLE001  (the host must not wait for it)
            traceback.print_exc()
            print(
                f"Cannot start the worker: {error}; set up its Python environment again.", file=sys.stderr, flush=True
            )
            os._exit(1)
        self._outbox.send_event(["ready", ready])
        self._methods.serve(self._service)

    def _shut_down(self) -> NoReturn:
        if self._service is not None:
            self._service.stop(_CANCEL_TIMEOUT_S)
        self._channel.end_logs()
        self._outbox.flush(_FLUSH_TIMEOUT_S)
        os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kitty_kv.worker", description="The worker behind the Kitty KV bridge."
    )
    parser.add_argument(
        "--pythonia", type=pathlib.Path, required=True, help="folder of pythonia's Bridge.py and proxy.py"
    )
    parser.add_argument("--max-batch", type=_count, help="most generations that are stepped together")
    parser.add_argument("--max-waiting", type=_count, help="most generations that wait for their turn")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends (Linux)")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


if __name__ == "__main__":
    main()
