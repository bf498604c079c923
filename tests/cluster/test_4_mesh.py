"""Istio: istiod and an Envoy that asks it, as pods, on the route of a VirtualService that is the user's own."""

from collections import Counter
from statistics import median

import pytest

from tests.cluster import meshed
from tests.cluster.chance import is_fair
from tests.cluster.figures import note
from tests.cluster.steps import counted, ramp, seen_by_clients, stay_at, stays, weights
from tests.cluster.world import ROUTE, Object, Recording, World

STEPS = 10, 50, 100
ENOUGH = 5_000
SHIFTED_WITHIN = 0.25  # seconds, the median


def test_a_route_that_serves_already_is_taken_over_as_it_is(meshed_first: Recording):
    assert meshed_first.splits == [{"weight.v1": "100"}]
    assert not meshed_first.failed


def test_every_step_is_taken_in_order(meshed_promotion: Recording):
    assert tuple(weights(meshed_promotion, "2")) == STEPS
    assert tuple(stay.weight for stay in ramp(meshed_promotion)) == STEPS


@pytest.mark.parametrize("weight", STEPS)
def test_the_model_servers_count_the_share_of_the_step(meshed_promotion: Recording, weight: int):
    counts = counted(meshed_promotion, stay_at(meshed_promotion, weight))
    hits, total = counts["2", "live"], counts["1", "live"] + counts["2", "live"]
    note(f"mesh, v2 at {weight} %, counted by the model servers", f"{hits} of {total}")
    assert is_fair(hits, total, weight / 100)


@pytest.mark.parametrize("weight", STEPS)
def test_the_clients_see_the_share_of_the_step(meshed_promotion: Recording, weight: int):
    seen = seen_by_clients(meshed_promotion, stay_at(meshed_promotion, weight))
    assert is_fair(seen["2"], seen["1"] + seen["2"], weight / 100)


def test_in_the_shadow_the_candidate_gets_a_copy_of_every_request(meshed_promotion: Recording):
    shadow = next(stay for stay in stays(meshed_promotion) if stay.phase == "Shadowing")
    assert set(seen_by_clients(meshed_promotion, shadow)) == {"1"}
    # Istio marks no copy: to the candidate's servers they are requests like any other.
    counts = counted(meshed_promotion, shadow)
    live, copies = counts["1", "live"], counts["2", "live"]
    note("mesh, in v2's shadow, counted by the model servers", f"{live} requests, {copies} copies")
    # The pods are not read in the same instant.
    assert live >= 100
    assert copies == pytest.approx(live, rel=0.05)


def test_a_write_of_the_virtual_service_moves_the_traffic_within_250_ms(shifts: meshed.Shifts):
    shown = ", ".join(f"{1000 * each:.0f}" for each in shifts.seconds)
    note("mesh, VirtualService written to the last answer of the version before, ms", shown)
    assert len(shifts.seconds) >= 6
    assert median(shifts.seconds) <= SHIFTED_WITHIN
    assert not shifts.recording.failed


def test_a_breach_takes_the_traffic_back(meshed_breach: meshed.Breach):
    recording = meshed_breach.recording
    assert recording.status["reason"] == "GuardrailFailed"
    assert list(weights(recording, "3")) == [10]
    assert recording.splits[-1] == {"weight.v2": "100"}
    assert recording.failed
    assert recording.failed[0].at >= meshed_breach.broken_at
    took = recording.failed[-1].at - recording.failed[0].at
    note("mesh, v3: first bad answer to the last, seconds", f"{took:.1f}, {len(recording.failed)} bad answers")


def test_a_rollback_by_hand_sticks_and_names_who_did_it(meshed_by_hand: meshed.ByHand):
    status = meshed_by_hand.recording.status
    assert (status["phase"], status["reason"]) == ("RolledBack", "ManualRollback")
    assert status["stable"]["version"] == "2"
    assert "kubectl-patch" in status["message"]
    assert list(weights(meshed_by_hand.recording, "4")) == [10]
    assert meshed_by_hand.recording.splits[-1] == {"weight.v2": "100"}


def test_what_else_the_user_wrote_in_the_virtual_service_is_as_it_was(
    meshed_first: Recording, meshed_by_hand: meshed.ByHand
):
    before, after = meshed_first.routes[0].object, meshed_by_hand.recording.routes[-1].object
    assert _theirs(after) == _theirs(before)


def test_no_request_through_the_mesh_fails_but_those_that_the_broken_version_answered(
    meshed_world: World, meshed_by_hand: meshed.ByHand
):
    answers = meshed_world.load.answers
    failed = Counter((answer.version, answer.status) for answer in answers if answer.failed)
    note("mesh, requests in all, failed by version and status", f"{len(answers)}, {dict(failed)}")
    assert len(answers) >= ENOUGH
    assert set(failed) == {("3", 500)}


def _theirs(virtual_service: Object) -> Object:
    """Return the spec without what the operator may write."""
    spec: Object = virtual_service["spec"]
    ours = {"route", "mirror", "mirrorPercentage"}
    http = [
        {key: value for key, value in rule.items() if rule["name"] != ROUTE or key not in ours} for rule in spec["http"]
    ]
    return spec | {"http": http}
