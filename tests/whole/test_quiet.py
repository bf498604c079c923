"""Two hundred objects settle; then nothing is written for a minute."""

from __future__ import annotations

import asyncio

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, LEASE, MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.stage import Stage
from tests.whole.test_crashes import is_at_rest, until_quiet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
OBJECTS, MINUTE = 200, 60.0


async def test_two_hundred_objects_settle_and_then_nothing_is_written_for_a_minute(stage: Stage) -> None:
    namespace = await stage.namespace()
    refs = [Ref(namespace, f"fraud-{number}") for number in range(OBJECTS)]
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as proxy,
        stage.operator(namespace, through=proxy) as operator,
    ):
        await asyncio.gather(*(stage.create(ref) for ref in refs))
        await trace.until(
            lambda: all(is_at_rest(trace.status(ref)) for ref in refs),
            lambda: f"at rest: {sum(is_at_rest(trace.status(ref)) for ref in refs)} of {OBJECTS}",
            within=240,
        )
        await until_quiet(proxy)
        stored, written, read = len(trace.revisions()), len(proxy.writes), proxy.reads["GET"]
        asked, used = len(stage.prometheus.asked), operator.cpu_seconds()
        await asyncio.sleep(MINUTE)
        used = operator.cpu_seconds() - used
        print(f"{OBJECTS} at rest: {used:.2f} CPU seconds a minute, {operator.resident_mib():.0f} MiB")
        assert {write.resource for write in proxy.writes[written:]} == {"leases"}
        assert proxy.reads["GET"] == read, "and nothing is read: a silent watch is only opened again"
        assert {each.kind for each in trace.revisions()[stored:]} == {LEASE}
        assert len(stage.prometheus.asked) - asked > 0.5 * OBJECTS * MINUTE, "while every guardrail goes on watching"
        assert all(trace.weights(ref) == {"1": 100} for ref in refs)
        assert len(trace.revisions(CONFIG_MAP)) + len(trace.revisions(MODEL_DEPLOYMENT)) < 12 * OBJECTS
