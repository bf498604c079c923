"""When the model or the load is at fault, the status says so, and the answer is never invalid JSON."""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.serving import Answer, Served, awaited, served_here


def _mood(served: Served, mood: str, **headers: str) -> Answer:
    return served.predict({"dataframe_records": [{"mood": mood, "x": 271828.5}]}, **headers)


def test_a_model_that_crashes_is_a_500_whose_trace_is_only_in_the_log(
    moody_server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    before = moody_server.metric("modelramp_request_errors_total", kind="model", arm="live")
    with caplog.at_level(logging.INFO):
        answer = _mood(moody_server, "crash", x_request_id="r-7", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    assert answer.status == 500
    assert answer.json["error_code"] == "INTERNAL_ERROR"
    assert not any(leak in answer.body for leak in (b"271828", b"Traceback", b"ValueError"))
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.fields["error_id"] == answer.json["error_id"]
    assert record.fields["request_id"] == "r-7"
    assert record.fields["traceparent"].startswith("00-aaaa")
    assert "cannot handle" in str(record.exc_info[1])
    assert moody_server.metric("modelramp_request_errors_total", kind="model", arm="live") == before + 1


def test_a_model_that_calls_exit_does_not_end_the_server(moody_server: Served) -> None:
    assert _mood(moody_server, "exit").status == 500
    assert _mood(moody_server, "calm").predictions == [271828.5]


def test_an_answer_that_json_cannot_hold_is_a_500(moody_server: Served) -> None:
    answer = _mood(moody_server, "odd")
    assert (answer.status, answer.json["kind"]) == (500, "unencodable")


@pytest.mark.parametrize(("mood", "count", "output"), [("nan", 2, "prediction"), ("nested", 1, "__other__")])
def test_nan_and_infinity_are_counted_and_a_500(moody_server: Served, mood: str, count: int, output: str) -> None:
    name, labels = "modelramp_prediction_non_finite_total", {"output": output, "arm": "live"}
    before = moody_server.metric(name, **labels)
    answer = _mood(moody_server, mood)
    assert (answer.status, answer.json["kind"]) == (500, "non_finite")
    assert moody_server.metric(name, **labels) == before + count


def test_nan_and_infinity_are_null_where_they_may_pass(moody: Path) -> None:
    with served_here(moody, MODELRAMP_NON_FINITE="pass") as served:
        assert _mood(served, "nan").predictions == [None, None, 271828.5]
        assert _mood(served, "nested").predictions == [{"deep": [None, 1.0]}]
        assert served.metric("modelramp_prediction_non_finite_total") == 3
        assert served.metric("modelramp_request_errors_total") == 0


def test_a_body_over_the_limit_is_a_413_with_and_without_a_length(moody_server: Served) -> None:
    big = b'{"x": "' + b"y" * 2000 + b'"}'
    assert moody_server.post(big, content_type="application/json").status == 413
    caller = moody_server.caller()
    chunks = iter([big[:1500], big[1500:]])
    answer = caller.ask("POST", "/invocations", chunks, content_type="application/json")  # type: ignore[arg-type]
    assert (answer.status, answer.json["kind"]) == (413, "too_large")
    caller.close()


def test_a_body_that_does_not_come_is_a_408(moody: Path) -> None:
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    with (
        served_here(moody, MODELRAMP_TIMEOUT_SECONDS="0.2") as served,
        socket.create_connection(("127.0.0.1", served.port)) as connection,
    ):
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_load_past_the_queue_is_a_429_at_once_and_the_rest_is_answered(moody_server: Served, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(_mood, moody_server, f"wait {gate}") for _ in range(8)]
        # Two predict, two wait in the queue: the other four are turned away while the gate is shut.
        awaited(lambda: sum(answer.done() for answer in asked) == 4, "four requests are turned away")
        assert moody_server.metric("modelramp_requests_in_flight", arm="live") == 4
        assert moody_server.get("/ready").status == 200
        gate.touch()
        answers = [answer.result() for answer in asked]
    assert sorted(answer.status for answer in answers) == [200] * 4 + [429] * 4
    turned_away = [answer for answer in answers if answer.status == 429]
    assert {answer.headers["retry-after"] for answer in turned_away} == {"1"}
    assert moody_server.metric("modelramp_requests_in_flight") == 0


def test_a_prediction_past_the_deadline_is_a_504_and_held_threads_make_unready(moody: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with served_here(moody, MODELRAMP_THREADS="1", MODELRAMP_TIMEOUT_SECONDS="0.3") as served:
        answer = _mood(served, f"wait {gate}")
        assert (answer.status, answer.json["kind"]) == (504, "timeout")
        assert "held by a request past its deadline" in served.get("/ready").json["reason"]
        assert served.get("/health").status == 200
        assert _mood(served, "calm").status == 504, "it waits behind the one that holds the thread"
        gate.touch()
        awaited(lambda: served.get("/ready").status == 200, "ready again")
        assert _mood(served, "calm").predictions == [271828.5]
