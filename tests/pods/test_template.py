"""What a user's pod template may change, what it may not, and what it may only knowingly."""

from __future__ import annotations

import secrets
import urllib.error
from typing import Any

import pytest

from modelramp.adapters.podspec import pod_template, served
from modelramp.api import Problem, read_spec
from modelramp.pods.security import CONTAINER_SECURITY
from modelramp.pods.strategic import merge
from modelramp.pods.template import template_faults
from modelramp.ports import Ref, Rollout
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Status
from tests.adapters.real import POD_SETTINGS, new_namespace, pin
from tests.api.objects import LEAST, changed, parsed
from tests.controlplane import ApiServer

RENDERED = pod_template(
    served(Rollout(Ref("default", "x"), "uid", 1, "1", Spec("m", "8"), Status()), pin("8")), POD_SETTINGS
)
SIDECAR = {"name": "proxy", "image": "p:1", "securityContext": dict(CONTAINER_SECURITY)}


def in_server(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "server", **fields}]}}


def in_fetch(**fields: Any) -> dict[str, Any]:
    return {"spec": {"initContainers": [{"name": "fetch", **fields}]}}


def in_pod(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


def secured(**fields: Any) -> dict[str, Any]:
    return in_server(securityContext=fields)


GOOD = {
    "labels": {"metadata": {"labels": {"team": "risk"}}},
    "annotations": {"metadata": {"annotations": {"sidecar.istio.io/inject": "true"}}},
    "a priority": in_pod(priorityClassName="high"),
    "a runtime class": in_pod(runtimeClassName="gvisor"),
    "more patience": in_pod(terminationGracePeriodSeconds=120),
    "a sidecar": in_pod(containers=[SIDECAR]),
    "a step before": in_pod(initContainers=[SIDECAR]),
    "a secret for the server": in_server(
        volumeMounts=[{"name": "features", "mountPath": "/etc/features", "readOnly": True}]
    ) | {"metadata": {}},
    "shared memory": in_pod(volumes=[{"name": "shm", "emptyDir": {"medium": "Memory"}}]),
    "a bigger disk for the model": in_pod(volumes=[{"name": "model", "emptyDir": {"sizeLimit": "20Gi"}}]),
    "another probe": in_server(startupProbe={"failureThreshold": 1200}),
    "credentials for the fetch": in_fetch(env=[{"name": "AWS_REGION", "value": "eu-central-1"}]),
    "a user": in_pod(securityContext={"runAsUser": 1000, "fsGroup": 1000}),
    "a port that needs a right": secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
}  # fmt: skip

TAKEN = {
    "another kind of field": ({"kind": "Pod"}, ".kind", "there are metadata and spec"),
    "no map": ({"spec": []}, ".spec", "must be a map"),
    "a name": ({"metadata": {"name": "x"}}, ".metadata.name", "there are labels and annotations"),
    "a number as a label": ({"metadata": {"labels": {"a": 1}}}, ".metadata.labels", "text to text"),
    "a label of the selector": (
        {"metadata": {"labels": {"modelramp.dev/version": "9"}}},
        ".metadata.labels[modelramp.dev/version]",
        "is the operator's",
    ),
    "a label of the selector goes": (
        {"metadata": {"labels": {"modelramp.dev/name": None}}},
        ".metadata.labels[modelramp.dev/name]",
        "is the operator's",
    ),
    "the whole spec": (in_pod(**{"$patch": "replace"}), ".spec.$patch", "would remove"),
    "all containers": (in_pod(containers=None), ".spec.containers", "keeps server"),
    "containers replaced": (in_pod(containers=[{"$patch": "replace"}]), ".spec.containers", "keeps server"),
    "the server goes": (in_server(**{"$patch": "delete"}), ".spec.containers[0].$patch", "would remove server"),
    "the server's image": (in_server(image="x"), ".spec.containers[0].image", "spec.serving.image"),
    "the server's command": (in_server(command=["x"]), ".spec.containers[0].command", "spec.serving.runtime"),
    "the server's ports": (in_server(ports=[{"containerPort": 1}]), ".spec.containers[0].ports", "port"),
    "a variable of ours": (
        in_server(env=[{"name": "A", "value": "1"}, {"name": "MODEL_VERSION", "value": "9"}]),
        ".spec.containers[0].env[1].name",
        "MODEL_VERSION is set by the operator",
    ),
    "the model's place": (
        in_server(volumeMounts=[{"name": "x", "mountPath": "/mnt/model"}]),
        ".spec.containers[0].volumeMounts[0].mountPath",
        "/mnt/model is set by the operator",
    ),
    "all variables": (in_server(env=None), ".spec.containers[0].env", "keeps what the operator sets"),
    "the check of the digest": (in_fetch(command=["true"]), ".spec.initContainers[0].command", "checks the model"),
    "no check at all": (in_fetch(**{"$patch": "delete"}), ".spec.initContainers[0].$patch", "would remove fetch"),
    "the digest": (
        in_fetch(env=[{"name": "MODEL_DIGEST", "value": "x"}]),
        ".spec.initContainers[0].env[0].name",
        "MODEL_DIGEST is set by the operator",
    ),
    "the model's volume": (
        in_pod(volumes=[{"name": "model", "$patch": "delete"}]),
        ".spec.volumes[0].$patch",
        "would remove model",
    ),
    "the account": (in_pod(serviceAccountName="x"), ".spec.serviceAccountName", "spec.serving.serviceAccountName"),
    "the restart policy": (in_pod(restartPolicy="Never"), ".spec.restartPolicy", "Always"),
}

WEAKER = {
    "the node's network": (in_pod(hostNetwork=True), ".spec.hostNetwork"),
    "the node's processes": (in_pod(hostPID=True), ".spec.hostPID"),
    "the node's files": (in_pod(volumes=[{"name": "node", "hostPath": {"path": "/"}}]), ".spec.volumes[node]"),
    "root": (in_pod(securityContext={"runAsNonRoot": False}), ".spec.securityContext.runAsNonRoot"),
    "user 0": (in_pod(securityContext={"runAsUser": 0}), ".spec.securityContext.runAsUser"),
    "no seccomp": (
        in_pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        ".spec.securityContext.seccompProfile.type",
    ),
    "no context at all": (
        in_pod(securityContext=None),
        ".spec.initContainers[fetch].securityContext.runAsNonRoot",
    ),
    "a sysctl": (
        in_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        ".spec.securityContext.sysctls",
    ),
    "another selinux user": (
        in_pod(securityContext={"seLinuxOptions": {"user": "system_u"}}),
        ".spec.securityContext.seLinuxOptions",
    ),
    "privileged": (
        secured(privileged=True, allowPrivilegeEscalation=None),
        ".spec.containers[server].securityContext.privileged",
    ),
    "escalation": (
        secured(allowPrivilegeEscalation=True),
        ".spec.containers[server].securityContext.allowPrivilegeEscalation",
    ),
    "kept capabilities": (
        secured(capabilities={"drop": None}),
        ".spec.containers[server].securityContext.capabilities.drop",
    ),
    "a capability": (
        secured(capabilities={"add": ["SYS_ADMIN"]}),
        ".spec.containers[server].securityContext.capabilities.add",
    ),
    "unmasked proc": (
        secured(procMount="Unmasked"),
        ".spec.containers[server].securityContext.procMount",
    ),
    "the fetch as root": (
        in_fetch(securityContext={"runAsUser": 0}),
        ".spec.initContainers[fetch].securityContext.runAsUser",
    ),
    "a careless sidecar": (
        in_pod(containers=[{"name": "proxy", "image": "p:1"}]),
        ".spec.containers[proxy].securityContext.allowPrivilegeEscalation",
    ),
    "a port of the node": (
        in_pod(containers=[SIDECAR | {"ports": [{"containerPort": 9090, "hostPort": 9090}]}]),
        ".spec.containers[proxy].ports",
    ),
}


@pytest.fixture(scope="module")
def pods(api_server: ApiServer) -> str:
    """Give the path of pods in a namespace in which `restricted` is enforced."""
    return f"/api/v1/namespaces/{new_namespace(api_server)}/pods?dryRun=All"


def create(server: ApiServer, pods: str, patch: dict[str, Any]) -> Any:
    """Create the pod that a Deployment with the patched template would have."""
    template = merge(RENDERED, patch)
    head = {"name": f"p-{secrets.token_hex(3)}", "labels": template["metadata"]["labels"]}
    return server.request("POST", pods, {"metadata": head, "spec": template["spec"]})


@pytest.mark.parametrize("patch", GOOD.values(), ids=GOOD.keys())
def test_what_the_rollout_does_not_rest_on_is_free(patch: dict[str, Any]) -> None:
    assert list(template_faults(patch, restricted=True)) == []


@pytest.mark.parametrize(("patch", "path", "words"), TAKEN.values(), ids=TAKEN.keys())
def test_what_the_rollout_rests_on_is_refused_by_its_field(patch: dict[str, Any], path: str, words: str) -> None:
    for restricted in (True, False):
        at, says = next(template_faults(patch, restricted=restricted))
        assert at == path
        assert words in says


@pytest.mark.parametrize(("patch", "path"), WEAKER.values(), ids=WEAKER.keys())
def test_security_is_relaxed_only_knowingly(patch: dict[str, Any], path: str) -> None:
    said = dict(template_faults(patch, restricted=True))
    assert "spec.serving.podSecurity: Relaxed allows it" in said[path]
    assert list(template_faults(patch, restricted=False)) == []


def test_a_writable_root_is_relaxed_only_knowingly() -> None:
    """The standard does not ask for it, the operator does."""
    ((path, _),) = template_faults(secured(readOnlyRootFilesystem=False), restricted=True)
    assert path == ".spec.containers[server].securityContext.readOnlyRootFilesystem"


@pytest.mark.apiserver
@pytest.mark.parametrize("patch", [patch for patch, _ in WEAKER.values()], ids=WEAKER.keys())
def test_a_cluster_refuses_what_we_call_weaker(api_server: ApiServer, pods: str, patch: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError, match=r"403|422"):  # 422 where it contradicts what else is asked
        create(api_server, pods, patch)


@pytest.mark.apiserver
@pytest.mark.parametrize("name", GOOD)
def test_a_cluster_takes_what_we_call_good(api_server: ApiServer, pods: str, name: str) -> None:
    patch = GOOD[name]
    if name in ("a priority", "a runtime class"):  # objects of the cluster that are not there
        patch = {}
    if name == "a secret for the server":
        patch = merge(patch, in_pod(volumes=[{"name": "features", "secret": {"secretName": "features"}}]))
        patch["spec"]["containers"] = GOOD[name]["spec"]["containers"]  # type: ignore[index]
    assert create(api_server, pods, patch)["spec"]["containers"]


def test_the_problem_names_the_field_of_the_manifest() -> None:
    template = {"spec.serving": {"podTemplate": in_server(securityContext={"privileged": True})}}
    problem = read_spec(changed(parsed(LEAST), **template))
    assert isinstance(problem, Problem)
    assert problem.field == "spec.serving.podTemplate.spec.containers[server].securityContext.privileged"
    assert problem.value == ""


def test_relaxed_is_taken_at_its_word() -> None:
    serving = {"podTemplate": in_pod(hostNetwork=True), "podSecurity": "Relaxed"}
    read = read_spec(changed(parsed(LEAST), **{"spec.serving": serving}))
    assert isinstance(read, Spec)
    assert read.serving.pod_template == in_pod(hostNetwork=True)
