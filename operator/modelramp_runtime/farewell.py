"""The last words of a process that fails: on standard error, and where Kubernetes shows them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_CREDENTIALS = re.compile(r"://[^/@\s]+@")
_QUERY = re.compile(r"(://[^\s?'\"]+)\?[^\s'\"]*")


def without_secrets(text: str) -> str:
    """Return the text on one line, without the user, password and query of any URL in it."""
    return _QUERY.sub(r"\1?...", _CREDENTIALS.sub("://***@", " ".join(text.split())))


def say_last(message: str) -> int:
    """Write one line to standard error and to the termination log, if there is one; return the exit status 1."""
    line = without_secrets(message)[:2000]
    print(line, file=sys.stderr, flush=True)
    log = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    if log.exists():
        log.write_text(line + "\n")
    return 1
