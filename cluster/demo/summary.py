"""What the demo ends with: the acts, the rollbacks, the claims."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.demo.claims import Claims
from cluster.demo.observed import Answer, Departure, between


@dataclass(frozen=True, slots=True)
class Act:
    """One act, by the load generator's clock."""

    title: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Way:
    """One way back: what was done, and how the version left."""

    title: str
    version: str
    measured_from: str
    departure: Departure


@dataclass(frozen=True, slots=True)
class Row:
    """What one act did to the clients."""

    title: str
    seconds: float
    sent: int
    failed: int
    versions: str


def rows(acts: Iterable[Act], answers: Sequence[Answer]) -> list[Row]:
    """Return the table of the acts."""
    found = []
    for act in acts:
        inside = between(answers, act.began, act.ended)
        versions = sorted({answer.version for answer in inside if answer.version})
        failed = sum(answer.failed for answer in inside)
        names = ", ".join(f"v{version}" for version in versions)
        found.append(Row(act.title, act.ended - act.began, len(inside), failed, names))
    return found


def render(acts: Sequence[Row], ways: Sequence[Way], claims: Claims) -> RenderableType:
    """Return the end of the demo."""
    verdict = f"{len(claims.made)} of {len(claims.made)} claims hold"
    if claims.broken:
        verdict = f"{len(claims.broken)} of {len(claims.made)} claims do not hold"
    style = "bold red" if claims.broken else "bold green"
    broken = [Text(f"  ✗ {claim.says}  {claim.seen}", style="red") for claim in claims.broken]
    return Group(acts_table(acts), ways_table(ways), Text(verdict, style=style), *broken)


def acts_table(acts: Sequence[Row]) -> Table:
    """Return what the clients saw, act by act."""
    table = Table(title="What the clients saw", title_justify="left", title_style="bold")
    for heading in ("act", "seconds", "requests", "failed", "answered by"):
        table.add_column(heading, justify="left" if heading in ("act", "answered by") else "right")
    for row in acts:
        failed = Text(str(row.failed), style="red" if row.failed else "")
        table.add_row(row.title, f"{row.seconds:.0f}", str(row.sent), failed, row.versions)
    total = sum(row.failed for row in acts)
    table.add_section()
    seconds = sum(row.seconds for row in acts)
    table.add_row("all", f"{seconds:.0f}", str(sum(row.sent for row in acts)), str(total), "")
    return table


def ways_table(ways: Sequence[Way]) -> Table:
    """Return how long each way back took."""
    table = Table(title="The ways back", title_justify="left", title_style="bold")
    for heading in ("way", "away from", "measured from"):
        table.add_column(heading)
    for heading in ("answers since", "last after"):
        table.add_column(heading, justify="right")
    for way in ways:
        gone = way.departure
        table.add_row(way.title, f"v{way.version}", way.measured_from, str(gone.served), f"{gone.seconds:.2f} s")
    return table
