"""The ways back: by itself, by the pin, by hand."""

from datetime import timedelta

from cluster.demo.observed import between, departure
from tests.cluster.acts import Breach, ByHand
from tests.cluster.figures import note
from tests.cluster.limit import visible_since
from tests.cluster.steps import weights
from tests.cluster.world import Recording, split_of

INTERVAL = timedelta(seconds=1)
ROLLED_BACK_WITHIN = INTERVAL.total_seconds() + 1.0
MOVED_WITHIN = 5.0


def test_the_gates_and_the_shadow_of_the_third_version_pass(breach: Breach):
    phases = {sight.object["status"]["phase"] for sight in breach.recording.statuses}
    assert phases >= {"Gating", "Shadowing", "Ramping", "RolledBack"}
    assert all(gate["passed"] for gate in breach.recording.status["attempt"]["gates"])


def test_a_breach_takes_the_traffic_back_within_an_interval_and_a_second(breach: Breach):
    visible = visible_since(breach.readings)
    assert visible is not None
    bad = [answer for answer in breach.recording.failed if answer.version == "3"]
    gone = departure(breach.recording.answers, "3", visible)
    note("v3: first bad answer to breach visible in Prometheus, seconds", f"{visible - bad[0].at:.2f}")
    note("v3: breach visible to its last answer, seconds", f"{gone.seconds:.2f}, {gone.served} answers")
    note("v3: bad answers in all", len(bad))
    assert gone.seconds <= ROLLED_BACK_WITHIN


def test_nothing_but_the_breach_takes_it_back(breach: Breach):
    status = breach.recording.status
    assert status["reason"] == "GuardrailFailed"
    assert "guardrail errors: " in status["message"]
    assert [each["version"] for each in status["rejected"]] == ["3"]
    before = [answer for answer in breach.recording.failed if answer.at < breach.broken_at]
    assert not before


def test_only_the_version_that_broke_fails(breach: Breach):
    assert {(answer.version, answer.status) for answer in breach.recording.failed} == {("3", 500)}


def test_the_version_that_broke_never_gets_more_than_its_step(breach: Breach):
    assert list(weights(breach.recording, "3")) == [1, 10]
    assert breach.recording.splits[-1] == {"weight.v2": "100"}


def test_the_pin_moves_all_traffic_in_one_write(pinned_back: Recording):
    assert pinned_back.splits == [{"weight.v2": "100"}, {"weight.v1": "100"}]
    moved = next(sight for sight in pinned_back.routes if split_of(sight.object) == {"weight.v1": "100"})
    gone = departure(pinned_back.answers, "2", pinned_back.begin)
    note("back by the pin: kubectl to stored split, seconds", f"{moved.at - pinned_back.begin:.2f}")
    note("back by the pin: kubectl to the last answer of v2, seconds", f"{gone.seconds:.2f}, {gone.served} answers")
    note("back by the pin: writes of the ConfigMap", len(pinned_back.routes) - 1)
    assert gone.seconds <= MOVED_WITHIN


def test_no_request_fails_on_the_way_back_by_the_pin(pinned_back: Recording):
    assert len(pinned_back.answers) > 100
    assert not pinned_back.failed


def test_a_patch_of_the_config_map_moves_traffic_with_no_operator(by_hand: ByHand):
    gone = departure(by_hand.alone.answers, "1", by_hand.patched_at)
    note("back by hand, no operator: kubectl to the last answer of v1, seconds", f"{gone.seconds:.2f}")
    assert by_hand.operators == 0
    assert gone.seconds <= MOVED_WITHIN


def test_with_no_operator_the_object_is_left_as_it_was(by_hand: ByHand):
    assert by_hand.alone.status["stable"]["version"] == "1"


def test_the_operator_that_returns_keeps_the_decision(by_hand: ByHand):
    status = by_hand.recording.status
    assert (status["phase"], status["reason"]) == ("RolledBack", "ManualRollback")
    assert status["stable"]["version"] == "2"
    assert {each["version"] for each in status["rejected"]} == {"1", "3"}


def test_the_operator_that_returns_moves_no_traffic(by_hand: ByHand):
    assert by_hand.recording.splits == [{"weight.v1": "100"}, {"weight.v2": "100"}]
    after = between(by_hand.recording.answers, by_hand.returned_at)
    assert after[-1].at - by_hand.returned_at > 15
    assert {answer.version for answer in after} == {"2"}


def test_no_request_fails_on_the_way_back_by_hand(by_hand: ByHand):
    assert len(by_hand.recording.answers) > 2000
    assert not by_hand.recording.failed
