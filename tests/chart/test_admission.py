"""The chart's objects on a real API server: all of them taken, and the pods within `restricted` security."""

from __future__ import annotations

import copy
import urllib.error
from typing import Any

import pytest

from tests.adapters.real import new_namespace
from tests.chart.rendering import Object, named, plural, rendered
from tests.controlplane import ApiServer

pytestmark = pytest.mark.apiserver

EVERYTHING = {
    "mlflow": {"uri": "http://mlflow", "credentialsSecret": "mlflow"},
    "prometheus": {"url": "https://prometheus", "tokenSecret": "token", "caSecret": "ca"},
    "namespaces": ["default"],
    "replicas": 3,
    "imagePullSecrets": ["registry"],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "platform"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}]}}},
    "priorityClassName": "system-cluster-critical",
    "serviceAccount": {"annotations": {"cloud.example.com/role": "reader"}},
    "metrics": {"service": {"enabled": True, "annotations": {"x": "y"}}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
}  # fmt: skip


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "every value"])
def test_the_api_server_takes_every_object_as_it_is(api_server: ApiServer, values: dict[str, Any]) -> None:
    namespace = new_namespace(api_server)
    for obj in rendered(values, namespace=namespace):
        # Strict: a field that the API server does not know is an error, not a silence.
        path = f"{collection(obj)}?dryRun=All&fieldValidation=Strict"
        assert api_server.request("POST", path, without_owner(obj))["kind"] == obj["kind"]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "every value"])
def test_the_operators_pods_are_within_restricted_security(api_server: ApiServer, values: dict[str, Any]) -> None:
    namespace = new_namespace(api_server)
    pod = pod_of(rendered(values, namespace=namespace))
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    pod["spec"].pop("priorityClassName", None)  # the admission plugin wants its object
    assert api_server.request("POST", path, pod)["spec"]["containers"]
    worse = copy.deepcopy(pod)
    del worse["spec"]["securityContext"]["runAsNonRoot"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        api_server.request("POST", path, worse)


def pod_of(objects: list[Object]) -> Object:
    """Return the pod that the Deployment controller would make."""
    template = named(objects, "Deployment")["spec"]["template"]
    metadata = template["metadata"] | {"generateName": "modelramp-"}
    return {"metadata": metadata, "spec": template["spec"]}


def collection(obj: Object) -> str:
    """Return where an object is created."""
    api, kinds = obj["apiVersion"], plural(obj["kind"])
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    namespace = obj["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{kinds}" if namespace else f"{root}/{kinds}"


def without_owner(obj: Object) -> Object:
    """Give the CRD a name of its own: another test's may be there."""
    if obj["kind"] != "CustomResourceDefinition":
        return obj
    spec = obj["spec"] | {"group": "chart.test", "names": obj["spec"]["names"] | {"categories": ["chart-test"]}}
    return obj | {"metadata": obj["metadata"] | {"name": f"{spec['names']['plural']}.chart.test"}, "spec": spec}
