"""From the start of the process to its end: ready after a real prediction, gone without a lost request."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelramp_runtime.lifecycle import serve
from modelramp_runtime.settings import read_settings
from tests.runtime.conftest import Fraud
from tests.runtime.serving import IDENTITY, Answer, Caller, Served, awaited, is_listening, is_ready, served_here, start

ROW = {"amount": 50.0, "age": 40, "visits": 3, "country": "FR", "vip": False}


@pytest.fixture(scope="module")
def processes(fraud: Fraud, moody: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """The processes of this file, started side by side."""
    logs = tmp_path_factory.mktemp("logs")
    started = {
        "fraud": start(fraud.directory, logs / "fraud", MODELRAMP_DRAIN_SECONDS="2", MODELRAMP_LOG_REQUESTS="all"),
        "busy": start(
            moody, logs / "busy", MODELRAMP_DRAIN_SECONDS="0", MODELRAMP_SHUTDOWN_SECONDS="3", MODELRAMP_THREADS="2"
        ),
    }
    yield started
    for served in started.values():
        assert served.process is not None
        served.process.kill()
        served.process.wait()


def test_a_failed_first_prediction_keeps_it_alive_but_unready_and_says_why(hopeless: Path, caplog) -> None:
    with served_here(hopeless) as served:
        answer = served.get("/ready")
        assert answer.status == 503
        assert answer.json["phase"] == "Failed"
        assert answer.json["reason"] == (
            "the first prediction, from the logged input example, failed: "
            "The model failed on this input. (ValueError; the log has the trace)"
        )
        assert served.get("/health").status == 200
        assert served.metric("modelramp_requests_total") == 0, "the first prediction is nobody's request"
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "cannot handle" in str(record.exc_info[1])


def test_without_an_input_example_a_row_from_the_signature_is_tried(price: Path, caplog) -> None:
    with served_here(price) as served:
        assert served.get("/ready").json["reason"] == "a prediction was made from the signature's made-up row"
    assert "no input example was logged" in caplog.text


@pytest.mark.parametrize("which", ["every_type", "nested", "tensor"])
def test_a_made_up_row_fits_every_kind_of_signature(which: str, request: pytest.FixtureRequest) -> None:
    with served_here(request.getfixturevalue(which)) as served:
        assert served.get("/ready").status == 200


def test_with_nothing_to_try_it_is_never_ready(bare: Path) -> None:
    with served_here(bare) as served:
        assert served.get("/ready").status == 503
        assert "neither an input example nor a signature" in served.get("/ready").json["reason"]


def test_every_answer_may_have_a_log_line_with_its_ids(processes: dict[str, Served]) -> None:
    served = processes["fraud"]
    awaited(lambda: is_ready(served), "ready", 60)
    trace = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    served.predict({"dataframe_records": [ROW]}, x_request_id="find-me", traceparent=trace)
    line = awaited(
        lambda: [line for line in served.log_lines() if line.get("request_id") == "find-me"], "the line is written"
    )[0]
    assert (line["code"], line["arm"], line["traceparent"]) == (200, "live", trace)


def test_no_request_is_lost_when_one_of_two_servers_is_told_to_go(
    processes: dict[str, Served], fraud_server: Served
) -> None:
    """The router's part is played as kube-proxy and Envoy play it: it asks `/ready`, and sends where that is 200."""
    one, other = processes["fraud"], fraud_server
    awaited(lambda: is_ready(one), "ready", 60)
    ready, is_over = [one, other], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            ready[:] = [served for served in (one, other) if is_ready(served)]
            is_over.wait(0.3)

    def load(_: int) -> list[tuple[int, int]]:
        callers = {served.port: Caller(served.port) for served in (one, other)}
        seen = []
        for turn in itertools.count():
            if is_over.is_set():
                return seen
            served = ready[turn % len(ready)]
            seen.append((served.port, callers[served.port].predict({"dataframe_records": [ROW]}).status))
        raise AssertionError

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, n) for n in range(4)]
        try:
            awaited(lambda: one.metric("modelramp_requests_total", code="200") >= 50, "load on both")
            assert one.process is not None
            one.process.send_signal(signal.SIGTERM)
            status = one.process.wait(20)
            answered = other.metric("modelramp_requests_total", code="200")
            awaited(lambda: other.metric("modelramp_requests_total", code="200") >= answered + 50, "it goes on")
        finally:
            is_over.set()
            watcher.join()
        seen = [answer for load in loads for answer in load.result()]
    assert status == 0
    assert {code for _, code in seen} == {200}
    assert {port for port, _ in seen} == {one.port, other.port}
    said = [line["message"] for line in one.log_lines() if line["logger"] == "modelramp.lifecycle"]
    assert said == ["model loaded", "draining", "stopped"]


def test_a_request_in_flight_is_answered_and_one_that_never_ends_is_left_behind(
    processes: dict[str, Served], tmp_path: Path
) -> None:
    served, gate = processes["busy"], tmp_path / "gate"
    awaited(lambda: is_ready(served), "ready", 60)

    def wait_for(name: Path) -> Answer:
        return served.predict({"dataframe_records": [{"mood": f"wait {name}", "x": 1.0}]})

    with ThreadPoolExecutor(2) as pool:
        asked, endless = pool.submit(wait_for, gate), pool.submit(wait_for, tmp_path / "never")
        awaited(lambda: served.metric("modelramp_requests_in_flight", arm="live") == 2, "in flight")
        assert served.process is not None
        served.process.send_signal(signal.SIGTERM)
        awaited(lambda: not is_listening(served.port), "no new connection is taken")
        assert not asked.done()
        gate.touch()
        assert asked.result().predictions == [1.0]
        assert served.process.wait(30) == 0
        assert endless.exception() is not None or endless.result().status >= 500
    assert served.log_lines()[-1]["left_behind"] == 1


def _run(tmp_path: Path, **variables: str) -> tuple[int, str, str]:
    log = tmp_path / "termination-log"
    log.touch()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(Path(__file__).parents[2] / "operator"),
        "TERMINATION_LOG": str(log),
        **variables,
    }
    command = [sys.executable, "-m", "modelramp_runtime"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr, log.read_text()


def test_a_bad_setting_ends_the_process_at_once_with_one_line(tmp_path: Path) -> None:
    began = time.monotonic()
    status, errors, last = _run(tmp_path, MODEL_NAME="fraud_detector", PORT="x")
    assert status == 1
    assert (
        errors
        == last
        == (
            "MODEL_VERSION is not set: must be the registry's version number; "
            "PORT='x': must be a whole number from 1 to 65535\n"
        )
    )
    assert time.monotonic() - began < 5, "before MLflow is imported"


def test_a_model_that_cannot_be_loaded_ends_the_process_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setenv("TERMINATION_LOG", str(log))
    assert serve(read_settings({**IDENTITY, "MODEL_DIR": str(tmp_path / "nothing")})) == 1
    assert f"the model in {tmp_path / 'nothing'} cannot be loaded" in log.read_text()
    assert capsys.readouterr().err == log.read_text()
