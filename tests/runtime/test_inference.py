"""The Open Inference Protocol: the paths and the JSON that its clients send, by MLflow's predictions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelramp_runtime.settings import ExtraColumns
from tests.runtime.serving import Answer, Served, served_here

pytestmark = pytest.mark.server
DATATYPES = {"amount": "FP64", "age": "INT64", "visits": "INT32", "country": "BYTES", "vip": "BOOL"}
INFER = "/v2/models/fraud_detector/infer"


def tensors(fraud) -> list[dict[str, Any]]:
    columns = json.loads(fraud.example.to_json(orient="split"))
    values = dict(zip(columns["columns"], zip(*columns["data"], strict=True), strict=True))
    rows = len(fraud.example)
    return [
        {"name": name, "shape": [rows, 1], "datatype": datatype, "data": list(values[name])}
        for name, datatype in DATATYPES.items()
    ]


def infer(served: Served, payload: Any, path: str = INFER, **headers: str) -> Answer:
    caller = served.caller()
    try:
        return caller.ask("POST", path, json.dumps(payload).encode(), **headers)
    finally:
        caller.close()


@pytest.mark.parametrize("path", [INFER, "/v2/models/fraud_detector/versions/8/infer"])
def test_tensors_side_by_side_get_the_models_own_prediction(fraud_server: Served, fraud, path: str) -> None:
    answer = infer(fraud_server, {"id": "a1", "inputs": tensors(fraud)}, path)
    assert answer.status == 200, answer.body
    said = answer.json
    assert (said["id"], said["model_name"], said["model_version"]) == ("a1", "fraud_detector", "8")
    got = np.column_stack([output["data"] for output in said["outputs"]])
    assert np.allclose(got, fraud.expected(fraud.example))
    assert [(output["datatype"], output["shape"]) for output in said["outputs"]] == [("FP64", [len(got), 1])] * 2
    assert answer.headers["x-model-version"] == "8"


def test_an_output_can_be_asked_for_alone(fraud_server: Served, fraud) -> None:
    answer = infer(fraud_server, {"inputs": tensors(fraud), "outputs": [{"name": "1"}]})
    assert [output["name"] for output in answer.json["outputs"]] == ["1"]


def test_a_tensor_of_the_signature_is_taken_whole_nested_or_flat(tensor) -> None:
    with served_here(tensor) as served:
        for data in ([1, 2, 4, 4], [[1, 2], [4, 4]]):
            sent = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": data}
            assert np.allclose(infer(served, {"inputs": [sent]}).json["outputs"][0]["data"], [3, 8])


def test_health_and_metadata_say_what_is_served(fraud_server: Served) -> None:
    assert fraud_server.get("/v2/health/live").status == 200
    assert fraud_server.get("/v2/health/ready").status == 200
    assert fraud_server.get("/v2/models/fraud_detector/ready").status == 200
    assert fraud_server.get("/v2").json["extensions"] == []
    said = fraud_server.get("/v2/models/fraud_detector/versions/8").json
    assert (said["name"], said["versions"], said["platform"]) == ("fraud_detector", ["8"], "mlflow_pyfunc")
    wanted = [{"name": name, "datatype": datatype, "shape": [-1, 1]} for name, datatype in DATATYPES.items()]
    assert said["inputs"] == wanted


@pytest.mark.parametrize("path", ["/v2/models/other/infer", "/v2/models/fraud_detector/versions/9/infer"])
def test_another_model_or_version_is_not_here(fraud_server: Served, fraud, path: str) -> None:
    answer = infer(fraud_server, {"inputs": tensors(fraud)}, path)
    assert (answer.status, answer.json["error"]) == (404, "Served here is version 8 of fraud_detector.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": [40.5]}, "column 'age', row 0: holds a fraction"),
        ({"data": [None]}, "holds null"),
        ({"data": ["secret"]}, "holds text"),
        ({"shape": [2, 1]}, "has 1 values, and its shape wants 2"),
        ({"shape": [1, 1, 1]}, "a column is [rows] or [rows, 1]"),
        ({"datatype": "LONG"}, "its datatype must be one of"),
        ({"data": None}, "has no data"),
        ({"name": "ages"}, "column 'age': is missing"),
        ({"name": 7}, "must be a tensor"),
        ({"name": "amount"}, "names a tensor twice"),
    ],
)
def test_what_does_not_fit_is_a_400_in_the_protocols_words(fraud_server: Served, fraud, change, said: str) -> None:
    sent = [{**item, "shape": [1, 1], "data": item["data"][:1]} for item in tensors(fraud)]
    sent[1] |= change
    answer = infer(fraud_server, {"inputs": sent})
    assert (answer.status, said in answer.json["error"]) == (400, True), answer.body
    assert "secret" not in answer.body.decode()


@pytest.mark.parametrize(
    "payload", [{}, {"inputs": []}, {"inputs": [7]}, {"inputs": {}}, [], {"id": 1, "inputs": [{}]}]
)
def test_what_is_no_request_is_a_400(fraud_server: Served, payload: Any) -> None:
    assert infer(fraud_server, payload).status == 400


def test_binary_tensors_are_refused_by_name(fraud_server: Served, fraud) -> None:
    answer = infer(fraud_server, {"inputs": tensors(fraud)}, inference_header_content_length="7")
    assert (answer.status, answer.json["error"][:14]) == (415, "Binary tensors")


def test_decisions_of_the_policy_are_outputs_of_their_own(fraud, tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text("rules:\n  decision: \"outputs['1'] > 2.0 ? 'review' : 'accept'\"\n")
    with served_here(fraud.directory, POLICY_DIR=str(tmp_path)) as served:
        said = infer(served, {"inputs": tensors(fraud)}).json["outputs"][-1]
        rows = len(fraud.example)
        data = ["accept"] * rows
        assert said == {"name": "policy.decision", "shape": [rows, 1], "datatype": "BYTES", "data": data}


def test_a_surplus_tensor_is_ignored_or_refused_as_configured(fraud, fraud_server: Served) -> None:
    surplus = {"name": "note", "shape": [len(fraud.example)], "datatype": "BYTES", "data": ["a"] * len(fraud.example)}
    payload = {"inputs": [*tensors(fraud), surplus]}
    assert infer(fraud_server, payload).status == 200
    with served_here(fraud.directory, MODELRAMP_EXTRA_COLUMNS=ExtraColumns.REJECT) as strict:
        assert "column 'note': is not in the signature" in infer(strict, payload).json["error"]
