"""The result as a table and as JSON, with the machine that it was measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figure


def machine() -> dict[str, Any]:
    """Describe the machine and how busy it is."""
    found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "processor": found[0].partition(": ")[2] if found else platform.processor(),
        "memory GiB": round(memory),
        "load average": [round(each, 1) for each in os.getloadavg()],
        "python": platform.python_version(),
    }


def document(figures: list[Figure], before: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return everything as JSON has it."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "machine": before,
        "load average afterwards": machine()["load average"],
        "seconds": round(seconds),
        "figures": [{**asdict(figure), "missed": figure.missed()} for figure in figures],
    }


def tell(console: Console, figures: Sequence[Figure]) -> None:
    """Print a line for each figure, for those who do not wait for the table."""
    for figure in figures:
        console.print(f"{figure.what}: {_here(figure)}".replace("\n", ", "), highlight=False, soft_wrap=True)


def print_table(console: Console, result: dict[str, Any], figures: list[Figure]) -> None:
    """Print what was measured, beside what it has to beat."""
    here = result["machine"]
    title = f"{result['date']}, {here['cores']} cores ({here['processor']}), load {here['load average'][0]}"
    table = Table(title=f"{title} → {result['load average afterwards'][0]}, {result['seconds']} s", show_lines=True)
    for column in ("measured", "n", "here", "to beat", "measured elsewhere on a like machine"):
        table.add_column(column, justify="right" if column == "n" else "left")
    for figure in figures:
        table.add_row(
            f"{figure.what}\n[dim]{figure.note}", str(figure.runs), _here(figure), _bounds(figure), figure.elsewhere
        )
    console.print(table)


def save(result: dict[str, Any], path: Path) -> None:
    """Write the JSON."""
    path.write_text(json.dumps(result, indent=1) + "\n")


def _here(figure: Figure) -> str:
    missed = figure.missed()
    colour = {name: "red" if name in missed else "green" for name in (*figure.beat, *figure.reach)}
    lines = []
    for name, value in figure.values.items():
        text = f"{name} {shown(value)} {figure.unit}".rstrip()
        lines.append(f"[{colour[name]}]{text}[/]" if name in colour else text)
    return "\n".join(lines)


def _bounds(figure: Figure) -> str:
    over, under = (
        [f"{name} {sign}{shown(bound)} {figure.unit}".rstrip() for name, bound in bounds.items()]
        for sign, bounds in (("", figure.beat), ("at least ", figure.reach))
    )
    return "\n".join(over + under)


def shown(value: float) -> str:
    """Return a number with as many digits as mean something."""
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
