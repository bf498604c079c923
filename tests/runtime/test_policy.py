"""The policy: in force within two seconds of its edit, never in halves, and a bad edit changes nothing."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from modelramp_policy.document import hash_of
from tests.runtime.mounted import Mounted
from tests.runtime.serving import Caller, Served, awaited, served_here

pytestmark = pytest.mark.server

REVIEW = "thresholds:\n  threshold: {}\nrules:\n  decision: \"outputs['1'] > policy.threshold ? 'review' : 'accept'\"\n"
EDITS, CALLERS = 100, 4


@pytest.fixture
def rules(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "policy")


def row(fraud, count: int = 1) -> dict[str, object]:
    return {"dataframe_split": json.loads(fraud.example[:count].to_json(orient="split", index=False))}


def in_force(served: Served, policy: str) -> None:
    awaited(lambda: served.get("/policy").json["hash"] == policy, f"policy {policy} is in force", 2)


def test_the_rules_decide_beside_the_predictions_and_the_answer_names_them(fraud, rules: Mounted) -> None:
    policy = rules.write(REVIEW.format(0.0))
    with served_here(fraud.directory, POLICY_DIR=str(rules.directory)) as served:
        answer = served.predict(row(fraud, 2))
        assert answer.json["decisions"] == {"decision": ["review", "review"]}
        assert answer.headers["x-policy-hash"] == policy
        assert len(answer.predictions) == 2
        assert served.metric("modelramp_policy_decisions_total", rule="decision", decision="review", arm="live") == 2
        assert served.metric("modelramp_policy_info", policy=policy) == 1


def test_an_edit_is_in_force_within_two_seconds_without_a_restart(fraud, rules: Mounted) -> None:
    rules.write(REVIEW.format(0.0))
    with served_here(fraud.directory, POLICY_DIR=str(rules.directory)) as served:
        edited = rules.write(REVIEW.format(2.0))
        in_force(served, edited)
        answer = served.predict(row(fraud))
        assert (answer.json["decisions"]["decision"], answer.headers["x-policy-hash"]) == (["accept"], edited)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("rules: [", "not YAML"),
        (REVIEW.format(0.5).replace("policy.threshold", "policy.treshold"), "policy.treshold"),
        (REVIEW.format(0.5).replace("outputs['1']", "outputs['2']"), "outputs.2"),
        ("rules:\n  decision: inputs.country > 1.0\n", "no matching overload"),
        ("rules:\n  decision: inputs.amount / 0.0 * 0.0\n", "on the input example"),
        (None, "there is no policy.yaml"),
    ],
)
def test_a_bad_edit_keeps_the_last_good_one_and_says_why(
    fraud, rules: Mounted, bad: str | None, complaint: str
) -> None:
    good = rules.write(REVIEW.format(0.0))
    with served_here(fraud.directory, POLICY_DIR=str(rules.directory)) as served:
        rules.write(bad)
        refused = awaited(lambda: served.get("/policy").json["refused"], "the edit is refused", 2)
        assert complaint in refused["problems"][0]
        answer = served.predict(row(fraud))
        assert (answer.json["decisions"]["decision"], answer.headers["x-policy-hash"]) == (["review"], good)
        assert served.metric("modelramp_policy_refused") == 1
        assert served.metric("modelramp_policy_edits_total", result="refused") == 1
        mended = rules.write(REVIEW.format(0.1))
        in_force(served, mended)
        assert served.metric("modelramp_policy_refused") == 0


def test_a_server_without_rules_that_can_be_used_gets_no_requests_until_they_come(fraud, rules: Mounted) -> None:
    rules.write("rules: {}\n")
    with served_here(fraud.directory, wait=False, POLICY_DIR=str(rules.directory)) as served:
        said = awaited(lambda: "rules: has 0" in (found := served.get("/ready").json)["reason"] and found, "it waits")
        assert said["phase"] == "Trying"
        rules.write(REVIEW.format(0.5))
        awaited(lambda: served.get("/ready").status == 200, "it is ready", 2)


def test_a_server_that_starts_under_a_bad_edit_answers_by_the_rules_that_were_in_force_last(
    fraud, rules: Mounted, tmp_path: Path
) -> None:
    kept = Mounted(tmp_path / "kept")
    last = kept.write(REVIEW.format(0.0))
    bad = rules.write("rules: {}\n")
    places = {"POLICY_DIR": str(rules.directory), "POLICY_KEPT_DIR": str(kept.directory)}
    with served_here(fraud.directory, **places) as served:
        assert served.get("/ready").status == 200
        answer = served.predict(row(fraud))
        assert (answer.json["decisions"]["decision"], answer.headers["x-policy-hash"]) == (["review"], last)
        said = served.get("/policy").json
        assert (said["hash"], said["refused"]["hash"]) == (last, bad)
        assert served.metric("modelramp_policy_refused") == 1
        assert served.metric("modelramp_policy_info", policy=last) == 1
        kept.write(REVIEW.format(2.0))  # never an edit: only what is in policy.configMap comes into force
        mended = rules.write(REVIEW.format(0.1))
        in_force(served, mended)
        assert served.metric("modelramp_policy_refused") == 0


def test_rules_that_are_kept_must_be_usable_too_and_may_come_later(fraud, rules: Mounted, tmp_path: Path) -> None:
    kept = Mounted(tmp_path / "kept")
    kept.write("rules:\n  decision: inputs.nothing > 1.0\n")
    rules.write(None)
    places = {"POLICY_DIR": str(rules.directory), "POLICY_KEPT_DIR": str(kept.directory)}
    with served_here(fraud.directory, wait=False, **places) as served:
        awaited(lambda: "there is no policy.yaml" in served.get("/ready").json["reason"], "it waits")
        last = kept.write(REVIEW.format(0.0))
        awaited(lambda: served.get("/ready").status == 200, "it is ready", 2)
        assert served.predict(row(fraud)).headers["x-policy-hash"] == last


def test_a_rule_that_fails_on_a_row_is_a_500_with_an_id_and_no_data(fraud, rules: Mounted, caplog) -> None:
    rules.write("rules:\n  band: \"['low', 'high'][int(inputs.amount / 1000.0)]\"\n")
    with served_here(fraud.directory, POLICY_DIR=str(rules.directory)) as served:
        payload = {"dataframe_records": [{**fraud.example.iloc[0].to_dict(), "amount": 987654.25}]}
        payload = json.loads(json.dumps(payload, default=lambda value: value.item()))
        answer = served.predict(payload)
        assert (answer.status, answer.json["kind"]) == (500, "policy")
        assert answer.json["error_id"]
        assert "987654" not in answer.body.decode() + caplog.text


def marked(number: int) -> str:
    many = "\n".join(f"  r{n}: policy.mark" for n in range(4))
    return f"thresholds:\n  mark: {number}\nrules:\n{many}\n"


def test_a_hundred_edits_under_load_lose_no_request_and_mix_no_answer(fraud, rules: Mounted, monkeypatch) -> None:
    monkeypatch.setattr("modelramp_runtime.policy.LOOK_EVERY", 0.01)
    marks = {rules.write(marked(0)): 0}
    wrong: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()
    with served_here(fraud.directory, POLICY_DIR=str(rules.directory), MODELRAMP_QUEUE="64") as served:
        payload = row(fraud, 20)

        def call() -> None:
            caller = Caller(served.port)
            while not stop.is_set():
                answer = caller.predict(payload)
                policy = answer.headers.get("x-policy-hash", "")
                seen.add(policy)
                said = {mark for marks_ in answer.json.get("decisions", {}).values() for mark in marks_}
                if answer.status != 200 or said != {float(marks[policy])}:
                    wrong.append(f"{answer.status} {policy} {said}")
            caller.close()

        callers = [threading.Thread(target=call) for _ in range(CALLERS)]
        for each in callers:
            each.start()
        for number in range(1, EDITS + 1):
            marks[hash_of(marked(number))] = number
            policy = rules.write(marked(number))
            in_force(served, policy)
            awaited(lambda policy=policy: policy in seen, "an answer under it")
        stop.set()
        for each in callers:
            each.join(20)
    assert wrong == []
    assert len(seen) >= EDITS
