"""What the modules that the CLI runs have in common: wrong usage and errors as the CLI expects them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from .errors import ConfigError

# What the user named is no model: wrong usage of a command, though a session's request gets an error of its own kind.
_WRONG_MODEL = ("model_not_found", "not_a_model")


class UsageParser(argparse.ArgumentParser):
    """Raises ``ConfigError`` with code ``usage`` where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"Cannot read the command line: {message}, see --help.", code="usage")


def exit_code_of(error: Exception) -> int:
    """2 for wrong usage, 1 for any other failure; the contract's exit codes."""
    is_usage = isinstance(error, ConfigError) or getattr(error, "code", None) in _WRONG_MODEL
    return 2 if is_usage else 1


def tell_error(error: Exception, *, is_json: bool, code: str = "failed") -> None:
    """Prints the contract's error document on stdout, or the sentence on stderr; ``code`` for an error without one."""
    if not is_json:
        print(error, file=sys.stderr)
        return
    fields = {
        "code": getattr(error, "code", code),
        "message": str(error),
        "details": getattr(error, "details", None) or {},
    }
    print(json.dumps({"error": fields}))
