"""The plugin rehearses a rollback: the traffic goes there and back, and what breaks in between ends on stable."""

from __future__ import annotations

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.rehearse import MANAGER, rehearse
from tests.whole.conftest import Residence
from tests.whole.invariants import moves

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


async def test_the_plugin_moves_the_traffic_there_and_back_and_says_how_long_it_took(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    before = len(moves(residence.trace, ref))
    told = await rehearse(ref.name, ref.namespace, residence.stage.server.kubeconfig, 60)
    assert told.good, told.text
    assert told.text.startswith("RollbackRehearsed: version 1 had all traffic after ")
    shares = [{v: n for v, n in move.after.weights.items() if n} for move in moves(residence.trace, ref)[before:]]
    assert shares == [{"1": 100}, {"2": 100}]
    assert residence.trace.status(ref)["phase"] == "Promoted"
    (record,) = [one for one in residence.trace.status(ref)["history"] if one["event"] == "RollbackRehearsed"]
    assert (record["version"], record["by"]) == ("1", MANAGER)
    assert residence.violations(ref) == []


async def test_the_plugin_says_why_there_is_no_drill(residence: Residence) -> None:
    ref = await residence.promoted("1")
    told = await rehearse(ref.name, ref.namespace, residence.stage.server.kubeconfig, 60)
    assert not told.good
    assert told.text.startswith("DrillRefused: no version to fall back to is warm and ready")
    assert residence.trace.newest(MODEL_DEPLOYMENT, ref.name) is not None
    assert residence.violations(ref) == []
