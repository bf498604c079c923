"""What the commands say of an object's story: all of it, why, one version's life, and the thirteen lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from modelramp.account import Story, gather, reproduce, runs, tell_history, tell_story, tell_why
from modelramp.account_json import history_json, story_json, why_json
from modelramp.adapters.mlflow_story import Kept, Origin, without_credentials
from modelramp.checklist import RUNBOOK, Case, Line, judge, render
from modelramp.cli import parser
from modelramp.explain import Subject, explain
from modelramp.rollout.observation import Failed, Reading, Value
from modelramp.rollout.spec import Policy
from modelramp.rollout.status import Finding, VerdictKind
from tests.rollout.test_record import played
from tests.scenarios.player import REF, Player

AWAY = Failed("RegistryUnreachable", "the registry at mlflow:5000 could not be reached")
ORIGIN = Origin(
    "2",
    "1764072000000",
    "run2",
    "better on night transactions; agreed with risk on 2026-11-20",
    {"team": "fraud"},
    "FINISHED, active",
    commit="4f2a9c1d",
    repository="https://git.example.com/fraud.git",
    source_name="train.py",
    datasets=("transactions 1a2b3c4d",),
    parameters={"depth": "6", "note": "two words"},
    metrics={"auc": 0.95},
)


def subject(player: Player) -> Subject:
    stored = player.world.objects[REF]
    return Subject(REF, stored.generation, stored.spec, stored.status)


def story(player: Player, kept: Reading[Kept] | None = None) -> Story:
    records = tuple(player.world.records[REF].values())
    return gather(subject(player), kept or Value(Kept(records)))


def test_the_history_is_that_of_the_registry_and_what_waits_for_it() -> None:
    player = played("pin 2", "run 9h", "away registry", "pin 1", "run 1m")
    told = tell_history(story(player)).splitlines()[2:]
    assert len(told) == len(player.world.records[REF]) + 1
    assert "version 1    AttemptStarted: version 1 is pinned" in told[0]
    assert "Returned: version 1 was stable before and takes all traffic" in told[-1]


def test_without_the_registry_the_history_is_that_of_the_status_and_says_so() -> None:
    told = tell_history(story(played("pin 2", "run 9h"), AWAY))
    assert "Promoted: version 2 passed every step" in told
    assert "MLflow has more: it could not be asked (RegistryUnreachable" in told


def test_the_same_is_said_in_json() -> None:
    kept = story(played("errors 2 0.3 from 10", "pin 2", "run 2h"))
    history = json.loads(history_json(replace(kept, missing="RegistryUnreachable: away", lost=("a run is gone",))))
    assert history["deployment"] == {"namespace": REF.namespace, "name": REF.name}
    assert [record["event"] for record in history["records"]] == [record.event for record in kept.records]
    assert (history["missing"], history["lost"]) == ("RegistryUnreachable: away", ["a run is gone"])
    why = json.loads(why_json(kept))
    assert (why["serves"], why["since"]["stable"], why["rejected"][0]["version"]) == ("1", "1", "2")
    assert why["rejected"][0]["reason"] == "GuardrailFailed"
    odd = replace(ORIGIN, metrics={"auc": 0.95, "loss": float("nan")})
    told = json.loads(story_json(kept, "2", Value(odd)))
    assert (told["origin"]["commit"], told["origin"]["metrics"]) == ("4f2a9c1d", {"auc": 0.95, "loss": "nan"})
    assert told["today"] == "it is not tried again: guardrail errors: 0.3 is above max 0.05"
    assert told["reproduce"][1] == "git checkout 4f2a9c1d"
    assert {record["version"] for record in told["records"]} == {"2"}
    hostile = story_json(kept, "2", Value(replace(ORIGIN, description="\x9b31m half a pair: \ud800")))
    assert hostile.isascii(), "no sign that a terminal obeys, nor one that cannot be printed"
    gone = json.loads(story_json(kept, "2", AWAY))
    assert gone["originMissing"].startswith("RegistryUnreachable: ")
    assert gone["reproduce"] == []


def test_a_run_that_is_gone_is_told_in_a_line() -> None:
    gone = "version 1: run r1 is gone from MLflow, with the records that were on it"
    player = played("pin 2", "run 9h")
    assert tell_history(story(player, Value(Kept(lost=(gone,))))).endswith(f"\n\n{gone}\n")
    assert runs(subject(player).status) == {"run1": "1", "run2": "2"}


def test_a_record_that_lost_its_evidence_in_the_status_has_it_from_the_registry() -> None:
    player = played("pin 2", "run 9h")
    bare = replace(
        subject(player).status, history=tuple(replace(r, evidence=()) for r in subject(player).status.history)
    )
    records = gather(
        replace(subject(player), status=bare), Value(Kept(tuple(player.world.records[REF].values())))
    ).records
    assert records[-1].event == "Promoted"
    assert records[-1].evidence


def test_why_names_the_promotion_with_what_it_rests_on() -> None:
    told = tell_why(story(played("pin 2", "run 9h")))
    assert "version 2 serves" in told
    assert "because Promoted: version 2 passed every step" in told
    assert "✓ guardrail errors: 0, max 0.05" in told
    assert "✓ gate metric:auc" in told


def test_why_after_a_rollback_names_the_fault_and_the_older_proof() -> None:
    told = tell_why(story(played("errors 2 0.3 from 10", "pin 2", "run 2h")))
    assert "version 1 serves" in told
    assert "version 2 does not serve: guardrail errors: 0.3 is above max 0.05" in told


def test_a_story_goes_from_the_commit_to_today() -> None:
    told = tell_story(story(played("pin 2", "run 9h")), "2", Value(ORIGIN))
    order = ("4f2a9c1d", "transactions 1a2b3c4d", "depth = 6", "auc = 0.95", "better on night")
    order += (
        "AttemptStarted",
        "✓ gate signature",
        "step 2 of 4",
        "✓ requests",
        "Promoted",
        "it serves",
        "git checkout",
    )
    places = [told.index(word) for word in order]
    assert places == sorted(places)


def test_a_story_of_a_version_that_was_rolled_back_says_why_it_does_not_run() -> None:
    told = tell_story(story(played("errors 2 0.3 from 10", "pin 2", "run 2h")), "2", AWAY)
    assert "Where it comes from is not known: RegistryUnreachable" in told
    assert "✗ guardrail errors: 0.3 is above max 0.05; 0.3, max 0.05" in told
    assert "it is not tried again: guardrail errors: 0.3 is above max 0.05" in told
    assert "not possible: no git commit is known" in told


def test_what_runs_the_training_again_can_be_pasted_into_a_shell() -> None:
    project = replace(ORIGIN, source_type="PROJECT", entry_point="main")
    assert list(reproduce(Value(project))) == [
        "  mlflow run https://git.example.com/fraud.git -v 4f2a9c1d -e main -P depth=6 -P 'note=two words'"
    ]
    assert list(reproduce(Value(ORIGIN)))[:3] == [
        "  git clone https://git.example.com/fraud.git source && cd source",
        "  git checkout 4f2a9c1d",
        "  python train.py",
    ]


def test_what_others_wrote_is_one_line_and_commands_neither_shell_nor_terminal() -> None:
    hostile = "deep\n  rm -rf ~\x1b[2J\u202e"
    origin = replace(ORIGIN, parameters={"depth": hostile}, tags={"team": hostile}, description=hostile)
    told = tell_story(story(played("pin 2", "run 9h")), "2", Value(origin))
    assert not {"\x1b", "\u202e"} & set(told)
    assert [line for line in told.splitlines() if "rm -rf" in line] == [
        "  parameter  depth = deep rm -rf ~ [2J",
        "  tag        team = deep rm -rf ~ [2J",
        "  note       deep rm -rf ~ [2J",
        "  # with depth=deep rm -rf ~ [2J",
    ]


def test_a_repository_s_token_is_not_shown() -> None:
    assert (
        without_credentials("https://oauth2:hunter2@git.example.com/a.git?x=hunter2") == "https://git.example.com/a.git"
    )
    assert without_credentials("git@git.example.com:a.git") == "git@git.example.com:a.git"


def lines(player: Player, origin: Reading[Origin], annotations: Mapping[str, str] = {}) -> dict[str, Line]:
    spec = player.world.objects[REF].spec
    judged = judge(Case(story(player), spec, dict(annotations), origin))
    return {line.item: line for line in judged}


def test_the_checklist_has_thirteen_lines_and_a_mark_and_evidence_for_each() -> None:
    player = Player()
    for command in ("register 1 auc=0.93", "register 2 auc=0.95", "create 1", "run 1m", "pin 2", "run 40h", "pin 1",
                    "run 1m", "pin 2", "run 1m"):  # fmt: skip
        player.play(command)
    stored = player.world.objects[REF]
    stored.spec = replace(stored.spec, policy=Policy("fraud-policy"))
    found = lines(player, Value(ORIGIN), {RUNBOOK: "https://wiki.example.com/fraud"})
    assert len(found) == 13
    assert all(line.evidence for line in found.values())
    marks = {item: line.mark for item, line in found.items()}
    assert marks.pop("Staging gates passed") == "–"
    assert set(marks.values()) == {"✓"}, found
    assert found["Shadow period of 24 h completed"].evidence == "copies for 24.0 h"
    assert found["Rollback is documented and tested"].evidence.startswith("Returned on 2026-01-0")


@pytest.mark.parametrize(
    ("item", "evidence"),
    [
        ("Rollback is documented and tested", "no rollback is on record"),
        ("Complete lineage is logged", "lacks: git commit, dataset, clean commit"),
        ("Decision context is documented", "no description"),
        ("On-call runbook", "annotate the object"),
    ],
)
def test_what_is_missing_fails_its_line_and_says_what_to_do(item: str, evidence: str) -> None:
    player = played("pin 2", "run 9h")
    origin = replace(ORIGIN, commit="", dirty="true", datasets=(), description="")
    line = lines(player, Value(origin))[item]
    assert line.mark == "✗"
    assert evidence in line.evidence


def test_a_pause_in_the_shadow_leaves_it_a_shadow() -> None:
    player = Player()
    for command in ("register 1 auc=0.93", "register 2 auc=0.95", "create 1", "run 1m", "pin 2", "run 5h",
                    "set paused=true", "run 1h", "set paused=false", "run 40h"):  # fmt: skip
        player.play(command)
    line = lines(player, Value(ORIGIN))["Shadow period of 24 h completed"]
    assert (line.mark, line.evidence) == ("✓", "copies for 24.0 h")


@pytest.mark.parametrize(
    ("gate", "item"),
    [
        ("ready", "Offline gates passed"),
        ("tag:team", "Offline gates passed"),
        ("metric:auc", "Offline gates passed"),
        ("compatibility", "Signature is logged and enforced"),
        ("lineage:FeatureTables", "Complete lineage is logged"),
        ("decision", "Decision context is documented"),
    ],
)
def test_a_gate_that_failed_is_a_line_that_failed(gate: str, item: str) -> None:
    player = played("pin 2", "run 9h")
    failed = Finding(f"gate {gate}", VerdictKind.FAIL, "Failed", "this is why")
    records = player.world.records[REF]
    for name, one in records.items():
        records[name] = replace(one, evidence=(*one.evidence, failed)) if one.event == "GatesPassed" else one
    line = lines(player, Value(ORIGIN))[item]
    assert (line.mark, line.evidence) == ("✗", "this is why")


def test_a_note_where_the_gate_found_it_is_the_note() -> None:
    player = played("pin 2", "run 9h")
    records = player.world.records[REF]
    found = Finding("gate decision", VerdictKind.PASS, "DecisionNoted", "agreed with risk", source="tag why")
    for name, one in records.items():
        records[name] = replace(one, evidence=(*one.evidence, found)) if one.event == "GatesPassed" else one
    line = lines(player, Value(replace(ORIGIN, description="")))["Decision context is documented"]
    assert (line.mark, line.evidence) == ("✓", "agreed with risk")


def test_a_commit_that_the_gate_takes_the_checklist_takes() -> None:
    origin = replace(ORIGIN, commit="", tags={"git_commit": "4f2a9c1d"})
    assert lines(played("pin 2", "run 9h"), Value(origin))["Complete lineage is logged"].mark == "✓"


def test_what_could_not_be_asked_is_neither_passed_nor_failed() -> None:
    line = lines(played("pin 2", "run 9h"), AWAY)["Complete lineage is logged"]
    assert (line.mark, line.evidence) == ("–", f"{AWAY.reason}: {AWAY.message}")


def test_what_a_floor_raised_is_told_wherever_somebody_asks_why() -> None:
    player = Player()
    floor = "floor tier1 shadow=26h first-step=1 hold=2h staging=300 guardrail=denials"
    for command in ("register 1 auc=0.93", "register 2 auc=0.95", "create 1", "run 1m", floor, "set steps=10,100",
                    "pin 2", "run 40h"):  # fmt: skip
        player.play(command)
    assert "✓ floor tier1: gates.staging: requests 300" in tell_why(story(player))
    assert "ramp.firstStep: 1 % instead of 10 % (policy tier1)" in explain(subject(player), player.world.now)
    found = lines(player, Value(ORIGIN))
    assert "shadow.duration: 1d2h instead of 1d (policy tier1)" in found["Shadow period of 24 h completed"].evidence
    assert "1 → 10 → 100 %" in found["Ramp plan with health checks"].evidence
    assert "ramp.firstStep: 1 % instead of 10 %" in found["Ramp plan with health checks"].evidence
    assert "gates.staging: requests 300" in found["Staging gates passed"].evidence
    assert found["Monitoring and alerting configured"].evidence.startswith("errors, tier1/denials")


def test_the_checklist_is_a_table_json_or_markdown_for_a_ticket() -> None:
    judged = (Line("Version is pinned", "✓", "version 2"), Line("On-call runbook", "✗", "annotate a_b"))
    assert render(judged, "table") == "✓ Version is pinned  version 2\n✗ On-call runbook    annotate a_b\n"
    assert json.loads(render(judged, "json"))[1] == {"item": "On-call runbook", "mark": "✗", "evidence": "annotate a_b"}
    assert render(judged, "markdown").splitlines() == [
        "- [x] ✓ **Version is pinned**: version 2",
        "- [ ] ✗ **On-call runbook**: annotate a\\_b",
    ]


@pytest.mark.parametrize(
    "words", ["history fraud", "why fraud -n shop", "story fraud 2", "checklist fraud -o markdown"]
)
def test_the_commands_are_there(words: str) -> None:
    assert parser().parse_args(words.split()).about == words.split(maxsplit=1)[0]
