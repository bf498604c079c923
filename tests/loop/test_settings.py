"""The environment: what is taken, and what every mistake is told."""

from pathlib import Path

import pytest

from modelramp import __version__
from modelramp.settings import VARIABLES, Settings, SettingsError, read_settings

ENOUGH = {
    "MLFLOW_TRACKING_URI": "http://mlflow.mlflow.svc:5000",
    "MODELRAMP_PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090",
    "MODELRAMP_LEASE_NAMESPACE": "modelramp-system",
}


def complaint(**changes: str | None) -> str:
    environment = {name: value for name, value in (ENOUGH | changes).items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        read_settings(environment)
    return str(refused.value)


def test_two_addresses_and_a_namespace_are_enough() -> None:
    settings = read_settings(ENOUGH)
    assert settings.namespaces == ()
    assert settings.operator_image == f"modelramp/operator:{__version__}"
    assert settings.router_image == "envoyproxy/envoy:v1.40.0"
    assert (settings.workers, settings.turn_seconds, settings.probe_port) == (16, 60.0, 8081)
    assert settings.pod_name


def test_the_lease_is_in_the_pods_own_namespace() -> None:
    environment = ENOUGH | {"POD_NAMESPACE": "ml-platform", "POD_NAME": "modelramp-0"}
    del environment["MODELRAMP_LEASE_NAMESPACE"]
    settings = read_settings(environment)
    assert (settings.lease_namespace, settings.pod_name) == ("ml-platform", "modelramp-0")


def test_every_field_has_a_variable_and_can_be_set_by_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    values = {
        "namespaces": "team-a, team-b",
        "kubeconfig": str(file),
        "mlflow_tracking_uri": "https://mlflow",
        "journal": "false",
        "pin_seconds": "600",
        "alias_stable": "production",
        "alias_candidate": "none",
        "prometheus_url": "https://prometheus/prefix",
        "prometheus_token_file": str(file),
        "prometheus_ca_file": str(file),
        "operator_image": "registry.example.com:5000/modelramp/operator:1.2.3",
        "runtime_image": "localhost/runtime:dev",
        "router_image": "envoyproxy/envoy@sha256:" + "a" * 64,
        "runtimes": "/",
        "image_pull_policy": "Never",
        "router_cpu": "2",
        "router_memory": "1.5Gi",
        "router_memory_limit": "1Gi",
        "lease_name": "other",
        "lease_namespace": "here",
        "pod_name": "pod",
        "pod_uid": "6b1f",
        "probe_port": "0",
        "log_level": "DEBUG",
        "promotion_policies": "false",
        "admission": "true",
        "workers": "4",
        "turn_seconds": "30",
        "relist_seconds": "300",
    }
    settings = read_settings({VARIABLES[field]: value for field, value in values.items()})
    assert set(values) == set(Settings.model_fields)
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.kubeconfig == file
    assert settings.router_heap == int(1024**3 * 0.8)
    assert settings.operator_image == "registry.example.com:5000/modelramp/operator:1.2.3"


@pytest.mark.parametrize("text", ["a,b", "a b", " a , b ", "a,,b"])
def test_namespaces_are_separated_by_commas_or_spaces(text: str) -> None:
    assert read_settings(ENOUGH | {"MODELRAMP_NAMESPACES": text}).namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MLFLOW_TRACKING_URI", None, "MLFLOW_TRACKING_URI is not set; it must be an MLflow server's http(s) address"),
        ("MLFLOW_TRACKING_URI", "", "MLFLOW_TRACKING_URI is not set"),
        ("MLFLOW_TRACKING_URI", "databricks", "MLFLOW_TRACKING_URI: 'databricks': must be"),
        ("MLFLOW_TRACKING_URI", "file:///models", "http(s) address"),
        ("MODELRAMP_PROMETHEUS_URL", "prometheus:9090", "MODELRAMP_PROMETHEUS_URL: 'prometheus:9090': must be"),
        (
            "MODELRAMP_PROMETHEUS_TOKEN_FILE",
            "/no/such/file",
            "'/no/such/file': must be a file that holds a bearer token",
        ),
        ("MODELRAMP_NAMESPACES", "Team_A", "MODELRAMP_NAMESPACES"),
        ("MODELRAMP_WORKERS", "0", "MODELRAMP_WORKERS: '0': must be how many objects have a turn at a time"),
        ("MODELRAMP_WORKERS", "two", "MODELRAMP_WORKERS: 'two': must be how many objects have a turn at a time"),
        ("MODELRAMP_ROUTER_MEMORY_LIMIT", "512 MB", "must be a memory limit such as 512Mi"),
        ("MODELRAMP_RUNTIME_IMAGE", "two words", "MODELRAMP_RUNTIME_IMAGE: 'two words': must be an image reference"),
        ("MODELRAMP_IMAGE_PULL_POLICY", "Sometimes", "must be Always, IfNotPresent or Never"),
        ("MODELRAMP_LEASE_NAME", "model.ramp", "MODELRAMP_LEASE_NAME: 'model.ramp': must be a DNS-1123 label"),
        ("MODELRAMP_PROBE_PORT", "99999", "MODELRAMP_PROBE_PORT: '99999': must be a port, 1 to 65535"),
        ("MODELRAMP_LOG_LEVEL", "LOUD", "MODELRAMP_LOG_LEVEL: 'LOUD': must be DEBUG, INFO, WARNING or ERROR"),
        ("MODELRAMP_TURN_SECONDS", "nan", "MODELRAMP_TURN_SECONDS: 'nan': must be the longest turn in seconds"),
        ("KUBECONFIG", "/no/such/kubeconfig", "KUBECONFIG: '/no/such/kubeconfig': must be a kubeconfig file"),
    ],
)
def test_a_mistake_is_told_with_the_variable_the_value_and_what_would_be_right(
    variable: str, value: str | None, said: str
) -> None:
    assert said in complaint(**{variable: value})


def test_all_mistakes_are_told_at_once() -> None:
    said = complaint(MLFLOW_TRACKING_URI=None, MODELRAMP_PROBE_PORT="-1", MODELRAMP_WORKERS="many")
    assert len(said.splitlines()) == 3


def test_a_misspelt_variable_is_refused() -> None:
    said = complaint(MODELRAMP_PROMETHUES_URL="http://elsewhere:9090")
    assert said == "MODELRAMP_PROMETHUES_URL is no variable of modelramp; did you mean MODELRAMP_PROMETHEUS_URL?"


def test_variables_that_the_kubelet_sets_for_a_service_are_left_alone() -> None:
    links = {
        "MODELRAMP_PORT": "tcp://10.0.0.1:80",
        "MODELRAMP_SERVICE_HOST": "10.0.0.1",
        "MODELRAMP_SERVICE_PORT": "80",
        "MODELRAMP_PROBE_SERVICE_PORT": "80",
        "MODELRAMP_PROBE_PORT_8081_TCP_PORT": "8081",
    }
    assert read_settings(ENOUGH | links).probe_port == 8081


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MODELRAMP_PROMETHEUS_URL"])
def test_no_password_is_ever_shown(variable: str) -> None:
    said = complaint(**{variable: "ftp://user:hunter2@host"})
    assert "hunter2" not in said
    assert "user" not in said


def test_credentials_in_the_registrys_address_are_refused_because_pods_would_show_them() -> None:
    said = complaint(MLFLOW_TRACKING_URI="https://user:hunter2@mlflow")
    assert "credentials go into MLFLOW_TRACKING_USERNAME" in said
    assert "hunter2" not in said
