"""What the kubelet is told: when a restart would help, and when this process does not do its part."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from datetime import timedelta
from typing import Any

from modelramp.ports import Ref
from modelramp.process import SILENT, STUCK, Leadership, Process
from modelramp.queue import Pace, Queue
from modelramp.settings import read_settings
from tests.loop.lease_world import Connection, LeaseServer
from tests.loop.lease_world import Process as Contender
from tests.loop.virtual_time import on_virtual_time

SETTINGS = read_settings(
    {
        "MLFLOW_TRACKING_URI": "http://mlflow",
        "MODELRAMP_PROMETHEUS_URL": "http://prometheus:9090",
        "MODELRAMP_LEASE_NAMESPACE": "here",
    }
)


class Watching:
    """Watches that run, or not."""

    def __init__(self) -> None:
        self.all_run = True

    def complete(self) -> bool:
        return self.all_run


def leading(process: Process, queue: Queue[Ref], *, synced: bool = True) -> Watching:
    watching, unused = Watching(), None
    parts: Any = {part.name: unused for part in fields(Leadership)}
    parts |= {"queue": queue, "watches": watching, "synced": synced}
    process._led = Leadership(**parts)
    return watching


async def stuck(_: Ref) -> timedelta | None:
    await asyncio.sleep(10_000)
    return None


@on_virtual_time
async def test_a_turn_that_never_ends_is_an_ailment_and_a_slow_one_is_not() -> None:
    process = Process(SETTINGS)
    assert process.ailment() == ""
    queue: Queue[Ref] = Queue(stuck, Pace(deadline=timedelta(hours=2)))
    leading(process, queue)
    queue.start()
    queue.wake(Ref("team", "fraud"))
    await asyncio.sleep(STUCK - 1)
    assert process.ailment() == ""
    await asyncio.sleep(2)
    assert process.ailment() == "a turn is 301 s old"


@on_virtual_time
async def test_an_object_that_waits_too_long_for_its_turn_is_an_ailment() -> None:
    process = Process(SETTINGS)
    queue: Queue[Ref] = Queue(stuck, Pace(workers=1))
    leading(process, queue)
    queue.wake(Ref("team", "fraud"))
    await asyncio.sleep(STUCK + 1)
    assert "301 s" in process.ailment()


@on_virtual_time
async def test_before_the_first_full_read_a_restart_would_not_help() -> None:
    process = Process(SETTINGS)
    queue: Queue[Ref] = Queue(stuck)
    leading(process, queue, synced=False)
    queue.wake(Ref("team", "fraud"))
    await asyncio.sleep(STUCK * 10)
    assert process.ailment() == ""


@on_virtual_time
async def test_readiness_follows_the_api_server_the_full_read_the_watches_and_the_end() -> None:
    process, connection = Process(SETTINGS), Connection(LeaseServer())
    contender = Contender("a", connection)
    process.election = contender.election
    assert "has not answered" in process.unready()
    contender.run()
    await asyncio.sleep(1)
    assert process.unready() == ""
    queue: Queue[Ref] = Queue(stuck)
    leading(process, queue, synced=False)
    assert process.unready() == "the first full read is under way"
    watching = leading(process, queue)
    assert process.unready() == ""
    watching.all_run = False
    assert process.unready() == "not every watch runs yet"
    watching.all_run, connection.cut = True, True
    await asyncio.sleep(SILENT + 10)
    assert "has not answered" in process.unready()
    connection.cut = False
    await asyncio.sleep(5)
    assert process.unready() == ""
    process.stop()
    assert process.unready() == "stopping"
