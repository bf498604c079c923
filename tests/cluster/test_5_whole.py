"""What holds from the first request to the last, and what is left after it."""

from collections import Counter

from tests.cluster.acts import Deletion, Whole
from tests.cluster.figures import note
from tests.cluster.leftovers import Machine

ENOUGH = 20_000


def test_no_request_fails_but_those_that_the_broken_version_answered(whole: Whole):
    failed = Counter((answer.version, answer.status) for answer in whole.answers if answer.failed)
    note("requests in all, failed by version and status", f"{len(whole.answers)}, {dict(failed)}")
    assert len(whole.answers) >= ENOUGH
    assert set(failed) == {("3", 500)}


def test_no_answer_is_missing_from_the_ledger(whole: Whole):
    numbers = [answer.number for answer in whole.answers]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_operator_has_every_right_that_it_uses(whole: Whole):
    assert whole.asked
    assert whole.refused == 0


def test_no_pod_of_ours_is_refused_by_pod_security(whole: Whole):
    assert whole.events
    assert not [said for said in whole.events if "PodSecurity" in said]


def test_a_deleted_object_is_let_go_within_half_a_minute(deletion: Deletion):
    note("deleted: object gone, all that it owned gone, seconds", f"{deletion.gone:.1f}, {deletion.swept:.1f}")
    assert deletion.gone < 30


def test_all_that_a_deleted_object_owned_goes_with_it(deletion: Deletion):
    assert set(deletion.left.values()) == {0}


def test_nothing_of_the_cluster_is_left(before: Machine, after: Machine):
    assert not after.processes
    assert not after.mounts
    assert not after.cgroups
    assert not after.containers
    assert not after.links - before.links
