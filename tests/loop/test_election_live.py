"""The election on a real API server, with processes that are really stopped and continued."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import LEASE
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.leases import Claim, Held, LeaseObject
from modelramp.leader import Election, unique_identity
from modelramp.ports import Conflict, Ref
from modelramp.rollout.observation import Failed, NoData
from tests.loop.elector import QUICK
from tests.loop.live import Namespace, until, wired

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
QUARTER = timedelta(seconds=15)


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Cluster]:
    cluster = await Cluster.connect(kubeconfig)
    yield cluster
    await cluster.close()


@pytest.fixture
async def cluster(namespace: Namespace) -> AsyncIterator[Cluster]:
    async with connected(namespace.server.kubeconfig) as opened:
        yield opened


@pytest.fixture
def leases(namespace: Namespace, cluster: Cluster) -> LeaseObject:
    return LeaseObject(cluster, Ref(namespace.name, "modelramp"), SystemClock())


def lease_of(namespace: Namespace) -> dict[str, Any]:
    return namespace.read(LEASE, "modelramp")


async def test_a_lease_that_does_not_exist_is_no_data_and_a_renewal_makes_it_anew(
    namespace: Namespace, leases: LeaseObject
) -> None:
    assert isinstance(await leases.read(), NoData)
    created = await leases.create(Claim("a", 1, QUARTER))
    assert isinstance(created, Held)
    await asyncio.to_thread(namespace.delete, LEASE, "modelramp")
    assert isinstance(await leases.replace(Claim("a", 1, QUARTER), created.resource_version), Held)


async def test_a_lease_is_written_as_every_tool_reads_it(namespace: Namespace, leases: LeaseObject) -> None:
    created = await leases.create(Claim("a", 7, QUARTER, acquired=True))
    assert isinstance(created, Held)
    spec = (await asyncio.to_thread(lease_of, namespace))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("a", 7, 15)
    assert spec["acquireTime"] == spec["renewTime"]
    renewed = await leases.replace(Claim("a", 7, QUARTER), created.resource_version)
    assert isinstance(renewed, Held)
    later = (await asyncio.to_thread(lease_of, namespace))["spec"]
    assert later["acquireTime"] == spec["acquireTime"]
    assert later["renewTime"] > spec["renewTime"]
    assert await leases.read() == renewed


async def test_only_one_of_two_writers_wins(leases: LeaseObject) -> None:
    first = await leases.create(Claim("a", 1, QUARTER))
    assert isinstance(first, Held)
    assert isinstance(await leases.create(Claim("b", 1, QUARTER)), Conflict)
    assert isinstance(await leases.replace(Claim("a", 1, QUARTER), first.resource_version), Held)
    assert isinstance(await leases.replace(Claim("b", 2, QUARTER), first.resource_version), Conflict)


async def test_what_others_wrote_into_the_lease_stays(namespace: Namespace, leases: LeaseObject) -> None:
    assert isinstance(await leases.create(Claim("a", 1, QUARTER)), Held)
    await asyncio.to_thread(namespace.merge, LEASE, "modelramp", {"metadata": {"labels": {"team": "ml"}}})
    read = await leases.read()
    assert isinstance(read, Held)
    assert isinstance(await leases.replace(Claim("a", 1, QUARTER), read.resource_version), Held)
    assert (await asyncio.to_thread(lease_of, namespace))["metadata"]["labels"] == {"team": "ml"}


async def test_without_rights_or_a_namespace_it_is_a_failure_with_a_reason(namespace: Namespace) -> None:
    nobody = namespace.server.mint("nobody")
    async with connected(nobody.kubeconfig) as cluster:
        refused = await LeaseObject(cluster, Ref(namespace.name, "modelramp"), SystemClock()).read()
    assert isinstance(refused, Failed)
    assert refused.reason == "Forbidden"
    async with connected(namespace.server.kubeconfig) as cluster:
        nowhere = LeaseObject(cluster, Ref("no-such-namespace", "modelramp"), SystemClock())
        assert isinstance(await nowhere.create(Claim("a", 1, QUARTER)), Failed)


async def test_a_restart_of_the_api_server_changes_no_leader(namespace: Namespace, tmp_path: Path) -> None:
    async with wired(namespace.server, tmp_path) as wire, connected(wire.kubeconfig) as cluster:
        clock, ref, resumed = SystemClock(), Ref(namespace.name, "modelramp"), asyncio.Event()
        incumbent, rival = (
            Election(LeaseObject(cluster, ref, clock), unique_identity(name), clock, QUICK) for name in ("a", "b")
        )
        await incumbent.acquire()
        epoch, keeping = incumbent.epoch, asyncio.create_task(incumbent.keep(resumed.set))
        waiting = asyncio.create_task(rival.acquire())
        wire.cut()
        await until(lambda: not incumbent.held(), "the right to write ends with the connection")
        await asyncio.to_thread(namespace.server.restart)
        wire.mend()
        await asyncio.wait_for(resumed.wait(), 10)
        assert incumbent.held()
        assert incumbent.epoch == epoch
        assert not keeping.done()
        assert not rival.held()
        waiting.cancel()
        keeping.cancel()
        await incumbent.release()
        await rival.acquire()
        assert rival.epoch == epoch + 1


@dataclass
class Elector:
    """A process of its own that takes part in the election."""

    process: asyncio.subprocess.Process
    identity: str
    file: Path

    @classmethod
    async def start(cls, namespace: Namespace, file: Path) -> Elector:
        arguments = (str(namespace.server.kubeconfig), namespace.name, "modelramp", str(file))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.loop.elector", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        assert process.stdout is not None
        return cls(process, (await process.stdout.readline()).decode().strip(), file)

    def stretches(self) -> list[tuple[int, float, float]]:
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return [(int(epoch), float(first), float(last)) for epoch, first, last in lines]


@pytest.mark.slow
async def test_processes_that_are_stopped_and_continued_never_lead_together(
    namespace: Namespace, tmp_path: Path
) -> None:
    """SIGSTOP whoever leads until another does, continue it, and look at every moment at which each might write."""
    electors = [await Elector.start(namespace, tmp_path / f"{number}") for number in range(2)]

    def holder() -> str:
        found = [lease for lease in namespace.all(LEASE) if lease["metadata"]["name"] == "modelramp"]
        return str(found[0]["spec"]["holderIdentity"]) if found else ""

    async def leads(identities: set[str]) -> bool:
        return await asyncio.to_thread(holder) in identities

    for number in range(2, 6):
        known = {elector.identity: elector for elector in electors}
        await until(lambda known=known: leads(set(known)), "somebody leads")  # type: ignore[misc]
        leader = known[await asyncio.to_thread(holder)]
        leader.process.send_signal(signal.SIGSTOP)
        await until(lambda known=known, leader=leader: leads(set(known) - {leader.identity}), "another leads")  # type: ignore[misc]
        leader.process.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(leader.process.wait(), 20) == 0, "who lost the lease ends"
        electors.append(await Elector.start(namespace, tmp_path / f"{number}"))
    for elector in electors:
        if elector.process.returncode is None:
            elector.process.terminate()
            await asyncio.wait_for(elector.process.wait(), 20)

    led = [stretch for elector in electors for stretch in elector.stretches()]
    assert len({epoch for epoch, _, _ in led}) >= 5
    for (_, begin, end), (_, other_begin, other_end) in combinations(led, 2):
        assert end < other_begin or other_end < begin, f"two could write at a time: {sorted(led, key=lambda s: s[1])}"
    in_time = [epoch for epoch, begin, _ in sorted(led, key=lambda stretch: stretch[1])]
    assert in_time == sorted(in_time), "an epoch went back"
