"""The API server that other tests lean on: it is real, it keeps its data, and it leaves nothing behind."""

import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from cluster.processes import find_processes
from tests.controlplane import ApiServer, running_api_server
from tests.controlplane.supervised import Supervised

pytestmark = pytest.mark.apiserver

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"weight.v7": "100"}}


def weights_definition() -> dict[str, Any]:
    percent = {"type": "integer", "minimum": 0, "maximum": 100}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"percent": percent}}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "weights.test.modelramp.dev"},
        "spec": {
            "group": "test.modelramp.dev",
            "names": {"plural": "weights", "singular": "weight", "kind": "Weight"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def weight(percent: int) -> dict[str, Any]:
    return {
        "apiVersion": "test.modelramp.dev/v1",
        "kind": "Weight",
        "metadata": {"name": f"w{percent}"},
        "spec": {"percent": percent},
    }


@pytest.fixture(scope="module")
def definition(api_server: ApiServer) -> str:
    path = f"{DEFINITIONS}/weights.test.modelramp.dev?fieldManager=test"
    api_server.request("PATCH", path, weights_definition(), kind="application/apply-patch+yaml")
    _await_established(api_server)
    return "/apis/test.modelramp.dev/v1/namespaces/default/weights"


def _await_established(api_server: ApiServer) -> None:
    watch = f"{DEFINITIONS}?watch=true&timeoutSeconds=20&fieldSelector=metadata.name=weights.test.modelramp.dev"
    for event in api_server.watch(watch):
        conditions = event["object"].get("status", {}).get("conditions", [])
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return
    pytest.fail("the definition was not established within 20 s")


def test_a_server_starts_fast_and_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with running_api_server() as server:
        seconds = time.monotonic() - started
        directory = server.directory
        assert server.request("GET", "/version")["major"] == "1"
        assert find_processes(f"--data-dir={directory}/etcd")
    with capsys.disabled():
        print(f"\netcd and kube-apiserver ready after {seconds:.1f} s")
    assert not directory.exists()
    assert not find_processes(f"--data-dir={directory}/etcd")
    assert not find_processes(f"--cert-dir={directory}/certificates")


def test_a_custom_resource_is_validated_by_its_schema(api_server: ApiServer, definition: str) -> None:
    api_server.request("POST", definition, weight(50))
    assert api_server.request("GET", f"{definition}/w50")["spec"] == {"percent": 50}
    with pytest.raises(urllib.error.HTTPError) as refusal:
        api_server.request("POST", definition, weight(101))
    assert refusal.value.code == 422


def test_a_restart_keeps_the_data_and_the_credentials(api_server: ApiServer) -> None:
    ann = api_server.mint("ann")
    written = api_server.request("POST", CONFIG_MAPS, config_map("kept"))
    api_server.restart()
    read = api_server.request("GET", f"{CONFIG_MAPS}/kept")
    assert read["metadata"]["uid"] == written["metadata"]["uid"]
    assert read["data"] == {"weight.v7": "100"}
    assert _user_of(api_server, ann.token)["username"] == "ann"


def test_the_api_is_away_between_stop_and_start(api_server: ApiServer) -> None:
    api_server.stop()
    try:
        with pytest.raises(OSError, match="refused"):
            api_server.request("GET", "/readyz")
    finally:
        api_server.start()
    assert api_server.is_ready()


def test_a_persona_may_do_only_what_is_granted_to_it(api_server: ApiServer) -> None:
    ann = api_server.mint("ann", "ml-engineers")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        api_server.request("GET", CONFIG_MAPS, token=ann.token)
    assert refusal.value.code == 403
    _grant_reading(api_server, "ml-engineers")
    assert api_server.request("GET", CONFIG_MAPS, token=ann.token)["kind"] == "ConfigMapList"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        api_server.request("POST", CONFIG_MAPS, config_map("foreign"), token=ann.token)
    assert refusal.value.code == 403


def _grant_reading(api_server: ApiServer, group: str) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1"
    kind = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    api_server.request("POST", f"{roles}/clusterroles", {"metadata": {"name": "readers"}, "rules": rules})
    binding = {
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": kind, "kind": "ClusterRole", "name": "readers"},
        "subjects": [{"apiGroup": kind, "kind": "Group", "name": group}],
    }
    api_server.request("POST", f"{roles}/clusterrolebindings", binding)


def test_an_unknown_token_is_nobody(api_server: ApiServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        api_server.request("GET", CONFIG_MAPS, token="f" * 32)
    assert refusal.value.code == 401


def _user_of(api_server: ApiServer, token: str) -> dict[str, Any]:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer: dict[str, Any] = api_server.request("POST", path, review, token=token)["status"]["userInfo"]
    return answer


def test_a_program_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    program = Supervised.start(["sleep", "1234.5"], tmp_path / "sleep.log")
    assert not program.has_ended
    # The kernel closes the pipe of a killed process; closing it here is the same event.
    assert program.shell.stdin
    program.shell.stdin.close()
    program.shell.wait(10)
    assert not find_processes("sleep", "1234.5")
