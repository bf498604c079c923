"""The third example on a real API server: applied as it stands, and every object that it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modelramp.adapters.kinds import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, MODEL_DEPLOYMENT, SERVICE
from modelramp.handlers import WATCHED
from modelramp.ports import Done, Ref
from tests.adapters.conftest import defined, real
from tests.adapters.real import RealCluster, pin, read

__all__ = ["defined", "real"]
pytestmark = pytest.mark.apiserver
MANIFEST = Path(__file__).parents[2] / "examples/03-scaling-and-other-runtimes/modeldeployment.yaml"
NAME = "churn-scorer-v3"


async def test_it_is_applied_once_and_then_nothing_is_written(real: RealCluster) -> None:
    path = f"{MODEL_DEPLOYMENT.path(real.namespace, 'churn-scorer')}?force=true&fieldValidation=Strict"
    manifest = yaml.safe_load(MANIFEST.read_text())
    await real.request("PATCH", path, manifest, kind="application/apply-patch+yaml")
    process = real.process()
    rollout = await read(process, Ref(real.namespace, "churn-scorer"))
    assert not rollout.spec.problem
    assert await process.workloads.run(rollout, pin("3")) == Done()
    for kind in (DEPLOYMENT, SERVICE, AUTOSCALER, DISRUPTION_BUDGET):
        assert await real.get(kind, NAME) is not None, kind.name
    pod = (await real.get(DEPLOYMENT, NAME))["spec"]["template"]
    server = pod["spec"]["containers"][0]
    assert {mount["mountPath"] for mount in server["volumeMounts"]} == {"/mnt/model", "/tmp", "/home/bentoml"}
    assert pod["metadata"]["labels"]["team"] == "growth"
    later = real.process()
    await later.list_all(real.namespace, *WATCHED)
    real.calls.clear()
    assert await later.workloads.run(rollout, pin("3")) == Done()
    assert real.calls == []
