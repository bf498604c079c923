"""The chart's roles on a real API server: every verb that each has, and what admission refuses, word by word."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT, PROMOTION_POLICY
from tests.adapters.real import install_definition, new_namespace
from tests.chart.rendering import Object, rendered
from tests.chart.test_rights import path_of, rights
from tests.controlplane import ApiServer, Credentials

pytestmark = pytest.mark.apiserver

READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}
SEEN = {"promotionpolicies.modelramp.dev": READ, "events.events.k8s.io": READ, "events": READ}
GRANTED = {
    "data-scientist": SEEN | {"modeldeployments.modelramp.dev": READ},
    "ml-engineer": SEEN | {"modeldeployments.modelramp.dev": READ | WRITE},
    "release-manager": SEEN
    | {
        "modeldeployments.modelramp.dev": READ | WRITE | {"promote", "approve", "override"},
        "configmaps": {"get", "patch"},
    },
    "service-account": {"modeldeployments.modelramp.dev": {"get"}},
}
KINDS = ("ClusterRole", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
SOON = 20.0  # seconds for the API server to take up an admission policy
UNTIL = "2099-01-01T00:00:00Z"
OVERRIDES = [{"gate": "metric:auc", "reason": "known", "until": UNTIL}]
LOOSER = {
    "shadow": {"percent": 10, "duration": "1m"},
    "serving": {"replicas": 9},
    "retry": "1",
    "ramp": {"effectDeadline": "1m"},
}
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Team:
    """A namespace with a draft and something that serves, and somebody in each role."""

    server: ApiServer
    namespace: str
    people: dict[str, Credentials]

    def send(self, who: str, method: str, name: str, body: Any = None, *, dry: bool = True) -> str:
        """Do something to a ModelDeployment; return what the API server says against it."""
        path = f"{MODEL_DEPLOYMENT.path(self.namespace, name)}{'?dryRun=All' if dry else ''}"
        kind = MERGE if method == "PATCH" else ""
        try:
            self.server.request(method, path, body, token=self.people[who].token, kind=kind)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return str(json.loads(refusal.read())["message"])
        return ""

    def user(self, who: str) -> str:
        return f"{who}-of-{self.namespace}"


def body_of(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.name,
        "metadata": {"name": name, "labels": {"risk": "tier1"}},
        "spec": {"model": {"name": "fraud_detector", "version": "8"}, "traffic": {"configMap": {}}} | spec,
    }


@pytest.fixture(scope="module")
def team(api_server: ApiServer) -> Iterator[Team]:
    install_definition(api_server)
    namespace = new_namespace(api_server)
    objects = [each for each in rendered({"namespaces": [namespace]}) if each["kind"] in KINDS]
    for obj in objects:
        apply(api_server, path_of(obj), obj)
    found = Team(api_server, namespace, {})
    for role in GRANTED:
        found.people[role] = api_server.mint(found.user(role), "system:authenticated")
        bind(api_server, namespace, role, found.user(role))
    admin = api_server.request
    admin("POST", MODEL_DEPLOYMENT.path(namespace), body_of("draft", paused=True))
    admin("POST", MODEL_DEPLOYMENT.path(namespace), body_of("serving"))
    admin("POST", MODEL_DEPLOYMENT.path(namespace), body_of("stopped", abort="8"))
    for name in ("serving", "stopped"):
        path = MODEL_DEPLOYMENT.path(namespace, name, "status")
        admin("PATCH", path, {"status": {"stable": {"version": "8"}}}, kind=MERGE)
    soon(lambda: "may not begin" in found.send("ml-engineer", "POST", "", body_of("new")))
    yield found
    for obj in objects:
        admin("DELETE", path_of(obj))


def apply(server: ApiServer, path: str, obj: Object) -> None:
    server.request("PATCH", f"{path}?fieldManager=helm&force=true", obj, kind="application/apply-patch+yaml")


def bind(server: ApiServer, namespace: str, role: str, user: str) -> None:
    server.request(
        "POST",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
        {
            "metadata": {"name": f"binding-{secrets.token_hex(4)}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"modelramp-{role}"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        },
    )


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "the admission policy was not taken up"
        time.sleep(0.1)


@pytest.mark.parametrize("role", GRANTED)
def test_a_role_has_these_verbs_and_no_other(team: Team, role: str) -> None:
    nobody = team.server.mint(f"nobody-{secrets.token_hex(4)}", "system:authenticated")
    everybody = rights(team.server, nobody, team.namespace)
    found = rights(team.server, team.people[role], team.namespace)
    assert {resource: verbs for resource, verbs in found.items() if verbs != everybody.get(resource)} == GRANTED[role]
    assert rights(team.server, team.people[role], "kube-system") == rights(team.server, nobody, "kube-system")


MAY = {
    "write a draft": ("POST", "", body_of("new", paused=True)),
    "edit a draft": ("PATCH", "draft", {"spec": {"model": {"version": "9"}, "serving": {"replicas": 3}}}),
    "delete a draft": ("DELETE", "draft", None),
    "pause what serves": ("PATCH", "serving", {"spec": {"paused": True}}),
    "abort what serves": ("PATCH", "serving", {"spec": {"abort": "8"}}),
    "annotate what serves": ("PATCH", "serving", {"metadata": {"annotations": {"ticket": "123"}}}),
}
MAY_NOT = {
    "begin a rollout": (
        ("POST", "", body_of("new")),
        "begin a rollout: {promote}. Write spec.paused: true, and have a release manager set it to false",
    ),
    "let a draft go": (
        ("PATCH", "draft", {"spec": {"paused": False}}),
        "set spec.paused to false: {promote}. To pause needs no more than to patch",
    ),
    "set the pin": (
        ("PATCH", "serving", {"spec": {"model": {"version": "9"}}}),
        "change spec.model.version from 8 to 9: {promote}",
    ),
    "approve": (
        ("PATCH", "serving", {"spec": {"approve": "8/50"}}),
        "approve 8/50: {approve}",
    ),
    "override a gate": (
        ("PATCH", "draft", {"spec": {"gates": {"overrides": OVERRIDES}}}),
        "override a gate (metric:auc): {override}",
    ),
    "take an abort back": (
        ("PATCH", "stopped", {"spec": {"abort": None}}),
        "take spec.abort of version 8 back: {promote}. To abort needs no more than to patch",
    ),
    "loosen what watches": (
        ("PATCH", "serving", {"spec": LOOSER}),
        (
            "change spec.ramp, spec.retry, spec.serving, spec.shadow of what is being promoted or serves: {promote}. "
            "To pause and to abort need no more than to patch"
        ),
    ),
    "leave a policy": (
        ("PATCH", "serving", {"metadata": {"labels": {"risk": None}}}),
        "change metadata.labels, by which policies select: {promote}",
    ),
    "delete what serves": (
        ("DELETE", "serving", None),
        "delete what serves: {promote}",
    ),
}


def verbs(team: Team) -> dict[str, str]:
    names = ("promote", "approve", "override")
    return {verb: f"it takes the verb '{verb}' on modeldeployments in namespace {team.namespace}" for verb in names}


@pytest.mark.parametrize("action", MAY)
def test_an_ml_engineer_may(team: Team, action: str) -> None:
    assert team.send("ml-engineer", *MAY[action]) == ""


@pytest.mark.parametrize("action", MAY_NOT)
def test_an_ml_engineer_may_not(team: Team, action: str) -> None:
    asked, said = MAY_NOT[action]
    refused = team.send("ml-engineer", *asked)
    assert refused.partition("denied request: ")[2] == (
        f"{team.user('ml-engineer')} may not {said.format(**verbs(team))}"
    )


@pytest.mark.parametrize("action", [*MAY, *MAY_NOT])
def test_a_release_manager_may(team: Team, action: str) -> None:
    asked = MAY.get(action) or MAY_NOT[action][0]
    assert team.send("release-manager", *asked) == ""


@pytest.mark.parametrize("action", [*MAY, *MAY_NOT])
@pytest.mark.parametrize("role", ["data-scientist", "service-account"])
def test_who_only_reads_may_nothing(team: Team, role: str, action: str) -> None:
    asked = MAY.get(action) or MAY_NOT[action][0]
    assert "cannot" in team.send(role, *asked)


def test_a_release_manager_writes_the_weights_by_hand(team: Team) -> None:
    team.server.request("POST", CONFIG_MAP.path(team.namespace), {"metadata": {"name": "serving-traffic"}})
    path = f"{CONFIG_MAP.path(team.namespace, 'serving-traffic')}?dryRun=All"
    weights = {"data": {"weight.v8": "0", "weight.v7": "100"}}
    team.server.request("PATCH", path, weights, token=team.people["release-manager"].token, kind=MERGE)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        team.server.request("PATCH", path, weights, token=team.people["ml-engineer"].token, kind=MERGE)


def test_the_end_of_a_namespace_is_held_up_by_nothing(team: Team) -> None:
    controller = "system:serviceaccount:kube-system:namespace-controller"
    team.people["controller"] = team.server.mint(controller, "system:serviceaccounts")
    bind(team.server, team.namespace, "ml-engineer", controller)
    assert team.send("controller", "DELETE", "serving") == ""


def assert_labels_and_pins(team: Team) -> None:
    """Assert that an override gets under a policy by no change of labels, and that a way back is not asked."""
    overridden = body_of("overridden", gates={"overrides": OVERRIDES})
    overridden["metadata"]["labels"] = {"risk": "tier3"}
    assert team.send("colleague", "POST", "", overridden, dry=False) == ""
    labels = {"metadata": {"labels": {"risk": "tier1"}}}
    assert "may not override metric:auc" in team.send("colleague", "PATCH", "overridden", labels)
    assert team.send("officer", "PATCH", "overridden", labels, dry=False) == ""
    back = {"spec": {"model": {"version": "7"}}}
    assert team.send("colleague", "PATCH", "overridden", back) == ""


def test_a_policy_says_to_whom_it_allows_an_override(team: Team) -> None:
    for who, group in (("officer", "risk-officers"), ("colleague", "system:authenticated")):
        team.people[who] = team.server.mint(team.user(who), group)
        bind(team.server, team.namespace, "release-manager", team.user(who))
    right = {"gates": ["metric:*"], "groups": ["risk-officers"]}
    spec = {
        "selector": {"namespaces": [team.namespace], "labels": {"risk": "tier1"}, "tags": {"risk": "tier1"}},
        "overrides": {"allowed": [right]},
    }
    name = f"tier1-{secrets.token_hex(2)}"
    path = PROMOTION_POLICY.path(None, name)
    head = {"apiVersion": PROMOTION_POLICY.api_version, "kind": "PromotionPolicy", "metadata": {"name": name}}
    apply(team.server, path, head | {"spec": spec})
    asked = ("PATCH", "draft", {"spec": {"gates": {"overrides": OVERRIDES}}})
    try:
        soon(lambda: team.send("colleague", *asked) != "")
        assert team.send("colleague", *asked).partition("denied request: ")[2] == (
            f"{team.user('colleague')} may not override metric:auc: PromotionPolicy {name} allows it to others, or to "
            "nobody"
        )
        assert team.send("officer", *asked) == ""
        other = [{"gate": "signature", "reason": "known", "until": UNTIL}]
        change = {"spec": {"gates": {"overrides": other}}}
        assert "may not override signature" in team.send("officer", "PATCH", "draft", change)
        elsewhere = body_of("new", paused=True, gates={"overrides": OVERRIDES}) | {"metadata": {"name": "new"}}
        assert team.send("colleague", "POST", "", elsewhere) == ""
        assert_labels_and_pins(team)
    finally:
        team.server.request("DELETE", path)
