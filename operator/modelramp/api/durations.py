"""Durations as users write them: 90s, 10m, 1h30m, 250ms."""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = "^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,8}s)?([0-9]{1,8}ms)?$"
"""What the API accepts: units in falling order, at most 34 years, so that CEL's `duration()` cannot overflow."""

_PARTS = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?", re.ASCII)
_UNITS = (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def parse_duration(text: str) -> timedelta | None:
    """Return the duration that the text says, or None where it says none."""
    parts = _PARTS.fullmatch(text)
    if parts is None or not text:
        return None
    amounts = (int(amount or 0) for amount in parts.groups())
    return timedelta(milliseconds=sum(amount * ms for amount, (_, ms) in zip(amounts, _UNITS, strict=True)))


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back; what is under a millisecond is cut off."""
    left, text = duration // timedelta(milliseconds=1), ""
    for unit, ms in _UNITS:
        amount, left = divmod(left, ms)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"
