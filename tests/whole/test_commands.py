"""The commands tell the story out of a real API server and a real MLflow, as their user types them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from modelramp.ports import Ref
from tests.controlplane import ApiServer
from tests.mlflow_server import MlflowServer, register
from tests.whole.manifests import steps
from tests.whole.observer import Trace
from tests.whole.stage import staged

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]
MODEL = "told_detector"
LINES = 13


async def said(ref: Ref, server: ApiServer, mlflow: MlflowServer, *words: str) -> tuple[int, str]:
    """Return a command's exit code and what it printed."""
    verb, *rest = words
    where = ["-n", ref.namespace, "--kubeconfig", str(server.kubeconfig), "--mlflow", mlflow.uri]
    command = [sys.executable, "-m", "modelramp", verb, ref.name, *rest, *where]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


def is_recorded(trace: Trace, ref: Ref) -> bool:
    status = trace.status(ref)
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    return conditions.get("AuditRecorded") == "True" and not status.get("outbox")


async def test_history_why_story_and_checklist(
    defined_server: ApiServer, tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    made = [register(mlflow_server, MODEL, model_metrics={"auc": auc}, tags={"team": "fraud"}) for auc in (0.93, 0.95)]
    async with staged(defined_server, tmp_path) as stage:
        stage.environment = {"MLFLOW_TRACKING_URI": mlflow_server.uri}
        ref = Ref(await stage.namespace(), "fraud")
        async with stage.observed(ref.namespace) as trace, stage.operator(ref.namespace):
            spec = {"gates": {"metrics": [{"metric": "auc", "min": 0.9}]}, "ramp": {"steps": steps(50, 100, hold="1s")}}
            await stage.create(ref, model={"name": MODEL, "version": "1"}, **spec)
            await trace.until_phase(ref, "Promoted", "1")
            await stage.pin(ref, "2")
            await trace.until_phase(ref, "Promoted", "2")
            await trace.until(lambda: is_recorded(trace, ref), "the registry has every record", 60)
        asked = (defined_server, mlflow_server)
        code, history = await said(ref, *asked, "history")
        events = [line.split()[4].rstrip(":") for line in history.splitlines()[2:]]
        assert (code, events) == (0, [one["event"] for one in trace.status(ref)["history"]])
        code, why = await said(ref, *asked, "why")
        assert code == 0
        assert [
            words for words in ("version 2 serves", "because Promoted", "gate metric:auc") if words not in why
        ] == []
        code, story = await said(ref, *asked, "story", "2")
        assert code == 0
        told = (made[1].run_id, "What was decided", "it serves (Promoted)", "tag        team = fraud")
        assert [words for words in told if words not in story] == []
        code, printed = await said(ref, *asked, "history", "-o", "json")
        assert (code, [record["event"] for record in json.loads(printed)["records"]]) == (0, events)
        await _check_checklist(ref, *asked)


async def _check_checklist(ref: Ref, server: ApiServer, mlflow: MlflowServer) -> None:
    code, table = await said(ref, server, mlflow, "checklist")
    assert (code, len(table.splitlines())) == (1, LINES), "no runbook is named, so the answer is no"
    _, printed = await said(ref, server, mlflow, "checklist", "-o", "json")
    lines = json.loads(printed)
    assert {line["item"]: line["mark"] for line in lines}["Offline gates passed"] == "✓"
    _, ticket = await said(ref, server, mlflow, "checklist", "-o", "markdown")
    for kind in (table, ticket):
        assert [line["item"] in row for line, row in zip(lines, kind.splitlines(), strict=True)] == [True] * LINES
