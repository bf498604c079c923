"""The store only ever learns: late, repeated and reordered news change nothing."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelramp.adapters.kinds import CONFIG_MAP, DEPLOYMENT, MODEL_DEPLOYMENT, NAME, POD
from modelramp.adapters.store import Store, is_older
from modelramp.ports import Ref

REF = Ref("default", "fraud")


def deployment(version: int, name: str = "fraud-v8", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "default", "name": name, "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata | {"labels": {NAME: "fraud"}} | more, "spec": {"replicas": version}}


def replicas(store: Store) -> int | None:
    found = store.get(DEPLOYMENT, "default", "fraud-v8")
    return found["spec"]["replicas"] if found else None


def test_news_wakes_its_model_deployment_and_an_echo_nobody() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, deployment(5)) == {REF}
    assert store.put(DEPLOYMENT, deployment(5)) == frozenset()
    assert store.put(DEPLOYMENT, deployment(4)) == frozenset()
    assert replicas(store) == 5
    model = {"metadata": {"namespace": "default", "name": "fraud", "uid": "m", "resourceVersion": "6"}}
    assert store.put(MODEL_DEPLOYMENT, model) == {REF}
    assert store.put(DEPLOYMENT, deployment(7, labels={})) == frozenset()


def test_an_answer_that_comes_after_the_deletion_does_not_bring_it_back() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment(5))
    assert store.drop(DEPLOYMENT, deployment(8)) == {REF}
    assert store.put(DEPLOYMENT, deployment(7)) == frozenset()
    assert replicas(store) is None
    assert store.put(DEPLOYMENT, deployment(9)) == {REF}
    assert store.drop(DEPLOYMENT, deployment(8)) == frozenset()
    assert replicas(store) == 9


def test_a_list_removes_what_it_lacks_but_not_what_is_younger() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment(5))
    store.put(DEPLOYMENT, deployment(12, "fraud-v9"))
    assert not store.is_complete(DEPLOYMENT)
    assert store.replace_all(DEPLOYMENT, [], "10") == {REF}
    assert store.is_complete(DEPLOYMENT)
    assert not store.is_complete(POD)
    assert [each["metadata"]["name"] for each in store.members(DEPLOYMENT, REF)] == ["fraud-v9"]
    assert store.put(DEPLOYMENT, deployment(9)) == frozenset()
    assert store.replace_all(DEPLOYMENT, [deployment(12, "fraud-v9")], "13") == frozenset()


def test_an_object_that_moves_to_another_owner_leaves_the_first() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment(5))
    assert store.put(DEPLOYMENT, deployment(6, labels={NAME: "other"})) == {Ref("default", "other")}
    assert store.members(DEPLOYMENT, REF) == []
    assert len(store.members(DEPLOYMENT, Ref("default", "other"))) == 1


def test_versions_that_are_no_numbers_are_only_told_apart() -> None:
    assert is_older("9", "10")
    assert not is_older("10", "9")
    store = Store()
    first, second = (deployment(1, resourceVersion=version) for version in ("b", "a"))
    assert store.put(DEPLOYMENT, first) == {REF}
    assert store.put(DEPLOYMENT, first) == frozenset()
    assert store.put(DEPLOYMENT, second) == {REF}
    assert store.drop(DEPLOYMENT, first) == {REF}
    assert store.members(DEPLOYMENT, REF) == []


@given(st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.integers(1, 30)), max_size=40), st.randoms())
def test_whatever_the_order_the_newest_wins(news: list[tuple[str, int]], chance: random.Random) -> None:
    """The same facts in any order, any of them repeated, lead to the same state."""
    facts = {version: kind for kind, version in news}
    told = list(facts.items())
    store = Store()
    for version, kind in (*told, *chance.sample(told, len(told) // 2), *chance.sample(told, len(told))):
        (store.put if kind == "put" else store.drop)(DEPLOYMENT, deployment(version))
    newest = max(facts, default=None)
    assert replicas(store) == (newest if newest and facts[newest] == "put" else None)


def test_a_pod_keeps_only_what_is_read_and_a_config_map_says_who_wrote() -> None:
    store = Store()
    pod = {
        "metadata": {"namespace": "default", "name": "p", "uid": "p", "resourceVersion": "1", "managedFields": [{}]},
        "spec": {"containers": [{"name": "envoy", "ports": [], "env": [{"name": "TOKEN", "value": "secret"}]}]},
        "status": {"podIP": "10.0.0.1", "phase": "Running", "qosClass": "Burstable"},
    }
    store.put(POD, pod)
    assert "secret" not in repr(store.get(POD, "default", "p"))
    config_map = deployment(1, "fraud-traffic", managedFields=[{"manager": "kubectl"}])
    store.put(CONFIG_MAP, config_map)
    store.put(DEPLOYMENT, deployment(1, managedFields=[{"manager": "kubectl"}]))
    kept = store.get(CONFIG_MAP, "default", "fraud-traffic")
    slimmed = store.get(DEPLOYMENT, "default", "fraud-v8")
    assert kept is not None
    assert slimmed is not None
    assert kept["metadata"]["managedFields"] == [{"manager": "kubectl"}]
    assert "managedFields" not in slimmed["metadata"]
