"""What the server counts, by model, version and arm, with bounded labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from modelramp_runtime.answer import encode, outputs_of
from modelramp_runtime.metrics import Arm, Metrics
from modelramp_runtime.settings import read_settings
from tests.runtime.conftest import Fraud
from tests.runtime.serving import IDENTITY, Served

ROW = {"amount": 50.0, "age": 40, "visits": 3, "country": "FR", "vip": False}


def _metrics(**variables: str) -> Metrics:
    return Metrics(read_settings({**IDENTITY, **variables}))


def _sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "fraud_detector", "version": "8", "arm": "live", **labels})


def test_mirrored_requests_are_counted_as_shadow(fraud_server: Served) -> None:
    def counts() -> list[float]:
        name = "modelramp_requests_total"
        return [
            fraud_server.metric(name, code="200", arm=arm, model="fraud_detector", version="8")
            for arm in (Arm.LIVE, Arm.SHADOW)
        ]

    live, shadow = counts()
    payload = {"dataframe_records": [ROW]}
    assert fraud_server.predict(payload).status == 200
    assert fraud_server.predict(payload, x_modelramp_arm="shadow").status == 200
    assert fraud_server.predict(payload, x_modelramp_arm="anything").status == 200
    assert counts() == [live + 2, shadow + 1]


def test_refusals_are_counted_by_kind_and_code(fraud_server: Served) -> None:
    def counts() -> list[float]:
        return [
            fraud_server.metric("modelramp_request_errors_total", kind="schema"),
            fraud_server.metric("modelramp_requests_total", code="400"),
        ]

    before = counts()
    assert fraud_server.predict({"dataframe_records": [{**ROW, "age": "x"}]}).status == 400
    assert counts() == [before[0] + 1, before[1] + 1]


def test_predicted_values_fall_into_the_histogram_of_their_output(fraud_server: Served, fraud: Fraud) -> None:
    score = fraud.expected(pd.DataFrame([ROW]))[0, 1]

    def counts() -> list[float]:
        name, labels = "modelramp_prediction_value_bucket", {"output": "1", "arm": "live"}
        edges = (np.floor(score * 20) / 20, np.ceil(score * 20) / 20, "+Inf")
        return [fraud_server.metric(name, le=str(edge), **labels) for edge in edges]

    before = counts()
    fraud_server.predict({"dataframe_records": [ROW] * 3})
    assert np.subtract(counts(), before).tolist() == [0, 3, 3]


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("application/openmetrics-text; version=1.0.0", parse_openmetrics), ("text/plain", parse_text)],
)
def test_both_formats_can_be_parsed_and_hold_every_documented_name(fraud_server: Served, accept, parse) -> None:
    answer = fraud_server.get("/metrics", accept=accept)
    assert answer.headers["content-type"].startswith(accept.split(";")[0])
    names = {family.name.removesuffix("_total") for family in parse(answer.body.decode())}
    assert names >= {
        "modelramp_requests",
        "modelramp_request_errors",
        "modelramp_request_duration_seconds",
        "modelramp_predict_duration_seconds",
        "modelramp_requests_in_flight",
        "modelramp_prediction_value",
        "modelramp_prediction_non_finite",
        "modelramp_model_load_seconds",
        "process_resident_memory_bytes",
    }


def test_error_series_begin_at_zero(fraud_server: Served) -> None:
    text = fraud_server.get("/metrics").body.decode()
    assert 'modelramp_request_errors_total{arm="shadow",kind="model",model="fraud_detector",version="8"} 0.0' in text
    assert 'modelramp_prediction_non_finite_total{arm="live",model="fraud_detector",output="0",version="8"}' in text


def test_the_values_of_a_batch_fall_into_the_buckets_that_prometheus_means() -> None:
    metrics = _metrics(MODELRAMP_PREDICTION_BUCKETS="0,0.5,1")
    values = np.array([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 9.0, np.nan, np.inf])
    assert metrics.observe(Arm.LIVE, {"score": values}) == 2
    name = "modelramp_prediction_value_bucket"
    at_most = [_sample(metrics, name, output="score", le=edge) for edge in ("0.0", "0.5", "1.0", "+Inf")]
    assert at_most == [2, 4, 6, 7]
    assert _sample(metrics, "modelramp_prediction_value_sum", output="score") == 10.5
    assert _sample(metrics, "modelramp_prediction_non_finite_total", output="score") == 2


def test_classes_past_the_limit_are_counted_as_other() -> None:
    metrics = _metrics(MODELRAMP_MAX_CLASSES="2")
    for name in ("a", "b", "c", "d", "a"):
        metrics.observe(Arm.LIVE, {"label": np.array([name], dtype=object)})
    counts = {
        name: _sample(metrics, "modelramp_prediction_class_total", output="label", **{"class": name}) for name in "abcd"
    }
    assert counts == {"a": 2, "b": 1, "c": None, "d": None}
    assert _sample(metrics, "modelramp_prediction_class_total", output="label", **{"class": "__other__"}) == 2


def test_outputs_past_the_limit_are_counted_as_other() -> None:
    metrics = _metrics(MODELRAMP_MAX_OUTPUTS="3")
    metrics.observe(Arm.LIVE, {str(n): np.array([0.5]) for n in range(100)})
    assert _sample(metrics, "modelramp_prediction_value_bucket", output="2", le="+Inf") == 1
    assert _sample(metrics, "modelramp_prediction_value_bucket", output="__other__", le="+Inf") == 97


@pytest.mark.parametrize(
    ("predictions", "names", "encoded"),
    [
        (np.array([1, 2]), ["prediction"], b"[1, 2]"),
        (np.array([[0.1, 0.9]]), ["0", "1"], b"[[0.1, 0.9]]"),
        (np.array([True]), ["prediction"], b"[true]"),
        (["yes", "no"], ["prediction"], b'["yes", "no"]'),
        ([{"score": 0.5, "label": "x"}], ["score", "label"], b'[{"score": 0.5, "label": "x"}]'),
        (pd.DataFrame({"score": [0.5], "n": [1]}), ["score", "n"], b'[{"score": 0.5, "n": 1}]'),
        (pd.Series([1.5], name="score"), ["score"], b'[{"score": 1.5}]'),
        ({"score": np.array([0.5])}, ["score"], b'{"score": [0.5]}'),
        (np.zeros((1, 1, 2)), [], b"[[[0.0, 0.0]]]"),
        ("one text", [], b'"one text"'),
        ([], [], b"[]"),
    ],
)
def test_every_shape_of_answer_is_named_and_encoded_as_mlflow_does(predictions, names, encoded) -> None:
    assert list(outputs_of(predictions)) == names
    assert encode(predictions, is_bare=False).body == b'{"predictions": ' + encoded + b"}"
