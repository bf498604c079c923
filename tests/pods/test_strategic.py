"""A pod template is merged as the API server itself merges a strategic patch."""

from __future__ import annotations

import copy
import secrets
from typing import Any

import pytest

from modelramp.pods.strategic import faults, merge
from tests.controlplane import ApiServer

BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "x"}, "annotations": {"a": "1", "b": "2"}},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "nodeSelector": {"disk": "ssd"},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"} for key in ("zone", "hostname")
        ],
        "initContainers": [{"name": "fetch", "image": "f:1", "args": ["a", "b"]}],
        "containers": [
            {
                "name": "server",
                "image": "s:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "volumeMounts": [{"name": "model", "mountPath": "/mnt/model"}],
                "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
            }
        ],
        "volumes": [{"name": "model", "emptyDir": {}}],
    },
}
SERVER = "server"


def _server(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": SERVER, **fields}]}}


PATCHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a label": {"metadata": {"labels": {"team": "risk"}}},
    "an annotation goes": {"metadata": {"annotations": {"a": None}}},
    "a map is replaced": {"spec": {"nodeSelector": {"$patch": "replace", "gpu": "yes"}}},
    "a map is emptied": {"spec": {"nodeSelector": {"$patch": "delete"}}},
    "a field goes": {"spec": {"tolerations": None}},
    "a list without keys is replaced": {"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
    "a variable is added and one is changed": _server(
        env=[{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]
    ),
    "a variable goes": _server(env=[{"name": "A", "$patch": "delete"}]),
    "variables are replaced": _server(env=[{"$patch": "replace"}, {"name": "Z", "value": "1"}]),
    "a port": _server(ports=[{"containerPort": 9090, "name": "metrics"}]),
    "a mount of its own": _server(volumeMounts=[{"name": "model", "mountPath": "/mnt/model", "readOnly": True}]),
    "a resource": _server(resources={"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}}),
    "arguments are replaced": {"spec": {"initContainers": [{"name": "fetch", "args": ["c"]}]}},
    "a sidecar": {"spec": {"containers": [{"name": "proxy", "image": "p:1", "env": [{"name": "X", "value": "1"}]}]}},
    "one that replaces speaks for all": {
        "spec": {"containers": [{"name": "other", "image": "o:1"}, {"name": SERVER, "$patch": "replace"}]}
    },
    "a volume of another kind": {
        "spec": {
            "volumes": [
                {
                    "name": "model",
                    "persistentVolumeClaim": {"claimName": "m"},
                    "$retainKeys": ["name", "persistentVolumeClaim"],
                }
            ]
        }
    },
    "a spread constraint": {"spec": {"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 3}]}},
    "a host alias": {"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]}},
    "nested new things": {"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}}}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def deployment(api_server: ApiServer) -> str:
    """Give the path of a Deployment of BASE."""
    name = f"merged-{secrets.token_hex(4)}"
    path = "/apis/apps/v1/namespaces/default/deployments"
    api_server.request("POST", path, _deployment(name, BASE))
    return f"{path}/{name}"


def _deployment(name: str, template: dict[str, Any]) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


@pytest.mark.apiserver
@pytest.mark.parametrize("name", PATCHES)
def test_as_the_api_server_merges(api_server: ApiServer, deployment: str, name: str) -> None:
    patch = PATCHES[name]
    theirs = api_server.request(
        "PATCH",
        f"{deployment}?dryRun=All&fieldManager=t",
        {"spec": {"template": copy.deepcopy(patch)}},
        kind="application/strategic-merge-patch+json",
    )
    path, _, _ = deployment.rpartition("/")
    ours = api_server.request("POST", f"{path}?dryRun=All", _deployment("ours", merge(BASE, patch)))
    assert _sorted(ours["spec"]["template"]) == _sorted(theirs["spec"]["template"])


def _sorted(value: Any) -> Any:
    """Return a value with its lists of maps in one order: the merge promises none."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return sorted((_sorted(item) for item in value), key=str)
    return value


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
def test_nothing_is_changed_in_place(patch: dict[str, Any]) -> None:
    before = copy.deepcopy((BASE, patch))
    merge(BASE, patch)
    assert (BASE, patch) == before


def test_the_operators_own_containers_stay_first() -> None:
    merged = merge(BASE, PATCHES["a sidecar"])
    assert [each["name"] for each in merged["spec"]["containers"]] == ["server", "proxy"]


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
def test_a_good_patch_has_no_fault(patch: dict[str, Any]) -> None:
    assert list(faults(patch)) == []


@pytest.mark.parametrize(
    ("patch", "path", "words"),
    [
        ({"spec": {"containers": [{"image": "x"}]}}, ".spec.containers[0]", "needs name"),
        (_server(env=[{"value": "1"}]), ".spec.containers[0].env[0]", "needs name"),
        ({"spec": {"volumes": ["model"]}}, ".spec.volumes[0]", "needs name"),
        (_server(env=[{"name": "A"}, {"name": "A"}]), ".spec.containers[0].env[1].name", "twice"),
        ({"spec": {"nodeSelector": {"$patch": "remove"}}}, ".spec.nodeSelector.$patch", "merge, replace, delete"),
        ({"spec": {"$setElementOrder/containers": []}}, ".spec.$setElementOrder/containers", "is no directive"),
        ({"spec": {"$retainKeys": "name"}}, ".spec.$retainKeys", "must be the list"),
    ],
)
def test_a_fault_is_named_by_its_field(patch: dict[str, Any], path: str, words: str) -> None:
    ((at, says), *_) = faults(patch)
    assert at == path
    assert words in says


def test_a_label_may_be_called_like_a_list() -> None:
    assert list(faults({"metadata": {"labels": {"env": "prod", "ports": "many"}}})) == []
