"""What people read is true: every reason is documented, the drawn state machine is the table, links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelramp.rollout.machine import TRANSITIONS
from modelramp.rollout.narrate import EVENTS, NOTABLE_HOLDS, VERDICT_EVENTS

ROOT = Path(__file__).parents[1]
REASONS = (ROOT / "docs/reference/reasons.md").read_text()
HOW = (ROOT / "docs/how-it-works.md").read_text()
REASON_AT = {
    "Signal": 1,
    "_hold": 0,
    "GateResult": 2,
    "passes": 1,
    "fails": 1,
    "Claim": 2,
    "Verdict": 1,
    "Event": 0,
    "Failed": 0,
    "NoData": 0,
}
"""Which argument of these calls is a reason."""
NEVER_SHOWN = {"NotAsked"}


def calls(source: str) -> Iterator[tuple[str, list[ast.expr]]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.args


def constants(node: ast.expr) -> Iterator[str]:
    """Yield the words an expression can be, both ways of an `if` included."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[A-Z]\w+", node.value):
        yield node.value


def reasons() -> set[str]:
    found = {reason for reason, _ in (*EVENTS.values(), *VERDICT_EVENTS.values())} | set(NOTABLE_HOLDS)
    for path in (ROOT / "operator/modelramp").rglob("*.py"):
        for name, args in calls(path.read_text()):
            at = REASON_AT.get(name)
            if at is not None and len(args) > at:
                found |= set(constants(args[at]))
    return found - NEVER_SHOWN


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_every_reason_is_documented(reason: str) -> None:
    assert f"`{reason}`" in REASONS


def metrics() -> set[str]:
    runtime = ROOT / "operator/modelramp_runtime"
    sources = [ROOT / "operator/modelramp/telemetry.py", runtime / "metrics.py", runtime / "capture_metrics.py"]
    return {name for path in sources for name in re.findall(r'"(modelramp_[a-z_]+)"', path.read_text())}


@pytest.mark.parametrize("metric", sorted(metrics()))
def test_every_metric_is_documented(metric: str) -> None:
    documented = (ROOT / "docs/reference/metrics.md").read_text()
    assert f"`{metric}`" in documented or f"`{metric}_total`" in documented


def settings() -> set[str]:
    source = (ROOT / "operator/modelramp_runtime/settings.py").read_text()
    return set(re.findall(r'"(MODELRAMP_[A-Z_]+)"', source))


@pytest.mark.parametrize("setting", sorted(settings()))
def test_every_setting_of_the_model_server_is_documented(setting: str) -> None:
    assert f"`{setting}`" in (ROOT / "docs/reference/server.md").read_text()


def drawn() -> str:
    """Return the state diagram that the table stands for; ways that lead from everywhere are left to the text."""
    everywhere = {"Release", "Repin", "Restore", "Return", "WarmUp", "Revert", "Drill", "BringBack", "Drilled"}
    ways = {
        (phase.value, to.value, signal.value)
        for phase, row in TRANSITIONS.items()
        for signal, to in row.items()
        if signal.value not in everywhere or (phase.value, signal.value) == ("Pending", "Repin")
    }
    pairs = sorted({(start, to) for start, to, _ in ways})
    lines = [
        f"    {start} --> {to}: {', '.join(sorted(signal for a, b, signal in ways if (a, b) == (start, to)))}"
        for start, to in pairs
    ]
    return "\n".join(["stateDiagram-v2", "    [*] --> Pending", *lines])


def test_the_drawn_state_machine_is_the_table() -> None:
    block = re.search(r"```mermaid\n(stateDiagram-v2.*?)\n```", HOW, re.DOTALL)
    assert block is not None
    assert block[1] == drawn(), drawn()


def documents() -> list[Path]:
    return [
        path for path in ROOT.rglob("*.md") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{target} in {path.name}"
