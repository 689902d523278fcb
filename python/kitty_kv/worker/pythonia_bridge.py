"""The Python half of pythonia's Bridge, with one function to call and nothing else."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from .outbox import Outbox

Invoke = Callable[[str, str], str]


class HostObjectError(ValueError):
    """Something tried to reach an object of the host through pythonia.

    A ValueError, because that is what pythonia's own clean-up of such objects expects from a channel that is closed.
    """


class PythoniaBridge:
    """Answers call frames through ``Bridge.onMessage``.

    Stock, ``Bridge.m[0]`` offers eval, exec, open and imports, and ``os.JSPyBridge`` the host's ``require``.
    Here ``m`` holds ``invoke`` only, which takes and returns strings, so no object of either side ever gets a number.

    Args:
        bridge_class: from ``load_bridge_class``.
        invoke: method and JSON of the parameters in, JSON of the envelope out.
        outbox: takes the replies.
    """

    def __init__(self, bridge_class: type, invoke: Invoke, outbox: Outbox) -> None:
        # Removing the object makes pythonia send a "free" frame for it, so the channel must refuse that already.
        self._bridge = bridge_class(_Ipc(outbox))
        self._bridge.m = {0: {"invoke": invoke}}
        if hasattr(os, "JSPyBridge"):
            del os.JSPyBridge

    def receive(self, line: bytes) -> str | None:
        """Answers one line of the host; returns why it was ignored, if it was."""
        try:
            frame = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"not JSON: {error}"
        if not _is_call(frame):
            return "not a call of invoke(method, params)"
        self._bridge.onMessage(frame["r"], "pcall", 0, frame["key"], frame["val"])
        return None


class _Ipc:
    """What pythonia's Bridge writes to."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def queue(self, message: Any) -> None:
        if not isinstance(message, dict) or message.get("key") not in ("string", "error") or "c" in message:
            raise HostObjectError("Cannot send this message: the worker has no access to objects of its host.")
        self._outbox.send_reply(message)

    def readline(self) -> str:
        raise HostObjectError("Cannot wait for an object of the host: the worker has no access to them.")


def load_bridge_class(folder: pathlib.Path) -> type:
    """pythonia's ``Bridge``, from the folder of ``Bridge.py`` and ``proxy.py``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not (folder / "Bridge.py").is_file():
        raise FileNotFoundError(
            f"Cannot start the worker: {folder} holds no Bridge.py; "
            "give --pythonia the folder src/pythonia of the npm package."
        )
    # Its modules import each other by bare names, and those should mean nothing else later.
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("Bridge").Bridge
    finally:
        sys.path.remove(str(folder))


def _is_call(frame: Any) -> bool:
    if not isinstance(frame, dict) or frame.get("action") != "pcall" or frame.get("key") != ["invoke"]:
        return False
    request_id, target, value = frame.get("r"), frame.get("ffid"), frame.get("val")
    if type(request_id) is not int or type(target) is not int or target != 0:
        return False
    if not isinstance(value, list) or len(value) != 2 or value[1]:
        return False
    arguments = value[0]
    return (
        isinstance(arguments, list) and len(arguments) == 2 and all(isinstance(argument, str) for argument in arguments)
    )
