"""Processes that are killed, pods that are deleted, files that are tampered with."""

from cluster.demo.observed import between
from tests.cluster.disturbances import Disturbed, RouterLost, Tampered
from tests.cluster.figures import note
from tests.cluster.scene import is_foreign
from tests.cluster.steps import weights


def test_the_leader_was_killed_with_no_goodbye(disturbed: Disturbed):
    (pod,) = (each for each in disturbed.restarted if each["metadata"]["name"] == disturbed.killed)
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 137 or is_foreign()


def test_the_ramp_goes_on_under_the_next_leader_and_repeats_no_step(disturbed: Disturbed):
    note("v4: SIGKILL of the leader to the next step, seconds", f"{disturbed.followed_at - disturbed.killed_at:.1f}")
    assert list(weights(disturbed.recording, "4")) == [1, 10, 50, 100]


def test_the_ramp_ends_with_all_traffic_though_the_next_leader_was_deleted_by_force(disturbed: Disturbed):
    assert disturbed.recording.status["phase"] == "Promoted"
    assert disturbed.recording.status["stable"]["version"] == "4"
    assert disturbed.recording.splits[-1] == {"weight.v4": "100"}


def test_no_request_fails_while_the_operator_is_dead(disturbed: Disturbed):
    answers = between(disturbed.recording.answers, disturbed.killed_at, disturbed.forced_at)
    assert len(answers) > 100
    assert not [answer for answer in answers if answer.failed]


def test_no_request_fails_when_a_model_pod_is_deleted(disturbed: Disturbed):
    answers = between(disturbed.recording.answers, disturbed.pod_deleted_at, disturbed.pod_replaced_at + 2)
    failed = [answer for answer in answers if answer.failed]
    took = disturbed.pod_replaced_at - disturbed.pod_deleted_at
    note("model pod deleted: requests until it was replaced, failed", f"{len(answers)} in {took:.0f} s, {len(failed)}")
    assert len(answers) > 100
    assert not failed


def test_no_request_fails_when_a_router_pod_is_deleted(router_lost: RouterLost):
    answers, failed = router_lost.recording.answers, router_lost.recording.failed
    took = router_lost.replaced_after
    note("router pod deleted: requests until it was replaced, failed", f"{len(answers)} in {took:.0f} s, {len(failed)}")
    assert len(answers) > 100
    assert not failed


def test_a_tampered_artifact_never_starts(tampered: Tampered):
    assert all("they were changed after the version was checked" in said for said in tampered.endings)
    assert all(tampered.digest in said for said in tampered.endings)


def test_the_object_names_the_digest_that_does_not_match(tampered: Tampered):
    status = tampered.recording.status
    assert tampered.digest in tampered.waiting
    assert (status["phase"], status["reason"]) == ("Rejected", "NeverReady")
    assert tampered.digest in status["message"]


def test_a_tampered_version_gets_no_traffic(tampered: Tampered):
    assert tampered.recording.splits == [{"weight.v4": "100"}]
    assert {answer.version for answer in tampered.recording.answers} == {"4"}
    assert not tampered.recording.failed
