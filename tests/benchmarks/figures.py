"""A measured thing: what, how often, which numbers, and what they have to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True)
class Figure:
    """One line of the result: `beat` bounds some `values` from above, `reach` from below; others are `elsewhere`."""

    what: str
    unit: str
    values: Mapping[str, float]
    runs: int = 1
    _: KW_ONLY
    beat: Mapping[str, float] = field(default_factory=dict)
    reach: Mapping[str, float] = field(default_factory=dict)
    elsewhere: str = ""
    note: str = ""
    raw: Sequence[float] = ()

    def missed(self) -> list[str]:
        """Return which values are on the wrong side of their bound."""
        over = [name for name, bound in self.beat.items() if self.values[name] > bound]
        return over + [name for name, bound in self.reach.items() if self.values[name] < bound]


def spread(samples: Sequence[float], *names: str) -> dict[str, float]:
    """Return statistics of samples by name: min, median, p99, max; p99 is the nearest rank."""
    ordered = sorted(samples)
    known = {
        "min": ordered[0],
        "median": ordered[(len(ordered) - 1) // 2] / 2 + ordered[len(ordered) // 2] / 2,
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "max": ordered[-1],
    }
    return {name: known[name] for name in names or known}
