"""The operator's rights on a real API server: everything it does, and nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.events import ClusterEvents
from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT, ROLE, labels
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.leases import Claim, Held, LeaseObject
from modelramp.adapters.store import Store
from modelramp.handlers import WATCHED, Watches
from modelramp.ports import Done, Ref
from modelramp.rollout.actions import Event, RunRehearsal, SetTraffic
from modelramp.rollout.gates.spec import StagingGate
from modelramp.rollout.observation import Failed, Split
from modelramp.rollout.status import Status
from tests.adapters.real import Process, install_definition, new_namespace, pin, read
from tests.chart.rendering import Object, plural, rendered
from tests.controlplane import ApiServer, Credentials

pytestmark = pytest.mark.apiserver

EVERYWHERE = {
    "modeldeployments.modelramp.dev": {"get", "list", "watch", "patch"},
    "modeldeployments.modelramp.dev/status": {"update"},
    "modeldeployments.modelramp.dev/finalizers": {"update"},  # owner references block its deletion
    "deployments.apps": {"get", "list", "watch", "create", "patch", "delete"},
    "jobs.batch": {"get", "list", "watch", "create", "delete"},
    "configmaps": {"get", "list", "watch", "create", "patch"},
    "pods": {"list", "watch", "patch"},
    "services": {"get", "list", "watch", "create", "patch", "delete"},
    "serviceaccounts": {"get", "create", "patch"},
    "roles.rbac.authorization.k8s.io": {"get", "create", "patch"},
    "rolebindings.rbac.authorization.k8s.io": {"get", "create", "patch"},
    "poddisruptionbudgets.policy": {"get", "list", "watch", "create", "patch", "delete"},
    "horizontalpodautoscalers.autoscaling": {"get", "list", "watch", "create", "patch", "delete"},
    "events.events.k8s.io": {"get", "list", "create", "patch"},
}
FOR_ALL = {"promotionpolicies.modelramp.dev": {"list", "watch"}, "namespaces": {"list", "watch"}}
"""What is cluster-scoped, also where a single namespace is served."""
WRITES = {
    "modeldeployments": {"PATCH", "PUT"},
    "deployments": {"PATCH", "DELETE"},  # what is applied and not there is created: both verbs are asked for
    "jobs": {"GET", "POST", "DELETE"},
    "configmaps": {"POST", "PATCH"},
    "services": {"PATCH", "DELETE"},
    "serviceaccounts": {"PATCH"},
    "roles": {"PATCH"},
    "rolebindings": {"PATCH"},
    "poddisruptionbudgets": {"PATCH", "DELETE"},
    "horizontalpodautoscalers": {"PATCH", "DELETE"},
    "events": {"GET", "POST", "PATCH"},
    "leases": {"GET", "POST", "PUT"},
}
NAMED = "named namespaces"
ELECTION = {"leases.coordination.k8s.io": {"create"}, "leases.coordination.k8s.io modelramp": {"get", "update"}}


@dataclass
class Installed:
    """A release of the chart, and its operator's credentials."""

    server: ApiServer
    operator: Credentials
    models: str
    home: str
    serves_all: bool
    calls: set[tuple[str, str]] = field(default_factory=set)
    refused: set[tuple[str, str, int]] = field(default_factory=set)

    def count(self, method: str, resource: str, status: int, _seconds: float) -> None:
        self.calls.add((method, resource))
        if status in (401, 403):
            self.refused.add((method, resource, status))


@pytest.fixture(scope="module")
def defined(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows ModelDeployments."""
    install_definition(api_server)
    return api_server


@pytest.fixture(params=["all namespaces", NAMED])
def installed(request: pytest.FixtureRequest, defined: ApiServer) -> Iterator[Installed]:
    """Give a release that serves every namespace, and one that serves a single one."""
    models, home = new_namespace(defined), new_namespace(defined)
    values = {"crds": {"install": False}} | ({"namespaces": [models]} if request.param == NAMED else {})
    objects = rendered(values, namespace=home)
    for obj in objects:
        apply(defined, obj)
    operator = defined.mint(f"system:serviceaccount:{home}:modelramp", "system:serviceaccounts")
    create_model(defined, models)
    yield Installed(defined, operator, models, home, serves_all=request.param != NAMED)
    for obj in objects:
        if obj["kind"].startswith(("ClusterRole", "ValidatingAdmission")):
            defined.request("DELETE", path_of(obj))


@pytest.fixture
async def process(installed: Installed) -> AsyncIterator[Process]:
    """Give an operator process with the rights that the chart gives it."""
    cluster = await Cluster.connect(installed.operator.kubeconfig, on_call=installed.count)
    async with aiohttp.ClientSession() as session:
        yield Process(cluster, session)
    await cluster.close()


def create_model(server: ApiServer, namespace: str) -> None:
    """Create a ModelDeployment as a user would."""
    body = {
        "apiVersion": "modelramp.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud-detector"},
        "spec": {
            "model": {"name": "fraud_detector", "version": "8"},
            "serving": {"resources": {"requests": {"cpu": "1"}}, "autoscaling": {"max": 3, "cpuUtilization": 70}},
            "traffic": {"configMap": {}},
        },
    }
    server.request("POST", MODEL_DEPLOYMENT.path(namespace), body)


def path_of(obj: Object) -> str:
    """Return an object's URL path."""
    api, kind, metadata = obj["apiVersion"], obj["kind"], obj["metadata"]
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{scope}/{plural(kind)}/{metadata['name']}"


def apply(server: ApiServer, obj: Object) -> Any:
    """Apply an object as helm would."""
    path = f"{path_of(obj)}?fieldManager=helm&force=true"
    return server.request("PATCH", path, obj, kind="application/apply-patch+yaml")


def rights(server: ApiServer, who: Credentials, namespace: str) -> dict[str, set[str]]:
    """Return what the API server says that somebody may do in a namespace: verbs by resource, and name."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    found: dict[str, set[str]] = {}
    for rule in server.request("POST", path, review, token=who.token)["status"]["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plural, _, subresource = resource.partition("/")
                full = ".".join(filter(None, (plural, group))) + (f"/{subresource}" if subresource else "")
                for name in rule.get("resourceNames") or [""]:
                    found.setdefault(f"{full} {name}".strip(), set()).update(rule["verbs"])
    return found


def granted(installed: Installed, namespace: str) -> dict[str, set[str]]:
    """Return what the chart adds to what everybody may do."""
    nobody = installed.server.mint(f"system:serviceaccount:nowhere:{secrets.token_hex(4)}", "system:serviceaccounts")
    everybody = rights(installed.server, nobody, namespace)
    operators = rights(installed.server, installed.operator, namespace)
    return {resource: verbs for resource, verbs in operators.items() if verbs != everybody.get(resource)}


class TestWhatIsGranted:
    def test_in_a_namespace_that_is_served(self, installed: Installed) -> None:
        assert granted(installed, installed.models) == EVERYWHERE | FOR_ALL

    def test_the_election_in_the_releases_own_namespace(self, installed: Installed) -> None:
        elsewhere = EVERYWHERE if installed.serves_all else {}
        assert granted(installed, installed.home) == elsewhere | FOR_ALL | ELECTION

    def test_elsewhere_nothing_unless_all_namespaces_are_served(self, installed: Installed) -> None:
        assert granted(installed, "kube-system") == (EVERYWHERE if installed.serves_all else {}) | FOR_ALL

    def test_no_role_of_the_cluster_where_no_policies_are_read(self) -> None:
        values = {
            "namespaces": ["models"],
            "promotionPolicies": {"enabled": False},
            "rbac": {"aggregate": False, "roles": False},
        }
        assert not [each for each in rendered(values) if each["kind"].startswith("ClusterRole")]


class TestWhatIsUsed:
    """Every right is used by the operator's own code, and that code is never refused one."""

    async def test_by_a_rollout_from_its_first_traffic_to_its_end(self, installed: Installed, process: Process) -> None:
        await roll_out(process, installed.models)
        await elect(process.cluster, installed.home)
        await post_event(process, installed.models)
        assert not installed.refused
        assert {(method, resource) for resource, methods in WRITES.items() for method in methods} <= installed.calls

    async def test_by_the_watches(self, installed: Installed) -> None:
        store, stop = Store(), asyncio.Event()
        namespaces = () if installed.serves_all else (installed.models,)
        watches = Watches(store, lambda *_: None, SystemClock(), installed.operator.kubeconfig, namespaces)
        running = asyncio.create_task(watches.run(stop, lambda: None))
        try:
            created = {"metadata": {"name": "seen-traffic", "labels": labels("seen", "router")}}
            path = CONFIG_MAP.path(installed.models)
            await asyncio.to_thread(installed.server.request, "POST", path, created)
            async with asyncio.timeout(20):
                while store.get(CONFIG_MAP, installed.models, "seen-traffic") is None:  # noqa: ASYNC110 no bell
                    await asyncio.sleep(0.05)
            assert watches.complete()
        finally:
            stop.set()
            await running

    async def test_a_role_of_more_than_the_operator_holds_is_refused(
        self, installed: Installed, process: Process
    ) -> None:
        head = {"name": "too-much", "namespace": installed.models, "labels": labels("x", "router")}
        rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
        role = {"apiVersion": ROLE.api_version, "kind": "Role", "metadata": head, "rules": [rule]}
        answer = await process.writer.apply(role)
        assert isinstance(answer, Failed)
        assert "attempting to grant RBAC permissions not currently held" in answer.message


async def roll_out(process: Process, namespace: str) -> None:
    """Do what the operator does to a ModelDeployment and all that it owns."""
    ref = Ref(namespace, "fraud-detector")
    await process.list_all(namespace, *WATCHED)
    rollout = await read(process, ref)
    assert await process.objects.remember(rollout, Status(stable=pin("7"), candidate=pin("8"))) == Done()
    rollout = await read(process, ref)
    assert await process.objects.claim(rollout) == Done()
    for version in ("7", "8"):
        assert await process.workloads.run(rollout, pin(version)) == Done()
    rehearsal = RunRehearsal("8-abc123", pin("8"), StagingGate(), pin("7"), timedelta(minutes=5))
    for _ in range(2):
        assert await process.rehearsals.run(rollout, rehearsal) == Done()
    assert await process.rehearsals.stop(rollout, "8-abc123") == Done()
    for weight in (10, 0):
        split = Split({"7": 100 - weight, "8": weight})
        wanted = SetTraffic(split, "7", ("7", "8"), retreat=not weight, why="test")
        assert await process.traffic.write(rollout, wanted) == Done()
    assert await process.workloads.stop(rollout, "8") == Done()
    assert await process.objects.release(await read(process, ref)) == Done()


async def elect(cluster: Cluster, namespace: str) -> None:
    """Take the Lease, renew it, read it."""
    lease = LeaseObject(cluster, Ref(namespace, "modelramp"), SystemClock())
    claim = Claim("modelramp-0", 1, timedelta(seconds=15), acquired=True)
    held = await lease.create(claim)
    assert isinstance(held, Held)
    assert isinstance(await lease.replace(claim, held.resource_version), Held)
    assert isinstance(await lease.read(), Held)


async def post_event(process: Process, namespace: str) -> None:
    """Post an Event, and count it as the process after this one would."""
    rollout = await read(process, Ref(namespace, "fraud-detector"))
    for _ in range(2):
        events = ClusterEvents(process.cluster, process.lease, SystemClock(), instance="modelramp-0")
        await events.emit(rollout, [Event("Tested", "all is well")])
        posting = asyncio.create_task(events.run())
        await events.flush(5)
        posting.cancel()
        assert not events.failed
