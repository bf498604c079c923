"""Logs: one JSON object a line, with the object it is about, and never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from modelramp.ports import Ref

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "ref", "fields", "taskName"}
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 …"),
    (re.compile(r"(://)[^\s/@'\"]+@"), r"\1…@"),
    (
        re.compile(
            r"(?i)(authorization|password|passwd|token|secret|api[_-]?key)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&}]+"
        ),
        r"\1\2…",
    ),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "…"),
)
_QUIET = {"kopf": logging.WARNING, "asyncio": logging.ERROR, "aiohttp.access": logging.WARNING}


def redact(text: str) -> str:
    """Return the text without what looks like a credential."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


class JsonLines(logging.Formatter):
    """Writes ts, level, logger, message; of which object; and what else a record carries in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        line |= _about(record) | _extras(record)
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


def _about(record: logging.LogRecord) -> dict[str, str]:
    ref = getattr(record, "ref", None)
    return {"namespace": ref.namespace, "name": ref.name} if isinstance(ref, Ref) else {}


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    own = {key: value for key, value in vars(record).items() if key not in _PLAIN and not key.startswith(("k8s_", "_"))}
    own.pop("settings", None)
    return {key: redact(value) if isinstance(value, str) else value for key, value in {**own, **fields}.items()}


def log_json(level: str, stream: TextIO | None = None) -> None:
    """Send everything to one stream, standard error by default, from that level on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, logging.getLevelName(level)))


def flush_logs() -> None:
    """Write out what is buffered: before a process ends without its interpreter's end."""
    for handler in logging.getLogger().handlers:
        handler.flush()
