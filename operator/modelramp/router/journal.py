"""Log one JSON object a line."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

LOG = logging.getLogger("modelramp.router")


class JsonLines(logging.Formatter):
    """Write the time, the level, the event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = getattr(record, "fields", {})
        return json.dumps({"at": at, "level": record.levelname, "event": record.getMessage()} | fields)


def note(event: str, fields: Mapping[str, object] | None = None, level: int = logging.INFO) -> None:
    """Log an event with its fields; a field holds nothing secret."""
    LOG.log(level, event, extra={"fields": dict(fields or {})})


def log_to_stdout() -> None:
    """Send this package's log to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
