"""What the demo tells: claims that can break, the steps that were seen, tables and lines that a person reads."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cluster.demo import screen, summary
from cluster.demo.checks import stays
from cluster.demo.claims import Claims
from cluster.demo.observed import Answer, Departure
from cluster.demo.screen import Picture, Screen
from cluster.demo.summary import Act, Way
from cluster.demo.watching import Sight


def printed(what: Any, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def ramping(at: float, weight: int, *, settled: bool) -> Sight:
    attempt = {"settledAt": "2026-01-05T09:00:00Z"} if settled else {}
    return Sight(at, {"phase": "Ramping", "weight": weight, "attempt": attempt})


class TestSteps:
    def test_a_step_is_from_when_it_was_in_effect_until_the_next(self) -> None:
        seen = [
            ramping(1, 1, settled=False),
            ramping(2, 1, settled=True),
            ramping(5, 10, settled=False),
            ramping(6, 10, settled=True),
            Sight(9, {"phase": "Promoted"}),
        ]
        assert stays(seen) == [(1, 2, 5), (10, 6, 9)]

    def test_what_came_after_the_next_step_began_is_not_this_ones(self) -> None:
        seen = [
            ramping(2, 10, settled=True),
            ramping(3, 10, settled=True),
            ramping(5, 50, settled=False),
            ramping(8, 50, settled=False),
        ]
        assert stays(seen) == [(10, 2, 5)]

    def test_times_are_moved_to_the_other_clock(self) -> None:
        assert stays([ramping(2, 1, settled=True), ramping(4, 10, settled=False)], ahead=100) == [(1, 102, 104)]


class TestClaims:
    def test_one_that_does_not_hold_is_the_demos_failure(self) -> None:
        claims = Claims()
        claims.check("the sun is up", True)
        broken = claims.check("nothing failed", False, "2 failed")
        assert claims.broken == [broken]

    def test_the_end_names_it_with_what_was_seen(self) -> None:
        claims = Claims()
        claims.check("nothing failed", False, "2 failed")
        text = printed(summary.render([], [], claims))
        assert "1 of 1 claims do not hold" in text
        assert "nothing failed  2 failed" in text

    def test_the_end_says_when_all_hold(self) -> None:
        claims = Claims()
        claims.check("nothing failed", True)
        assert "1 of 1 claims hold" in printed(summary.render([], [], claims))


class TestTables:
    ANSWERS = (Answer(1, 1.0, "1", 200), Answer(2, 2.0, "2", 500), Answer(3, 12.0, "2", 200))

    def test_each_act_has_what_its_clients_saw(self) -> None:
        first, second = summary.rows([Act("promotion", 0.0, 10.0), Act("rollback", 10.0, 20.0)], self.ANSWERS)
        assert (first.sent, first.failed, first.versions, first.seconds) == (2, 1, "v1, v2", 10.0)
        assert (second.sent, second.failed, second.versions) == (1, 0, "v2")

    def test_the_sum_is_at_the_foot(self) -> None:
        rows = summary.rows([Act("promotion", 0.0, 10.0), Act("rollback", 10.0, 20.0)], self.ANSWERS)
        foot = next(line for line in printed(summary.acts_table(rows)).splitlines() if "all" in line)
        assert foot.split("│")[2:5] == [f"{20:>8} ", f"{3:>9} ", f"{1:>7} "]

    def test_each_way_back_says_how_long_it_took(self) -> None:
        way = Way("patch mdep", "2", "command", Departure(10.0, 10.42, 7))
        line = next(line for line in printed(summary.ways_table([way])).splitlines() if "patch mdep" in line)
        assert [part.strip() for part in line.split("│")[1:-1]] == ["patch mdep", "v2", "command", "7", "0.42 s"]


class TestPicture:
    RAMPING = Picture(
        phase="Ramping",
        step="2/4",
        stable="1",
        candidate="2",
        weight=10,
        reason="Holding",
        message="held for 3s",
        shares={"1": 89.6, "2": 10.4},
        per_second=50,
        sent=200,
        failed=3,
        verdicts={"errors": "Pass", "latency": "NoData"},
        events=("StepStarted: step 2 of 4",),
    )

    def test_shows_phase_step_observed_shares_verdicts_and_events(self) -> None:
        text = printed(screen.render(self.RAMPING))
        assert "Ramping 2/4: stable v1, candidate v2 at 10 %" in text
        assert "  10.4 %" in text
        assert text.count("█") == 36 + 4
        assert "errors Pass   latency NoData" in text
        assert "200 sent, 50 a second, 3 failed" in text
        assert "StepStarted: step 2 of 4" in text

    def test_is_empty_before_anything_has_happened(self) -> None:
        assert "nothing yet: stable none" in printed(screen.render(Picture()))

    def test_is_a_line_where_there_is_no_terminal_and_each_event_is_told_once(self) -> None:
        out = io.StringIO()
        shown = Screen(Console(file=out, width=200))
        with shown.live():
            for _ in range(3):
                shown.show(self.RAMPING)
        text = out.getvalue()
        assert text.count("StepStarted") == 1
        assert text.count("observed v1 90 %  v2 10 % | 50/s, 3 failed | errors Pass latency NoData") == 1

    def test_a_command_is_printed_so_that_a_shell_takes_it(self) -> None:
        out = io.StringIO()
        Screen(Console(file=out, width=20)).command(["kubectl", "patch", "mdep", "x", "--patch", '{"spec":{}}'])
        assert out.getvalue() == """$ kubectl patch mdep x --patch '{"spec":{}}'\n"""
