"""Other model servers: what their profiles make of a pod, and what is said of one that cannot be used."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelramp.adapters.podspec import served
from modelramp.adapters.versions import render_version
from modelramp.api import Problem, read_spec
from modelramp.ports import Ref, Rollout
from modelramp.rollout.runtime import BUILT_IN, Protocol, Runtime
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Status
from modelramp.runtimes import read_runtime, read_runtimes
from tests.adapters.real import POD_SETTINGS, new_namespace, pin
from tests.api.objects import LEAST, changed, parsed
from tests.controlplane import ApiServer

IMAGE = "registry.example.com/server:1"
BENTO = """
image: registry.example.com/bento:1.4
command: [bentoml]
args: [serve, $(MODEL_DIR), --port, $(PORT)]
env: [{name: BENTOML_HOME, value: /tmp}]
port: 3000
user: 1034
probes: {live: /livez, ready: /readyz}
protocol: Other
metrics:
  requests: [{metric: bentoml_service_request_total}]
  errors: [{metric: bentoml_service_request_total, labels: {http_response_code: 4..|5..}}]
  latency: {metric: bentoml_service_request_duration_seconds}
"""
ERRORS = {"name": "errors", "template": "error-rate", "source": "Server", "max": 0.01}
LATENCY = {"name": "latency", "template": "latency-p99", "source": "Server", "maxDuration": "80ms"}


def spec_with(runtimes: Any = None, guardrails: Any = (), **serving: Any) -> Spec | Problem:
    """Read the least spec with this serving."""
    changes = {"spec.serving": serving} | ({"spec.guardrails": list(guardrails)} if guardrails else {})
    return read_spec(changed(parsed(LEAST), **changes), {} if runtimes is None else runtimes)


def good(spec: Spec | Problem) -> Spec:
    assert isinstance(spec, Spec), spec
    return spec


def rendered(spec: Spec, namespace: str = "default") -> dict[str, Any]:
    """Return the Deployment of version 8."""
    rollout = Rollout(Ref(namespace, "fraud"), "uid", 1, "1", spec, Status(stable=pin("8")))
    return render_version(served(rollout, pin("8")), POD_SETTINGS)["Deployment"]


def server(spec: Spec) -> dict[str, Any]:
    container: dict[str, Any] = rendered(spec)["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.fixture
def bento() -> Runtime:
    found = read_runtime("bento", BENTO.encode())
    assert isinstance(found, Runtime), found
    return found


class TestWhatAPodBecomes:
    def test_mlflow_is_the_operators_own(self) -> None:
        container = server(good(spec_with()))
        assert container["image"] == POD_SETTINGS.runtime_image
        assert container["command"] == ["python", "-m", "modelramp_runtime"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"

    def test_another_image_of_it_knows_its_own_command(self) -> None:
        container = server(good(spec_with(image=IMAGE)))
        assert container["image"] == IMAGE
        assert "command" not in container

    def test_triton_loads_one_model_as_a_user_that_is_not_root(self) -> None:
        spec = good(spec_with(runtime="triton", image=IMAGE, resources={"limits": {"nvidia.com/gpu": 1}}))
        template, container = rendered(spec)["spec"]["template"], server(spec)
        assert "--load-model=$(MODEL_NAME)" in container["args"]
        assert container["securityContext"]["runAsUser"] == 1000
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
        assert "resources" not in template["spec"]["initContainers"][0]
        assert template["metadata"]["annotations"]["prometheus.io/port"] == "8002"
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080, "metrics": 8002}

    def test_a_server_without_metrics_is_not_scraped(self) -> None:
        spec = good(spec_with(runtime="mlflow-serve", image=IMAGE))
        assert (
            "annotations" not in rendered(spec)["spec"]["template"]["metadata"]
            or not (rendered(spec)["spec"]["template"]["metadata"]["annotations"])
        )

    def test_every_server_is_fetched_for_in_the_same_way(self) -> None:
        usual = rendered(good(spec_with()))["spec"]["template"]["spec"]["initContainers"]
        for name in BUILT_IN:
            spec = good(spec_with(runtime=name, image=IMAGE))
            assert rendered(spec)["spec"]["template"]["spec"]["initContainers"] == usual

    def test_ones_own_description(self, bento: Runtime) -> None:
        container = server(good(spec_with({"bento": bento}, runtime="bento")))
        assert container["image"] == "registry.example.com/bento:1.4"
        assert container["args"] == ["serve", "$(MODEL_DIR)", "--port", "$(PORT)"]
        assert container["ports"][0]["containerPort"] == 3000
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        said = {each["name"]: each.get("value") for each in container["env"]}
        assert (said["PORT"], said["BENTOML_HOME"]) == ("3000", "/tmp")
        assert bento.protocol is Protocol.OTHER

    def test_the_same_in_the_object_itself(self, bento: Runtime) -> None:
        spec = good(spec_with(runtime="custom", custom=yaml.safe_load(BENTO)))
        assert spec.serving.runtime == replace(bento, name="custom")

    def test_the_users_variables_win(self, bento: Runtime) -> None:
        spec = good(spec_with({"bento": bento}, runtime="bento", env=[{"name": "BENTOML_HOME", "value": "/x"}]))
        assert [each["value"] for each in server(spec)["env"] if each["name"] == "BENTOML_HOME"] == ["/x"]

    def test_a_changed_description_rolls_no_pods_that_serve(self, bento: Runtime) -> None:
        newer = replace(bento, image="registry.example.com/bento:1.5")
        old, new = (rendered(good(spec_with({"bento": each}, runtime="bento"))) for each in (bento, newer))
        assert (
            old["metadata"]["annotations"]["modelramp.dev/asked"]
            == new["metadata"]["annotations"]["modelramp.dev/asked"]
        )
        assert old["spec"]["template"] != new["spec"]["template"]

    def test_a_changed_description_in_the_object_is_a_wish(self) -> None:
        one, two = (yaml.safe_load(BENTO) | {"port": port} for port in (3000, 3001))
        old, new = (rendered(good(spec_with(runtime="custom", custom=each))) for each in (one, two))
        assert (
            old["metadata"]["annotations"]["modelramp.dev/asked"]
            != new["metadata"]["annotations"]["modelramp.dev/asked"]
        )


@pytest.mark.apiserver
@pytest.mark.parametrize("name", [*BUILT_IN, "custom"])
def test_a_real_api_server_takes_the_pods(api_server: ApiServer, name: str) -> None:
    custom = {"custom": yaml.safe_load(BENTO)} if name == "custom" else {}
    limits = {"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}}
    spec = good(spec_with(runtime=name, image=IMAGE, resources=limits, **custom))
    namespace = new_namespace(api_server)
    deployment = rendered(spec, namespace)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/fraud-v8?dryRun=All&fieldManager=modelramp&force=true"
    taken = api_server.request("PATCH", path, deployment, kind="application/apply-patch+yaml")
    template = taken["spec"]["template"]
    head = {"name": f"p-{secrets.token_hex(3)}", "labels": template["metadata"]["labels"]}
    pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"  # where `restricted` is enforced
    assert api_server.request("POST", pods, {"metadata": head, "spec": template["spec"]})["spec"]["containers"]


class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("serving", "field", "words"),
        [
            ({"runtime": "bento"}, "spec.serving.runtime", "bento is no runtime; there are broken, custom, mlflow,"),
            ({"runtime": "broken"}, "spec.serving.runtime", "broken cannot be used: broken.port: 0: should be"),
            ({"runtime": "triton"}, "spec.serving.image", "runtime triton has no image of its own: give one"),
            ({"runtime": "custom"}, "spec.serving.custom", "give both or neither"),
            ({"custom": {"image": IMAGE}}, "spec.serving.custom", "give both or neither"),
            ({"runtime": "custom", "custom": {}}, "spec.serving.image", "no image of its own"),
            ({"runtime": "custom", "custom": {"args": ["x"]}}, "spec.serving.custom.args", "nothing to give them to"),
            ({"runtime": "custom", "custom": {"port": 0}}, "spec.serving.custom.port", "greater than or equal to 1"),
            (
                {"runtime": "custom", "custom": {"image": IMAGE, "probes": {"live": "health"}}},
                "spec.serving.custom.probes.live",
                "with a slash in front",
            ),
            (
                {"runtime": "custom", "custom": {"image": IMAGE, "metrics": {"requests": [{"metric": "a-b"}]}}},
                "spec.serving.custom.metrics.requests[0].metric",
                "is no name of a Prometheus metric",
            ),
            ({"runtime": "Triton"}, "spec.serving.runtime", "is no DNS-1123 label"),
            (
                {"runtime": "custom", "custom": {"metrics": {"errors": [{"metric": "a", "labels": {'"': "b"}}]}}},
                "spec.serving.custom.metrics.errors[0].labels",
                "letters, digits and '_' only",
            ),
        ],
    )
    def test_by_the_field_that_is_wrong(self, serving: dict[str, Any], field: str, words: str) -> None:
        found = spec_with({"broken": read_runtime("broken", b"{image: x, port: 0}")}, **serving)
        assert isinstance(found, Problem)
        assert found.field == field
        assert words in str(found)

    def test_when_the_server_does_not_count_it(self) -> None:
        found = spec_with(runtime="mlflow-serve", image=IMAGE, guardrails=[ERRORS])
        assert isinstance(found, Problem)
        assert found.field == "spec.guardrails[0].template"
        assert "runtime mlflow-serve does not count what it asks for" in found.message

    def test_when_no_answers_are_kept_that_could_be_compared(self) -> None:
        rail = {"name": "same", "template": "disagreement-rate", "max": 0.02}
        found = spec_with(guardrails=[rail])
        assert isinstance(found, Problem)
        assert (found.field, found.value) == ("spec.guardrails[0].template", "disagreement-rate")
        assert "give spec.serving.capture" in found.message
        [taken] = good(spec_with(guardrails=[rail], capture={"percent": 5})).plan.guardrails
        assert taken.of_copies
        assert "against={{stable}}" in taken.query

    def test_when_neither_the_gateway_nor_the_server_counts_it(self) -> None:
        rail = {"name": "errors", "template": "error-rate", "max": 0.01}
        body = changed(parsed(LEAST), **{"spec.traffic": {"httpRoute": {"name": "fraud"}}, "spec.guardrails": [rail]})
        refused = read_spec(changed(body, **{"spec.serving": {"runtime": "mlflow-serve", "image": IMAGE}}), {})
        assert isinstance(refused, Problem)
        assert refused.field == "spec.guardrails[0].template"
        taken = good(read_spec(changed(body, **{"spec.serving": {"runtime": "mlserver"}}), {}))
        assert "rest_server_requests_total" in taken.plan.guardrails[0].query

    def test_when_requests_could_not_be_replayed(self) -> None:
        body = changed(parsed(LEAST), **{"spec.gates": {"staging": {"requests": 10, "errorRate": 0}}})
        found = read_spec(changed(body, **{"spec.serving": {"runtime": "triton", "image": IMAGE}}), {})
        assert isinstance(found, Problem)
        assert (found.field, "/invocations" in found.message) == ("spec.gates.staging", True)

    def test_when_business_rules_would_be_ignored(self) -> None:
        body = changed(parsed(LEAST), **{"spec.policy": {"configMap": "rules"}})
        body = changed(body, **{"spec.serving": {"runtime": "triton", "image": IMAGE}})
        found = read_spec(body, {})
        assert isinstance(found, Problem)
        assert found.field == "spec.policy"
        assert "runtime triton applies no business rules" in found.message

    def test_nothing_where_only_the_operator_can_know(self) -> None:
        read = read_spec(changed(parsed(LEAST), **{"spec.serving": {"runtime": "bento"}}))
        assert isinstance(read, Spec)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (b"[", "is no YAML"),
            (b"[]", "must be a map"),
            (b"\xff", "is no YAML"),
            (b"{image: x, prot: 8080}", "is no field; did you mean port?"),
            (b"{image: x, metrics: {latency: {metric: a, unit: Hours}}}", "'Seconds', 'Milliseconds' or"),
            (b"{image: x, env: [{name: PORT, value: '1'}]}", "is set by the operator"),
        ],
    )
    def test_of_a_file_that_cannot_be_used(self, text: bytes, says: str) -> None:
        found = read_runtime("bento", text)
        assert isinstance(found, Problem)
        assert found.field.startswith("bento")
        assert says in str(found)

    def test_of_a_name_that_is_taken(self) -> None:
        assert isinstance(read_runtime("mlflow", BENTO.encode()), Problem)


def test_a_broken_file_costs_no_other(tmp_path: Path, bento: Runtime) -> None:
    (tmp_path / "bento.yaml").write_text(BENTO)
    (tmp_path / "broken.yaml").write_text("port: many")
    (tmp_path / "README").write_text("not ours")
    found = read_runtimes(tmp_path)
    assert found["bento"] == bento
    assert isinstance(found["broken"], Problem)
    assert found.keys() == {"bento", "broken"}
    assert read_runtimes(None) == {}
