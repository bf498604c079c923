"""`python -m tests.benchmarks [NAME…]`: measure, print a table; `--json FILE` keeps every sample."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks import core, creation, ramping, report, serving, settled, snapshot
from tests.benchmarks.bench import prepared
from tests.benchmarks.figures import Figure

ON_A_SERVER = {"create": creation.measure, "ramp": ramping.measure, "settled": settled.measure}
NAMES = ("core", "snapshot", "serving", *ON_A_SERVER)


def main() -> int:
    """Run what is asked for; return 0 whatever the numbers are, since a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each window in which cost is measured")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: there is no such benchmark; there are {', '.join(NAMES)}")
    asyncio.run(report_on(run(asked.names or NAMES, asked.seconds), asked.json))
    return 0


async def report_on(measured: AsyncIterator[Sequence[Figure]], kept: Path | None) -> None:
    """Tell each figure when it is there, keep all in `kept` from then on, and end with the table."""
    before, began, console = report.machine(), time.monotonic(), Console()
    figures: list[Figure] = []
    async for new in measured:
        figures += new
        report.tell(console, new)
        result = report.document(figures, before, time.monotonic() - began)
        if kept:
            report.save(result, kept)
    report.print_table(console, result, figures)


async def run(names: list[str] | tuple[str, ...], seconds: float) -> AsyncIterator[Sequence[Figure]]:
    """Run benchmarks by name; yield what each measured."""
    if "core" in names:
        yield [core.measure()]
    if "snapshot" in names:
        yield await snapshot.measure()
    if "serving" in names:
        yield await serving.measure(seconds / 5)
    chosen = [measure for name, measure in ON_A_SERVER.items() if name in names]
    if chosen:
        async with prepared(seconds) as bench:
            for measure in chosen:
                known = len(bench.figures)
                await measure(bench)
                yield bench.figures[known:]


if __name__ == "__main__":
    raise SystemExit(main())
