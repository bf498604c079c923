"""What a process and its children use, and what else the machine does meanwhile: from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _WAITING = 3, 4  # columns of /proc/stat


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far: of the process, of its children dead or alive, of the whole machine."""

    own: float
    children: float
    machine: float

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.own - before.own, self.children - before.children, self.machine - before.machine)


def usage(pid: int) -> Usage:
    """Return what a process has used so far."""
    fields = _stat(pid)
    own, dead = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    alive = sum(_ticks(child) for child in _descendants(pid))
    return Usage(own / _TICKS, (dead + alive) / _TICKS, _busy() / _TICKS)


def resident_mib(pid: int) -> float:
    """Return the memory that a process holds now, pages shared with others counted whole."""
    return _rollup(pid, "Rss")


def proportional_mib(pid: int) -> float:
    """Return the memory that a process holds now, pages shared with others counted by share."""
    return _rollup(pid, "Pss")


def children_mib(pid: int) -> float:
    """Return the memory that its children hold now."""
    return sum(_rollup(child, "Rss") for child in _descendants(pid))


def family_mib(pid: int) -> float:
    """Return the memory that a process and its children hold now, pages shared with others counted by share."""
    return proportional_mib(pid) + sum(map(proportional_mib, _descendants(pid)))


def _rollup(pid: int, field: str) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _descendants(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _ticks(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = _stat(pid)
        return sum(int(fields[column]) for column in range(11, 15))
    return 0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _busy() -> int:
    columns = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(columns) - columns[_IDLE] - columns[_WAITING]
