"""Logs as JSON, one object a line, on standard output."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, and the fields given with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` of a log call that puts these fields on the line; None is left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def write_logs_as_json(level: str) -> None:
    """Send every logger of this process, warnings too, to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
