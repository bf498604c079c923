"""`python -m tests.benchmarks [NAME…]`: measure, print a table; `--json FILE` keeps every sample."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from rich.console import Console

from tests.benchmarks import core, creation, ramping, report, serving, settled
from tests.benchmarks.bench import prepared
from tests.benchmarks.figures import Figure

ON_A_SERVER = {"create": creation.measure, "ramp": ramping.measure, "settled": settled.measure}
NAMES = ("core", "serving", *ON_A_SERVER)


def main() -> int:
    """Run what is asked for; return 0 whatever the numbers are, since a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each window in which cost is measured")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: there is no such benchmark; there are {', '.join(NAMES)}")
    before, began = report.machine(), time.monotonic()
    figures = asyncio.run(run(asked.names or NAMES, asked.seconds))
    result = report.document(figures, before, time.monotonic() - began)
    report.print_table(Console(), result, figures)
    if asked.json:
        report.save(result, asked.json)
    return 0


async def run(names: list[str] | tuple[str, ...], seconds: float) -> list[Figure]:
    """Run benchmarks by name; return what they measured."""
    figures = [core.measure()] if "core" in names else []
    if "serving" in names:
        figures += await serving.measure(seconds / 5)
    chosen = [measure for name, measure in ON_A_SERVER.items() if name in names]
    if chosen:
        async with prepared(seconds) as bench:
            for measure in chosen:
                await measure(bench)
            figures += bench.figures
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
