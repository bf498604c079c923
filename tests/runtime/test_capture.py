"""Two versions that got the same requests: what each answered is compared, beside the answers and never before them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.sklearn
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from modelramp_runtime.capture import KEPT, PUT_ASIDE, TRIES, Captures, is_chosen, key_of
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparer import DEADLINE, ask, read_told
from modelramp_runtime.comparison import Answer, compare
from modelramp_runtime.metrics import Arm, Metrics
from modelramp_runtime.scoring import Predicted, Scored
from modelramp_runtime.settings import read_settings
from tests.runtime.conftest import _fraud_data
from tests.runtime.mounted import Mounted
from tests.runtime.serving import IDENTITY, Served, awaited, is_ready, served_here
from tests.runtime.test_workers import served_by_workers

COMPARED, DISAGREE = "modelramp_comparison_predictions_total", "modelramp_comparison_disagreements_total"
UNPAIRED, DIFFERENCE = "modelramp_comparison_unpaired_total", "modelramp_comparison_difference_sum"
DEAR = "rules:\n  verdict: \"score > 150.0 ? 'dear' : 'cheap'\"\n"


def answer(*values: Any, verdicts: list[str] | None = None, policy: str = "") -> Answer:
    return Answer({"score": values}, {"verdict": verdicts} if verdicts else None, policy)


@pytest.mark.parametrize(
    ("ours", "theirs", "rows", "apart"),
    [
        (answer(0.5, 0.7), answer(0.5, 0.7), 2, 0),
        (answer(0.5, 0.7), answer(0.505, 0.72), 2, 1),
        (answer(float("nan")), answer(float("nan")), 1, 0),
        (answer(float("nan")), answer(0.5), 1, 1),
        (answer(float("inf")), answer(float("inf")), 1, 0),
        (answer("a", "b"), answer("a", "c"), 2, 1),
        (answer(True), answer(1), 1, 1),
        (answer(None), answer(None), 1, 0),
        (answer(10**400), answer(0.5), 1, 1),
        (answer(0.5), answer(0.5, 0.5), 2, 1),
        (answer(0.5), Answer({"other": [0.5]}), 1, 1),
        (Answer({}), Answer({}), 0, 0),
        (answer(0.1, verdicts=["a"]), answer(0.9, verdicts=["a"]), 1, 0),
        (answer(0.5, verdicts=["a"]), answer(0.5, verdicts=["b"]), 1, 1),
    ],
)
def test_predictions_are_compared_row_by_row(ours: Answer, theirs: Answer, rows: int, apart: int) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        found = compare(one, other, tolerance=0.01)
        assert found is not None
        assert (found.predictions, found.disagreements) == (rows, apart)


def test_answers_that_different_rules_decided_are_not_compared() -> None:
    assert compare(answer(1, verdicts=["a"], policy="p"), answer(1, verdicts=["b"], policy="q"), 0) is None


def test_every_version_chooses_the_same_share_of_requests() -> None:
    ids = [f"request-{number}" for number in range(20_000)]
    chosen = {each for each in ids if is_chosen(each, 10)}
    assert 1_800 < len(chosen) < 2_200
    assert chosen <= {each for each in ids if is_chosen(each, 20)}, "a larger share holds the smaller one"
    assert all(is_chosen(each, 100) for each in ids)


def test_what_is_too_much_is_dropped_and_counted_and_waits_for_nothing() -> None:
    settings = read_settings({**IDENTITY, "MODELRAMP_CAPTURE_PERCENT": "100"})
    metrics = Metrics(settings)
    captures = Captures(settings, CaptureMetrics(metrics, ("fraud_detector", "8")))
    scored = Scored(b"{}", "", Predicted(np.ones(10_000), {"prediction": np.ones(10_000)}))
    started = time.perf_counter()
    for number in range(PUT_ASIDE + 5):
        captures.offer(f"r{number}", Arm.LIVE, b"{}", scored)
    assert time.perf_counter() - started < 0.1
    labels = {"model": "fraud_detector", "version": "8", "arm": "live", "result": "dropped"}
    assert metrics.registry.get_sample_value("modelramp_capture_answers_total", labels) == 5


async def test_under_more_copies_than_can_be_compared_the_newest_are_and_every_other_is_counted() -> None:
    settings = read_settings({**IDENTITY, "MODELRAMP_CAPTURE_PERCENT": "100"})
    metrics = Metrics(settings)
    captures = Captures(settings, CaptureMetrics(metrics, ("fraud_detector", "8")))
    scored = Scored(b"{}", "", Predicted(np.ones(1), {"prediction": np.ones(1)}))
    keeping = asyncio.create_task(captures.follow())
    for number in range(KEPT + 10):
        captures.offer(f"r{number}", Arm.SHADOW, b"{}", scored)
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    asked = [each.request_id for each in captures.waiting(2).values()]
    assert asked == [f"r{KEPT + 9}", f"r{KEPT + 8}"]
    captures.tried(captures.waiting(2))
    assert [each.request_id for each in captures.waiting(1).values()] == [f"r{KEPT + 7}"], "a fresh one before them"
    labels = {"model": "fraud_detector", "version": "8"}
    assert metrics.registry.get_sample_value("modelramp_comparison_unpaired_total", labels) == 10
    for _ in range(TRIES):
        captures.tried(captures.waiting(KEPT))
    assert captures.waiting(1) == {}, "none is asked for without end"
    assert metrics.registry.get_sample_value("modelramp_comparison_unpaired_total", labels) == KEPT + 10
    keeping.cancel()


def test_what_a_pod_says_that_makes_no_sense_is_nothing() -> None:
    good = {"version": "7", "answers": {"k": {"outputs": {"a": [1]}, "decisions": None, "policy": ""}}}
    assert read_told(json.dumps(good).encode()) is not None
    for bad in (b"<html>", b"[]", b'{"version": "7"}', b'{"version": "7", "answers": {"k": {"outputs": {"a": 1}}}}'):
        assert read_told(bad) is None


@pytest.fixture(scope="module")
def prices(saved: Path) -> SimpleNamespace:
    """Two regressions of one signature: what the second says is 100 more."""
    data = _fraud_data()[["amount", "age"]]
    made = {}
    for name, more in (("cheaper", 0.0), ("dearer", 100.0)):
        model = LinearRegression().fit(data, data["amount"] * 2 + more)
        made[name] = saved / name
        signature = infer_signature(data, model.predict(data))
        mlflow.sklearn.save_model(
            model, made[name], signature=signature, pip_requirements=[], serialization_format="cloudpickle"
        )
    return SimpleNamespace(**made)


def priced(*amounts: float) -> dict[str, Any]:
    return {"dataframe_split": {"columns": ["amount", "age"], "data": [[each, 40] for each in amounts]}}


@contextmanager
def shadowed(live: Path, shadow: Path, **variables: str) -> Iterator[tuple[Served, Served]]:
    """Serve version 7 live and version 8 beside it, which asks the other."""
    common = {"MODELRAMP_CAPTURE_PERCENT": "100", **variables}
    with served_here(live, **common, MODEL_VERSION="7") as seven:
        peers = {"MODELRAMP_CAPTURE_PEERS": f"127.0.0.1:{seven.port}"}
        with served_here(shadow, **common, **peers, MODEL_VERSION="8") as eight:
            yield seven, eight


def send(seven: Served, eight: Served, payload: Any, request_id: str) -> None:
    """Send a request and its copy, as the router does."""
    assert seven.predict(payload, x_request_id=request_id).status == 200
    assert eight.predict(payload, x_request_id=request_id, x_modelramp_arm="shadow").status == 200


@pytest.mark.server
def test_the_shadow_counts_where_it_disagrees_and_by_how_much(
    prices: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "modelramp.comparison")
    with shadowed(prices.cheaper, prices.dearer) as (seven, eight):
        for number in range(4):
            send(seven, eight, priced(10.0, 20.0), f"request-{number}")
        awaited(lambda: eight.metric(COMPARED, against="7") == 8, "four requests of two rows are compared")
        assert eight.metric(DISAGREE, against="7") == 8
        assert eight.metric(DIFFERENCE, against="7", output="prediction") == pytest.approx(800)
        assert seven.metric(COMPARED) == 0, "only what is a copy asks"
    [first, *_] = [record.fields for record in caplog.records if record.message == "the versions disagree"]
    assert (first["request_id"][:8], first["against"]) == ("request-", "7")
    assert first["ours"]["prediction"] - first["theirs"]["prediction"] == pytest.approx(100)


@pytest.mark.server
def test_numbers_agree_within_the_tolerance(prices: SimpleNamespace) -> None:
    with shadowed(prices.cheaper, prices.dearer, MODELRAMP_CAPTURE_TOLERANCE="100.5") as (seven, eight):
        send(seven, eight, priced(10.0), "request-1")
        awaited(lambda: eight.metric(COMPARED, against="7") == 1, "it is compared")
        assert eight.metric(DISAGREE) == 0


@pytest.mark.server
def test_where_rules_decide_their_decisions_are_what_is_compared(prices: SimpleNamespace, tmp_path: Path) -> None:
    rules = Mounted(tmp_path / "policy")
    rules.write(DEAR)
    with shadowed(prices.cheaper, prices.dearer, POLICY_DIR=str(rules.directory)) as (seven, eight):
        send(seven, eight, priced(1000.0, 50.0), "request-1")  # dear, dear; cheap, dear
        awaited(lambda: eight.metric(COMPARED, against="7") == 2, "both rows are compared")
        assert eight.metric(DISAGREE, against="7") == 1


@pytest.mark.server
def test_an_id_that_is_used_again_joins_no_two_requests(prices: SimpleNamespace) -> None:
    with shadowed(prices.cheaper, prices.cheaper) as (seven, eight):
        assert seven.predict(priced(10.0), x_request_id="always-this").status == 200
        assert eight.predict(priced(20.0), x_request_id="always-this", x_modelramp_arm="shadow").status == 200
        send(seven, eight, priced(30.0), "always-this")
        awaited(lambda: eight.metric(COMPARED, against="7") == 1, "the one that both have seen is compared")
        assert eight.metric(DISAGREE) == 0


@pytest.mark.server
def test_where_nobody_marks_copies_every_answer_may_have_another(prices: SimpleNamespace) -> None:
    with shadowed(prices.cheaper, prices.dearer, MODELRAMP_CAPTURE_ASKS="all") as (seven, eight):
        for served in (seven, eight):
            assert served.predict(priced(10.0), x_request_id="request-1").status == 200
        awaited(lambda: eight.metric(COMPARED, against="7") == 1, "an unmarked copy is compared")


@pytest.mark.server
def test_a_pod_that_never_answers_delays_no_answer(prices: SimpleNamespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        peers = {"MODELRAMP_CAPTURE_PEERS": f"127.0.0.1:{deaf.getsockname()[1]}"}
        with served_here(prices.dearer, MODELRAMP_CAPTURE_PERCENT="100", **peers) as served:
            send(served, served, priced(10.0), "request-0")
            asked, _ = deaf.accept()
            times = []
            for number in range(20):
                started = time.monotonic()
                send(served, served, priced(10.0), f"request-{number}")
                times.append(time.monotonic() - started)
            asked.close()
    assert max(times) < DEADLINE / 2, "none waited for the deaf pod"


def answered(served: Served, version: str, key: str) -> Any:
    """Return what a pod answers to one of that version that asks for one key."""
    told = ask("127.0.0.1", served.port, version, [key])
    assert told is not None
    return told.answers


@pytest.mark.server
def test_only_who_knows_the_request_learns_its_answer(prices: SimpleNamespace) -> None:
    body = json.dumps(priced(10.0)).encode()
    with served_here(prices.cheaper, MODELRAMP_CAPTURE_PERCENT="100", MODEL_VERSION="7") as served:
        said = served.predict(priced(10.0), x_request_id="request-1").predictions
        key = key_of("request-1", body)
        told = awaited(lambda: answered(served, "8", key), "it is kept")
        assert told[key].outputs == {"prediction": said}
        for guess in (key_of("request-2", body), key_of("request-1", b"{}")):
            assert answered(served, "8", guess) == {}
        assert answered(served, "7", key) == {}, "its own version's pods need none"
        assert served.get("/captured").status == 405
        assert served.caller().ask("POST", "/%63aptured", b"{}").status == 404, "no proxy lets it pass unknown"


@pytest.mark.server
@pytest.mark.parametrize(("body", "status"), [(b"x" * 70_000, 413), (b"{", 400), (b"[]", 400), (b'{"keys": 1}', 400)])
def test_a_question_that_makes_no_sense_is_refused(prices: SimpleNamespace, body: bytes, status: int) -> None:
    with served_here(prices.cheaper, MODELRAMP_CAPTURE_PERCENT="1") as served:
        assert served.caller().ask("POST", "/captured", body).status == status


@pytest.mark.server
def test_without_a_percentage_nothing_is_kept(fraud_server: Served) -> None:
    assert fraud_server.caller().ask("POST", "/captured", b"{}").status == 404


@pytest.mark.server
@pytest.mark.slow
def test_any_worker_answers_for_what_another_has_kept(prices: SimpleNamespace, tmp_path: Path) -> None:
    body = json.dumps(priced(10.0)).encode()
    with served_by_workers(prices.cheaper, tmp_path, MODELRAMP_CAPTURE_PERCENT="100", MODEL_VERSION="7") as served:
        awaited(lambda: is_ready(served), "the workers are ready", 60)
        keys = [key_of(f"request-{number}", body) for number in range(12)]
        for number in range(12):
            assert served.predict(priced(10.0), x_request_id=f"request-{number}").status == 200

        def kept() -> bool:
            told = ask("127.0.0.1", served.port, "8", keys)
            return told is not None and len(told.answers) == len(keys)

        for _ in range(3):
            awaited(kept, "one worker tells of all")
