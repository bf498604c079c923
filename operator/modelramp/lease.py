"""The right to write, as the writing adapters see it."""

from __future__ import annotations

from typing import Protocol


class Lease(Protocol):
    """Leadership that can be lost at any moment."""

    @property
    def epoch(self) -> int:
        """Return the number of this leadership; every later leader's is higher."""
        ...

    def held(self) -> bool:
        """Tell whether this process may write now."""
        ...


class AlwaysHeld:
    """Leadership of a process that is alone: tests, one-shot commands."""

    epoch = 0

    def held(self) -> bool:
        """Return True."""
        return True
