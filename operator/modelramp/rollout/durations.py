"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta


def text(duration: timedelta) -> str:
    """Return a duration as people write it in the manifest: 1h30m, 45s, 250ms."""
    rest, parts = round(duration / timedelta(milliseconds=1)), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"
