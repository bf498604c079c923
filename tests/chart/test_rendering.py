"""What the chart renders, and which values it refuses."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from cluster.settings import REPOSITORY
from modelramp import __version__
from modelramp.settings import VARIABLES, Settings, read_settings
from tests.chart.rendering import CHART, NAMESPACE, NEEDED, helm, named, operator_container, refusal, rendered

pytestmark = pytest.mark.apiserver  # like etcd and kube-apiserver, helm is compiled where the cache has none

SURROUNDINGS = {
    "metadata.uid": "7a1f0c52-9f0e-4b0e-9d53-5d0f3c0c7b11",
    "metadata.name": "modelramp-0",
    "metadata.namespace": NAMESPACE,
}


def environment(values: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the operator's environment as the kubelet would set it."""
    variables = operator_container(rendered(values))["env"]
    return {
        each["name"]: each.get("value") or SURROUNDINGS[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in variables
    }


def test_helm_lint_finds_nothing() -> None:
    done = subprocess.run([helm(), "lint", CHART, "--strict"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


def test_chart_and_operator_have_the_same_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


class TestCrds:
    def test_the_charts_copies_are_the_generated_ones(self) -> None:
        generated = {path.name: path.read_text() for path in (REPOSITORY / "crds").glob("*.yaml")}
        copies = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}
        assert generated == copies, "copy crds/*.yaml to charts/modelramp/files/crds"

    def test_what_is_installed_is_the_generated_one_and_stays_when_the_chart_goes(self) -> None:
        installed = named(rendered(), "CustomResourceDefinition", "modeldeployments.modelramp.dev")
        assert installed["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert installed == yaml.safe_load((REPOSITORY / "crds" / "modeldeployment.yaml").read_text())

    def test_they_can_be_left_out(self) -> None:
        kinds = {each["kind"] for each in rendered({"crds": {"install": False}})}
        assert "CustomResourceDefinition" not in kinds


class TestOperator:
    def test_its_environment_is_taken_by_the_operator(self) -> None:
        settings = read_settings(environment())
        assert settings.mlflow_tracking_uri == NEEDED["mlflow"]["uri"]
        assert settings.prometheus_url == NEEDED["prometheus"]["url"]
        assert (settings.lease_name, settings.lease_namespace) == ("modelramp", NAMESPACE)
        assert settings.namespaces == ()

    def test_values_that_are_not_given_are_the_operators_own_defaults(self) -> None:
        settings = read_settings(
            environment() | {VARIABLES["admission"]: "false"}
        )  # nobody asks where there is no chart
        plain = {"mlflow_tracking_uri", "prometheus_url", "pod_name", "pod_uid"}
        compared = set(Settings.model_fields) - plain - {"lease_name", "lease_namespace"}
        defaults = {field: Settings.model_fields[field].default for field in compared}
        assert {field: getattr(settings, field) for field in compared} == defaults

    def test_every_variable_is_one_that_the_operator_reads(self) -> None:
        assert set(environment({"namespaces": ["a"]})) - set(VARIABLES.values()) == {"HOME"}

    def test_values_arrive(self) -> None:
        image = {"repository": "registry.example.com:5000/ours", "tag": "2"}
        chosen = environment(
            {
                "namespaces": ["fraud", "risk"],
                "logLevel": "DEBUG",
                "workers": 3,
                "image": image | {"pullPolicy": "Always"},
                "runtime": {"image": image | {"digest": f"sha256:{'a' * 64}"}},
                "router": {"image": image, "resources": {"requests": {"cpu": 2}, "limits": {"memory": "1Gi"}}},
            }
        )
        settings = read_settings(chosen)
        assert settings.namespaces == ("fraud", "risk")
        assert (settings.log_level, settings.workers, settings.image_pull_policy) == ("DEBUG", 3, "Always")
        assert settings.operator_image == settings.router_image == "registry.example.com:5000/ours:2"
        assert settings.runtime_image.endswith(f"/ours:2@sha256:{'a' * 64}")
        assert (settings.router_cpu, settings.router_memory_limit) == ("2", "1Gi")

    def test_it_runs_the_image_that_routers_get(self) -> None:
        assert operator_container(rendered())["image"] == read_settings(environment()).operator_image

    def test_credentials_come_from_a_secret_that_the_operator_cannot_read_through_the_api(self) -> None:
        objects = rendered({"mlflow": NEEDED["mlflow"] | {"credentialsSecret": "mlflow-token"}})
        assert operator_container(objects)["envFrom"] == [{"secretRef": {"name": "mlflow-token"}}]
        roles = [each for each in objects if each["kind"] in {"Role", "ClusterRole"}]
        resources = {resource for role in roles for rule in role["rules"] for resource in rule["resources"]}
        assert "secrets" not in resources

    def test_prometheus_token_and_certificates_are_files_of_secrets(self) -> None:
        secrets = {"tokenSecret": "prom-token", "caSecret": "prom-ca"}
        objects = rendered({"prometheus": NEEDED["prometheus"] | secrets})
        pod, container = named(objects, "Deployment")["spec"]["template"]["spec"], operator_container(objects)
        files = {each["name"]: each["value"] for each in container["env"] if each["name"].endswith("_FILE")}
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        volumes = {each["name"]: each.get("secret", {}).get("secretName") for each in pod["volumes"]}
        assert files["MODELRAMP_PROMETHEUS_TOKEN_FILE"] == f"{mounts['prometheus-token']}/token"
        assert files["MODELRAMP_PROMETHEUS_CA_FILE"] == f"{mounts['prometheus-ca']}/ca.crt"
        assert (volumes["prometheus-token"], volumes["prometheus-ca"]) == ("prom-token", "prom-ca")

    @pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (2, 1)])
    def test_one_pod_alone_may_be_drained(self, replicas: int, budgets: int) -> None:
        kinds = [each["kind"] for each in rendered({"replicas": replicas})]
        assert kinds.count("PodDisruptionBudget") == budgets

    def test_its_metrics_service_and_its_pod_monitor_find_its_pods(self) -> None:
        objects = rendered({"metrics": {"podMonitor": {"enabled": True}}})
        labels = named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
        assert named(objects, "Service", "modelramp-metrics")["spec"]["selector"].items() <= labels
        assert named(objects, "PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels
        ports = {each["name"]: each["containerPort"] for each in operator_container(objects)["ports"]}
        annotations = named(objects, "Service", "modelramp-metrics")["metadata"]["annotations"]
        assert (
            annotations["prometheus.io/port"] == str(ports["http"]) == str(Settings.model_fields["probe_port"].default)
        )

    def test_two_releases_do_not_meet(self) -> None:
        def identities(release: str) -> set[tuple[str, str]]:
            objects = rendered({"crds": {"install": False}}, release=release)
            return {(each["kind"], each["metadata"]["name"]) for each in objects}

        assert not identities("modelramp") & identities("second")

    def test_a_release_with_a_dot_in_its_name_has_a_service(self) -> None:
        services = [each for each in rendered(release="modelramp.eu") if each["kind"] == "Service"]
        assert [each["metadata"]["name"] for each in services] == ["modelramp-eu-metrics"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({}, "mlflow.uri is not set"),
            ({"mlflow": {"uri": "http://mlflow"}}, "prometheus.url is not set"),
            ({"mlflow": {"uri": "http://user:secret@mlflow"}}, "at '/mlflow/uri'"),
            ({"mlflow": {"uri": "mlflow:5000"}}, "at '/mlflow/uri'"),
            ({"prometheus": {"url": "prometheus"}}, "at '/prometheus/url'"),
            ({"replica": 2}, "additional properties 'replica' not allowed"),
            ({"router": {"replicas": 2}}, "additional properties 'replicas' not allowed"),
            ({"logLevel": "verbose"}, "at '/logLevel'"),
            ({"namespaces": "fraud"}, "at '/namespaces'"),
            ({"namespaces": ["Fraud"]}, "at '/namespaces/0'"),
            ({"replicas": "two"}, "at '/replicas'"),
            ({"workers": 0}, "at '/workers'"),
            ({"image": {"digest": "sha256:12"}}, "at '/image/digest'"),
            ({"router": {"resources": {"limits": {"memory": "lots"}}}}, "at '/router/resources/limits/memory'"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_name_the_value(self, values: dict[str, Any], said: str) -> None:
        assert said in refusal(values)


def test_namespaces_that_look_like_numbers_stay_names() -> None:
    objects = rendered({"namespaces": ["123"], "runtimes": {}}, namespace="1e3")
    found = {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
    assert found == {"123", "1e3"}
