"""Metrics and probes, as Prometheus and the kubelet get them."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.adapters.store import Store
from modelramp.lease import AlwaysHeld
from modelramp.ports import Conflict, Done, Ref, Rollout, Written
from modelramp.probes import Probes
from modelramp.queue import Outcome, Queue
from modelramp.rollout.actions import Event, SetTraffic
from modelramp.rollout.observation import Effect, NoData, Reading, Route, Split
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Status
from modelramp.telemetry import Backlog, CountedEvents, Postings, Rollouts, Standing, Telemetry, TimedTraffic
from tests.loop.virtual_time import on_virtual_time

Labels = frozenset[tuple[str, str]]
FRAUD = Rollout(Ref("team", "fraud"), "uid", 1, "1", Spec("fraud", "8"), Status())


def samples(telemetry: Telemetry) -> dict[str, dict[Labels, float]]:
    """Read the metrics as Prometheus does."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(telemetry.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labelled(**labels: str) -> Labels:
    return frozenset(labels.items())


def a_model_deployment(name: str, version: str, **status: object) -> dict[str, object]:
    metadata = {"namespace": "team", "name": name, "uid": name, "resourceVersion": version, "generation": 1}
    return {"kind": "ModelDeployment", "metadata": metadata, "spec": {}, "status": status}


RAMPING = a_model_deployment(
    "fraud", "10", phase="Ramping", reason="Holding", weight=10, stable={"version": "7"}, candidate={"version": "8"},
    guardrails=[{"name": "errors", "verdict": "Pass"}, {"name": "drift", "verdict": "NoData"}],
)  # fmt: skip


def test_every_rollout_is_shown_with_its_shares_and_verdicts() -> None:
    telemetry, store = Telemetry(), Store()
    telemetry.show(Rollouts(store))
    store.put(MODEL_DEPLOYMENT, RAMPING)
    found = samples(telemetry)
    fraud = {"namespace": "team", "name": "fraud"}
    assert found["modelramp_rollout_weight"] == {
        labelled(**fraud, version="7"): 90,
        labelled(**fraud, version="8"): 10,
    }
    assert found["modelramp_rollout_info"] == {
        labelled(**fraud, phase="Ramping", reason="Holding", stable="7", candidate="8"): 1
    }
    assert found["modelramp_guardrail_verdict"] == {
        labelled(**fraud, guardrail="errors", verdict="Pass"): 1,
        labelled(**fraud, guardrail="drift", verdict="NoData"): 1,
    }


def test_a_stable_version_without_a_candidate_has_all_traffic() -> None:
    telemetry, store = Telemetry(), Store()
    telemetry.show(Rollouts(store))
    store.put(MODEL_DEPLOYMENT, a_model_deployment("fraud", "1", phase="Promoted", stable={"version": "8"}, weight=0))
    assert list(samples(telemetry)["modelramp_rollout_weight"].values()) == [100]


def test_a_new_object_without_a_status_is_pending() -> None:
    telemetry, store = Telemetry(), Store()
    telemetry.show(Rollouts(store))
    store.put(MODEL_DEPLOYMENT, a_model_deployment("fraud", "1"))
    ((labels, _),) = samples(telemetry)["modelramp_rollout_info"].items()
    assert ("phase", "Pending") in labels
    assert "modelramp_rollout_weight" not in samples(telemetry)


def test_an_object_that_is_gone_is_gone_from_the_metrics() -> None:
    telemetry, store = Telemetry(), Store()
    telemetry.show(Rollouts(store))
    store.put(MODEL_DEPLOYMENT, RAMPING)
    store.drop(MODEL_DEPLOYMENT, a_model_deployment("fraud", "11"))
    assert "modelramp_rollout_info" not in samples(telemetry)


def test_counters_begin_at_zero_so_that_the_first_increase_is_seen() -> None:
    rollbacks = samples(Telemetry())["modelramp_rollbacks_total"]
    assert rollbacks[labelled(reason="RolledBack")] == 0


def test_requests_to_the_api_server_are_counted_by_verb_resource_and_code() -> None:
    telemetry = Telemetry()
    telemetry.requested("PATCH", "configmaps", 200, 0.1)
    telemetry.requested("PATCH", "configmaps", 0, 5.0)
    found = samples(telemetry)["modelramp_api_requests_total"]
    assert found[labelled(verb="PATCH", resource="configmaps", code="200")] == 1
    assert found[labelled(verb="PATCH", resource="configmaps", code="0")] == 1


@on_virtual_time
async def test_the_queue_is_shown_as_it_is_and_its_turns_by_outcome() -> None:
    async def turn(_: Ref) -> timedelta | None:
        await asyncio.sleep(3)
        return None

    telemetry = Telemetry()
    queue: Queue[Ref] = Queue(turn, turned=telemetry.turned)
    telemetry.show(Backlog(queue))
    queue.wake(Ref("team", "a"))
    queue.wake(Ref("team", "b"))
    await asyncio.sleep(2)
    found = samples(telemetry)
    assert found["modelramp_queue_depth"][labelled()] == 2
    assert found["modelramp_queue_oldest_seconds"][labelled()] == 2
    queue.start()
    await asyncio.sleep(1)
    assert samples(telemetry)["modelramp_turns_running"][labelled()] == 2
    await asyncio.sleep(5)
    found = samples(telemetry)
    assert found["modelramp_turn_seconds_count"][labelled(outcome=Outcome.DONE.value)] == 2
    assert found["modelramp_turn_seconds_sum"][labelled(outcome="done")] == 6
    assert found["modelramp_queue_depth"][labelled()] == 0


def test_the_leader_flag_follows_the_lease() -> None:
    class Standby(AlwaysHeld):
        def held(self) -> bool:
            return False

    leader, follower = Telemetry(), Telemetry()
    leader.show(Standing(AlwaysHeld()))
    follower.show(Standing(Standby()))
    assert samples(leader)["modelramp_leader"][labelled()] == 1
    assert samples(follower)["modelramp_leader"][labelled()] == 0


class Posted:
    """An `Events` that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def emit(self, rollout: Rollout, events: object) -> None:
        assert isinstance(events, tuple)
        self.events += events


async def test_events_are_counted_and_posted_and_rollbacks_are_told_apart() -> None:
    telemetry, posted = Telemetry(), Posted()
    happened = (Event("Promoted", ""), Event("RolledBack", "", normal=False), Event("ManualRollback", "", normal=False))
    await CountedEvents(posted, telemetry.happened).emit(FRAUD, happened)
    found = samples(telemetry)
    assert posted.events == list(happened)
    assert found["modelramp_events_total"][labelled(reason="Promoted")] == 1
    rollbacks = {labels: count for labels, count in found["modelramp_rollbacks_total"].items() if count}
    assert rollbacks == {labelled(reason="RolledBack"): 1, labelled(reason="ManualRollback"): 1}


def test_events_that_were_not_posted_are_counted() -> None:
    class Overrun:
        dropped, failed = 3, 2

    telemetry = Telemetry()
    telemetry.show(Postings(Overrun()))
    found = samples(telemetry)["modelramp_events_unposted_total"]
    assert found == {labelled(why="dropped"): 3, labelled(why="failed"): 2}


class SlowRoute:
    """A `Traffic` whose writes take two seconds and end as they are told to."""

    def __init__(self, ending: Written) -> None:
        self.ending = ending

    async def read(self, rollout: Rollout) -> Reading[Route]:
        return NoData("NoRoute", "")

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        return NoData("NoRoute", "")

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        await asyncio.sleep(2)
        return self.ending


@pytest.mark.parametrize(
    ("retreat", "ending", "counted"), [(True, Done(), 1), (False, Done(), 0), (True, Conflict(), 0)]
)
def test_a_stored_retreat_is_timed_from_what_woke_the_loop(retreat: bool, ending: Written, counted: int) -> None:
    @on_virtual_time
    async def scenario() -> None:
        telemetry = Telemetry()
        traffic = TimedTraffic(SlowRoute(ending), lambda _: timedelta(seconds=0.5), telemetry.retreated)
        await traffic.write(FRAUD, SetTraffic(Split({"7": 100}), "7", ("7",), retreat, "errors"))
        found = samples(telemetry)
        assert found["modelramp_retreat_seconds_count"][labelled()] == counted
        assert found["modelramp_retreat_seconds_sum"][labelled()] == 2.5 * counted

    scenario()


class Patient:
    """A process with a made-up state."""

    def __init__(self) -> None:
        self.ill = self.not_ready = ""

    def ailment(self) -> str:
        return self.ill

    def unready(self) -> str:
        return self.not_ready


async def test_probes_answer_over_http_and_say_why() -> None:
    patient, telemetry = Patient(), Telemetry()
    probes = Probes(patient, telemetry.text, 0)
    await probes.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{probes.port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await get("/healthz") == (200, "ok\n")
            assert await get("/readyz") == (200, "ok\n")
            patient.ill, patient.not_ready = "a turn is 400 s old", "stopping"
            assert await get("/healthz") == (503, "a turn is 400 s old\n")
            assert await get("/readyz") == (503, "stopping\n")
            status, text = await get("/metrics")
            assert status == 200
            assert "modelramp_rollbacks_total" in text
            assert (await get("/quitquitquit"))[0] == 404
    finally:
        await probes.stop()


async def test_a_scrape_of_a_thousand_rollouts_is_quick() -> None:
    telemetry, store = Telemetry(), Store()
    telemetry.show(Rollouts(store))
    for number in range(1000):
        store.put(MODEL_DEPLOYMENT, {**RAMPING, "metadata": {**RAMPING["metadata"], "name": f"m{number}"}})  # type: ignore[dict-item]
    began = datetime.now(UTC)
    telemetry.text()
    assert datetime.now(UTC) - began < timedelta(seconds=1)
