"""A client written for `mlflow models serve` is answered as there."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.version import VERSION

from tests.runtime.conftest import Fraud
from tests.runtime.serving import Caller, Served, served_here


def _payloads(frame: pd.DataFrame) -> dict[str, object]:
    rows = json.loads(frame.to_json(orient="records"))
    columns = {name: [row[name] for row in rows] for name in frame.columns}
    return {
        "dataframe_split": {"columns": list(frame.columns), "data": [list(row.values()) for row in rows]},
        "dataframe_records": rows,
        "instances": rows,
        "inputs": columns,
    }


@pytest.mark.parametrize("name", ["dataframe_split", "dataframe_records", "instances", "inputs"])
def test_every_json_format_gets_the_models_own_prediction(fraud_server: Served, fraud: Fraud, name: str) -> None:
    answer = fraud_server.predict({name: _payloads(fraud.example)[name]})
    assert np.allclose(answer.predictions, fraud.expected(fraud.example))


def test_csv_gets_the_models_own_prediction_with_or_without_an_index(fraud_server: Served, fraud: Fraud) -> None:
    for text in (fraud.example.to_csv(index=False), fraud.example.to_csv()):
        answer = fraud_server.post(text.encode(), content_type="text/csv; charset=utf-8")
        assert np.allclose(answer.predictions, fraud.expected(fraud.example))


def test_parquet_gets_the_models_own_prediction(fraud_server: Served, fraud: Fraud) -> None:
    answer = fraud_server.post(fraud.example.to_parquet(), content_type="application/vnd.apache.parquet")
    assert np.allclose(answer.predictions, fraud.expected(fraud.example))


def test_mlflows_own_client_notices_no_difference(fraud_server: Served, fraud: Fraud) -> None:
    client = ScoringServerClient("127.0.0.1", fraud_server.port)
    client.wait_server_ready(timeout=5)
    answer = client.invoke(fraud.example)
    assert np.allclose(answer.get_predictions().to_numpy(), fraud.expected(fraud.example))


def test_columns_may_come_in_any_order_and_with_others_among_them(fraud_server: Served, fraud: Fraud) -> None:
    frame = fraud.example.assign(note="not asked for")[["note", *reversed(fraud.example.columns)]]
    answer = fraud_server.predict({"dataframe_split": _payloads(frame)["dataframe_split"]})
    assert np.allclose(answer.predictions, fraud.expected(fraud.example))


def test_a_whole_number_written_with_a_point_is_a_long_and_a_double_may_have_none(
    fraud_server: Served, fraud: Fraud
) -> None:
    row = {"amount": 40, "age": 40.0, "visits": 3.0, "country": "AT", "vip": False}
    frame = pd.DataFrame([{**row, "amount": 40.0, "age": 40, "visits": 3}])
    assert np.allclose(fraud_server.predict({"dataframe_records": [row]}).predictions, fraud.expected(frame))


def test_a_batch_is_answered_row_by_row(fraud_server: Served, fraud: Fraud) -> None:
    frame = pd.concat([fraud.example] * 100, ignore_index=True)
    answer = fraud_server.predict({"dataframe_split": _payloads(frame)["dataframe_split"]})
    assert np.allclose(answer.predictions, fraud.expected(frame))


def test_params_reach_the_model_and_have_their_defaults(moody_server: Served) -> None:
    rows = {"dataframe_records": [{"mood": "calm", "x": 2.0}]}
    assert moody_server.predict(rows).predictions == [2.0]
    assert moody_server.predict({**rows, "params": {"scale": 3, "unknown": 1}}).predictions == [6.0]


def test_a_param_of_the_wrong_type_is_named(moody_server: Served) -> None:
    answer = moody_server.predict({"inputs": {"mood": ["calm"], "x": [1.0]}, "params": {"scale": "wide"}})
    assert answer.status == 400
    assert answer.json["violations"] == [
        {"column": "params.scale", "row": None, "problem": "holds text; a finite number (double) is wanted"}
    ]


def test_health_ping_and_version_answer_as_mlflows(fraud_server: Served) -> None:
    assert [(fraud_server.get(path).status, fraud_server.get(path).body) for path in ("/ping", "/health")] == [
        (200, b"\n"),
        (200, b"\n"),
    ]
    assert fraud_server.get("/version").body.decode() == VERSION


def test_every_answer_says_which_version_gave_it_and_to_which_request(fraud_server: Served) -> None:
    for payload, status in (({"dataframe_records": []}, 400), ({"nothing": 1}, 400)):
        answer = fraud_server.predict(payload, x_request_id="abc-123")
        assert answer.status == status
        assert answer.headers["x-model-name"] == "fraud_detector"
        assert answer.headers["x-model-version"] == "8"
        assert answer.headers["x-request-id"] == answer.json["request_id"] == "abc-123"


def test_a_request_without_a_usable_id_gets_one(fraud_server: Served) -> None:
    answers = [fraud_server.predict({}), fraud_server.predict({}, x_request_id="x" * 500)]
    assert all(len(answer.headers["x-request-id"]) == 32 for answer in answers)


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("text/plain", "is not supported"),
        ("", "is missing"),
        ("application/json; charset=latin-1", "charset must be utf-8"),
        ("application/json; boundary=x", "may only have a charset"),
    ],
)
def test_an_unknown_content_type_is_a_415(fraud_server: Served, content_type: str, message: str) -> None:
    answer = fraud_server.post(b"{}", content_type=content_type)
    assert answer.status == 415
    assert message in answer.json["message"]


def test_a_compressed_body_is_a_415(fraud_server: Served) -> None:
    answer = fraud_server.post(b"{}", content_type="application/json", content_encoding="gzip")
    assert answer.status == 415


def test_what_is_not_served_is_said_in_json(fraud_server: Served) -> None:
    assert fraud_server.get("/invocations").status == 405
    assert fraud_server.get("/v9").json["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_connection_serves_many_requests(fraud_server: Served, fraud: Fraud) -> None:
    caller = Caller(fraud_server.port)
    payload = {"dataframe_records": _payloads(fraud.example)["dataframe_records"]}
    assert {caller.predict(payload).status for _ in range(20)} == {200}
    caller.close()


def test_a_model_saved_as_cloudpickle_is_served_too(price) -> None:
    with served_here(price) as served:
        answer = served.predict({"inputs": {"amount": [21.0], "age": [40]}})
        assert np.allclose(answer.predictions, [42.0])


def test_a_tensor_model_takes_instances_and_inputs(tensor) -> None:
    with served_here(tensor) as served:
        for name in ("instances", "inputs"):
            assert np.allclose(served.predict({name: [[1, 2], [4, 4]]}).predictions, [3, 8])
        assert np.allclose(served.predict({"dataframe_split": {"data": [[1, 2]]}}).predictions, [3])
        for wrong, said in (
            ([[1.5, 2]], "fraction"),
            ([[1, 2, 3]], "shape"),
            ([[1, "2"]], "text"),
            ([[1, None]], "null"),
            ([[1], [1, 2]], "different lengths"),
            ([[1e300, 2]], "out of range"),
        ):
            answer = served.predict({"instances": wrong})
            assert (answer.status, said in answer.json["message"]) == (400, True), answer.body
        assert served.predict({"dataframe_split": {"data": [[1.5, 2]]}}).status == 400


def test_nested_columns_are_judged_to_their_leaves(nested) -> None:
    with served_here(nested) as served:
        good = {"basket": [{"sku": "a", "count": 2}, {"sku": "b"}], "scores": [1, 2.5]}
        assert served.predict({"dataframe_records": [good]}).predictions == [1]
        for wrong, column in (
            ({**good, "basket": [{"sku": 7}]}, "basket[].sku"),
            ({**good, "basket": [{"sku": "a", "count": 2.5}]}, "basket[].count"),
            ({**good, "basket": [{"count": 1}]}, "basket[].sku"),
            ({**good, "scores": 1.0}, "scores"),
            ({"basket": []}, "scores"),
        ):
            answer = served.predict({"dataframe_records": [wrong]})
            assert answer.status == 400
            assert column in [violation["column"] for violation in answer.json["violations"]]
