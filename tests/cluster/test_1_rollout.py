"""The first version, and the promotion of the next."""

from itertools import chain

import pytest

from tests.cluster.acts import First
from tests.cluster.chance import is_fair
from tests.cluster.figures import note
from tests.cluster.scene import NAMESPACE, RELEASE, SYSTEM
from tests.cluster.steps import Stay, counted, ramp, seen_by_clients, stay_at, stays, weights
from tests.cluster.world import Recording, World

STEPS = 1, 10, 50, 100


def test_the_chart_alone_installs_the_operator(world: World, first: First):
    crd = world.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeldeployments.modelramp.dev")
    deployments = world.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments")["items"]
    releases = [each["metadata"]["annotations"]["meta.helm.sh/release-name"] for each in (crd, *deployments)]
    assert releases == [RELEASE, RELEASE]


def test_the_namespace_lets_only_restricted_pods_in(world: World, first: First):
    labels = world.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    components = sorted(pod["metadata"]["labels"].get("modelramp.dev/component", "") for pod in first.pods)
    assert components == ["", "", "", "model", "model", "router", "router"]


def test_the_first_version_scores_as_it_did_when_it_was_trained(first: First):
    assert set(first.versions) == {"1"}
    scored, trained = chain.from_iterable(first.scores), chain.from_iterable(first.trained["scores"])
    assert list(scored) == pytest.approx(list(trained), rel=1e-9)


def test_no_request_to_the_first_version_fails(first: First):
    assert first.recording.answers
    assert not first.recording.failed


def test_gates_come_first(promotion: Recording):
    told = [sight.object["status"] for sight in promotion.statuses]
    phases = list(dict.fromkeys(status["phase"] for status in told if status["attempt"]["version"] == "2"))
    assert phases == ["Gating", "Starting", "Shadowing", "Ramping", "Promoted"]
    gates = promotion.status["attempt"]["gates"]
    assert all(gate["passed"] for gate in gates)
    names = [gate["gate"] for gate in gates]
    assert {"name", "ready", "run", "signature", "compatibility"} < set(names)
    assert names.count("metric:auc") == 2, "its own bound, and stable's"


def test_the_ramp_takes_every_step_in_order(promotion: Recording):
    assert tuple(weights(promotion, "2")) == STEPS
    assert tuple(stay.weight for stay in ramp(promotion)) == STEPS


@pytest.mark.parametrize("weight", STEPS)
def test_the_model_servers_count_the_share_of_the_step(promotion: Recording, weight: int):
    counts = counted(promotion, stay_at(promotion, weight))
    hits, total = counts["2", "live"], counts["1", "live"] + counts["2", "live"]
    note(f"v2 at {weight} %, counted by the model servers", f"{hits} of {total}")
    assert is_fair(hits, total, weight / 100)


@pytest.mark.parametrize("weight", STEPS)
def test_the_clients_see_the_share_of_the_step(promotion: Recording, weight: int):
    seen = seen_by_clients(promotion, stay_at(promotion, weight))
    assert is_fair(seen["2"], seen["1"] + seen["2"], weight / 100)


def test_in_the_shadow_stable_answers_every_client(promotion: Recording):
    seen = seen_by_clients(promotion, _shadow(promotion))
    assert set(seen) == {"1"}


def test_in_the_shadow_the_candidate_gets_a_copy_of_every_request(promotion: Recording):
    counts = counted(promotion, _shadow(promotion))
    live, copies = counts["1", "live"], counts["2", "shadow"]
    note("in v2's shadow, counted by the model servers", f"{live} requests, {copies} copies")
    assert counts["2", "live"] == counts["1", "shadow"] == 0
    # The pods are not read in the same instant.
    assert live >= 200
    assert copies == pytest.approx(live, rel=0.03)


def test_no_copy_is_sent_once_the_ramp_has_begun(promotion: Recording):
    copies = [counted(promotion, stay)["2", "shadow"] for stay in ramp(promotion)]
    assert copies == [0] * len(STEPS)


def test_no_request_fails_during_the_promotion(promotion: Recording):
    note("v2: requests while it was promoted, failed", f"{len(promotion.answers)}, {len(promotion.failed)}")
    assert len(promotion.answers) > 2000
    assert not promotion.failed


def _shadow(recording: Recording) -> Stay:
    return next(stay for stay in stays(recording) if stay.phase == "Shadowing")
