"""Several workers behind one port are one server: one readiness, one sum of metrics, one policy, one end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from modelramp_runtime.siblings import Question, Siblings
from tests.runtime.conftest import HERE, Fraud
from tests.runtime.mounted import Mounted
from tests.runtime.serving import Served, awaited, is_ready, start
from tests.runtime.test_policy import marked, row

pytestmark = [pytest.mark.server, pytest.mark.slow]
WORKERS = 3
ANSWERED, IN_FLIGHT = "modelramp_requests_total", "modelramp_requests_in_flight"


@contextmanager
def served_by_workers(model: Path, home: Path, **variables: str) -> Iterator[Served]:
    """Serve in as many processes; sockets and logs are under `home`."""
    home.mkdir(exist_ok=True)
    mine = {"MODELRAMP_WORKERS": str(WORKERS), "MODELRAMP_DRAIN_SECONDS": "1", "TMPDIR": str(home)}
    served = start(model, home / "log", **mine, **variables)
    assert served.process is not None
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()


def workers(served: Served) -> list[int]:
    assert served.process is not None
    found = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def shares(metric: str, home: Path) -> list[float]:
    """Return each worker's own part of a metric, as it tells the others."""
    [directory] = home.glob("workers-*")
    told = asyncio.run(Siblings(WORKERS, WORKERS, directory).ask(Question.METRICS))
    return [
        sum(value for family in families for name, _, value in family[3] if name == metric)
        for families in told.values()
    ]


def ask_at_once(served: Served, payload: object, times: int) -> list[tuple[int, str]]:
    """Ask over as many connections; return statuses and policies."""
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: served.predict(payload), range(times))
        return [(answer.status, answer.headers.get("x-policy-hash", "")) for answer in answers]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("late") / "model"
    mlflow.pyfunc.save_model(
        directory,
        python_model=HERE / "models" / "late.py",
        signature=ModelSignature(inputs=Schema([ColSpec("double", "x")])),
        input_example=pd.DataFrame({"x": [1.0]}),
        pip_requirements=[],
    )
    return directory


def test_ready_only_when_every_worker_is_and_the_one_that_is_not_is_named(late: Path, tmp_path: Path) -> None:
    with served_by_workers(late, tmp_path, GATE=str(tmp_path)) as served:
        awaited((tmp_path / "held").exists, "one worker is at its first prediction", 60)
        first = workers(served)
        said = awaited(lambda: _one_is_late(served), "the others have made theirs", 30)
        for _ in range(20):
            answer = served.get("/ready")
            assert (answer.status, answer.json["phase"], answer.json["reason"]) == (503, "Trying", said)
            assert served.get("/v2/health/ready").status == 503
        (tmp_path / "open").touch()
        awaited(lambda: is_ready(served), "ready", 5)
        assert workers(served) == first, "nobody was replaced on the way"


def _one_is_late(served: Served) -> str:
    try:
        reasons = {served.get("/ready").json["reason"] for _ in range(20)}
    except OSError:
        return ""
    return reasons.pop() if len(reasons) == 1 and "the first prediction is being made" in str(reasons) else ""


def test_whoever_is_scraped_tells_the_sum_and_a_policy_is_in_force_where_all_follow_it(
    fraud: Fraud, tmp_path: Path
) -> None:
    rules = Mounted(tmp_path / "policy")
    rules.write(marked(0))
    with served_by_workers(fraud.directory, tmp_path / "home", POLICY_DIR=str(rules.directory)) as served:
        awaited(lambda: is_ready(served), "ready", 60)
        assert {status for status, _ in ask_at_once(served, row(fraud), 200)} == {200}
        assert [served.metric("modelramp_requests_total", code="200") for _ in range(10)] == [200.0] * 10
        assert sum(shares(ANSWERED, tmp_path / "home")) == 200
        assert all(shares(ANSWERED, tmp_path / "home")), "every worker has answered some"
        for number in range(1, 11):
            edited = rules.write(marked(number))
            awaited(lambda edited=edited: served.get("/policy").json["hash"] == edited, "in force", 2)
            assert set(ask_at_once(served, row(fraud), 16)) == {(200, edited)}
        assert served.metric("modelramp_policy_edits_total", result="used") == 11
        assert served.metric("modelramp_policy_info", policy=edited) == 1
        assert served.metric("modelramp_model_load_seconds") < 60


def test_told_to_go_all_drain_and_none_of_their_answers_is_lost(moody: Path, tmp_path: Path) -> None:
    with served_by_workers(moody, tmp_path / "home") as served, ThreadPoolExecutor(6) as pool:
        awaited(lambda: is_ready(served), "ready", 60)
        waiting = {"dataframe_records": [{"mood": f"wait {tmp_path / 'gate'}", "x": 1.0}]}
        asked = [pool.submit(served.predict, waiting) for _ in range(6)]
        awaited(lambda: served.metric("modelramp_requests_in_flight", arm="live") == 6, "in flight")
        assert served.process is not None
        served.process.send_signal(signal.SIGTERM)
        awaited(lambda: served.get("/ready").json["phase"] == "Draining", "all turn unready", 5)
        (tmp_path / "gate").touch()
        assert [answer.result().predictions for answer in asked] == [[1.0]] * 6
        assert served.process.wait(30) == 0
    assert list((tmp_path / "home").glob("workers-*")) == []


def test_a_worker_that_dies_takes_the_others_with_it_after_they_have_answered(moody: Path, tmp_path: Path) -> None:
    with served_by_workers(moody, tmp_path / "home") as served, ThreadPoolExecutor(8) as pool:
        awaited(lambda: is_ready(served), "ready", 60)
        waiting = {"dataframe_records": [{"mood": f"wait {tmp_path / 'gate'}", "x": 1.0}]}
        asked = [pool.submit(served.predict, waiting) for _ in range(8)]
        awaited(lambda: served.metric("modelramp_requests_in_flight", arm="live") == 8, "in flight")
        before = shares(IN_FLIGHT, tmp_path / "home")
        os.kill(workers(served)[0], signal.SIGKILL)
        (tmp_path / "gate").touch()
        assert served.process is not None
        assert served.process.wait(30) == 1
        lost = sum(answer.exception() is not None for answer in asked)
    assert lost == before[0], "only what the dead one was answering"
    assert "worker 0 ended with SIGKILL; the pod ends with it" in (tmp_path / "home" / "log").read_text()


def test_they_go_with_their_parent_however_it_ends(moody: Path, tmp_path: Path) -> None:
    with served_by_workers(moody, tmp_path / "home") as served:
        awaited(lambda: is_ready(served), "ready", 60)
        left = workers(served)
        assert served.process is not None
        served.process.kill()
        served.process.wait()
        awaited(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in left), "all are gone", 5)
