"""Exceptions as the error objects that cross the bridge."""

from __future__ import annotations

import json
import traceback
from typing import Any

from ..errors import KittyKvError

_DETAIL_CHARACTERS = 20_000


def error_object(error: BaseException, attempt: str) -> dict[str, Any]:
    """``{"code", "message", "details"}`` of an error.

    Args:
        error: one of ours keeps its text; any other becomes ``out_of_memory`` or ``python_exception``.
        attempt: what was being done, for errors that do not say it: "generate".
    """
    if isinstance(error, KittyKvError):
        return {"code": error.code, "message": str(error), "details": _plain(error.details)}
    last_line = traceback.format_exception_only(error)[-1].strip().split("\n")[0]
    if _is_out_of_memory(error):
        message = f"Cannot {attempt}: memory ran out ({last_line}); close sessions or shorten the prompt."
        return {"code": "out_of_memory", "message": message, "details": {}}
    message = f"Cannot {attempt}: Python raised {last_line}; the traceback is in the details."
    text = "".join(traceback.format_exception(error))
    details = {"type": type(error).__name__, "traceback": text[-_DETAIL_CHARACTERS:]}
    return {"code": "python_exception", "message": message, "details": details}


def _is_out_of_memory(error: BaseException) -> bool:
    # torch need not be imported to say that an error is not one of its own.
    is_ours = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    return is_ours or isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Details that JSON can hold; anything else as text."""
    return json.loads(json.dumps(details, default=repr), parse_constant=str)
