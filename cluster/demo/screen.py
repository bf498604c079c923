"""What the demo shows: a live picture on a terminal, plain lines elsewhere."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cluster.demo.claims import Claim

BAR = 40  # characters for 100 %
EVERY = 5.0  # seconds between two plain lines when nothing else happens
_COLOURS = {"1": "cyan", "2": "green", "3": "magenta"}
_VERDICTS = {"Pass": "green", "Fail": "bold red", "NoData": "yellow", "Inconclusive": "yellow"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One look at the rollout: as the object says, and as the requests saw it."""

    phase: str = ""
    step: str = ""
    stable: str = ""
    candidate: str = ""
    weight: int = 0
    reason: str = ""
    message: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    per_second: float = 0.0
    sent: int = 0
    failed: int = 0
    verdicts: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[str] = ()

    @property
    def headline(self) -> str:
        """Return where it stands, in one line."""
        step = f" {self.step}" if self.step else ""
        candidate = f", candidate v{self.candidate} at {self.weight} %" if self.candidate else ""
        return f"{self.phase or 'nothing yet'}{step}: stable {f'v{self.stable}' if self.stable else 'none'}{candidate}"

    @property
    def split(self) -> str:
        """Return the observed shares in one line."""
        return "  ".join(f"v{version} {percent:.0f} %" for version, percent in self.shares.items()) or "no answers"


class Screen:
    """Prints what stays, and keeps the picture below it up to date."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, highlight=False)
        self._live: Live | None = None
        self._began = time.monotonic()
        self._told, self._told_at, self._events_told = "", 0.0, 0

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the picture while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def act(self, title: str, story: str) -> None:
        """Begin an act."""
        self.console.print()
        self.console.rule(Text(title, style="bold"), align="left")
        self.console.print(Text(story, style="dim"))

    def command(self, words: Sequence[str]) -> None:
        """Show a command as the user would type it."""
        self.console.print(Text(f"$ {shlex.join(words)}", style="bold"), soft_wrap=True)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def claim(self, claim: Claim) -> None:
        """Print what was checked."""
        mark = Text("  ✓ ", style="green") if claim.holds else Text("  ✗ ", style="bold red")
        self.console.print(mark + Text(claim.says) + Text(f"  {claim.seen}", style="dim"), soft_wrap=True)

    def show(self, picture: Picture) -> None:
        """Show how things stand."""
        if self._live:
            self._live.update(render(picture), refresh=True)
        else:
            self._tell(picture)

    def _tell(self, picture: Picture) -> None:
        for event in picture.events[self._events_told :]:
            self.line(f"  event   {event}")
        self._events_told = len(picture.events)
        now = time.monotonic()
        if picture.headline == self._told and now - self._told_at < EVERY:
            return
        self._told, self._told_at = picture.headline, now
        verdicts = " ".join(f"{name} {verdict}" for name, verdict in picture.verdicts.items())
        seen = f"observed {picture.split} | {picture.per_second:.0f}/s, {picture.failed} failed"
        self.line(f"  {now - self._began:6.1f} s  {picture.headline} | {seen}" + (f" | {verdicts}" if verdicts else ""))


def render(picture: Picture) -> RenderableType:
    """Return the live picture."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", min_width=10)
    grid.add_column()
    grid.add_row("rollout", Text(picture.headline, style="bold"))
    grid.add_row("", Text(f"{picture.reason}: {picture.message}" if picture.reason else "", style="dim"))
    for version, percent in picture.shares.items():
        grid.add_row(f"v{version}", bar(version, percent))
    failed = Text(f"{picture.failed} failed", style="red" if picture.failed else "dim")
    grid.add_row("requests", Text(f"{picture.sent} sent, {picture.per_second:.0f} a second, ") + failed)
    grid.add_row("guardrails", verdicts(picture.verdicts))
    grid.add_row("events", Text("\n".join(picture.events[-4:])))
    return Panel(Group(grid), title="observed by the clients", title_align="left", border_style="dim")


def bar(version: str, percent: float) -> Text:
    """Return one version's observed share."""
    filled = round(percent * BAR / 100)
    colour = _COLOURS.get(version, "blue")
    return Text("█" * filled, style=colour) + Text("░" * (BAR - filled), style="dim") + Text(f" {percent:5.1f} %")


def verdicts(found: Mapping[str, str]) -> Text:
    """Return the guardrails' verdicts in one line."""
    parts = [Text(f"{name} ") + Text(verdict, style=_VERDICTS.get(verdict, "")) for name, verdict in found.items()]
    return Text("   ").join(parts) if parts else Text("none asked yet", style="dim")
