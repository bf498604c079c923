"""PromotionPolicies: what the API server refuses, and that the operator reads what it takes."""

from __future__ import annotations

import json
import urllib.error
from datetime import timedelta
from typing import Any

import pytest
import yaml

from modelramp.api.convert import Problem
from modelramp.api.crd import PROMOTION_POLICY, definition
from modelramp.api.promotion import read_policy
from modelramp.rollout.gates.spec import RollbackGate, StagingGate
from modelramp.rollout.rulebook import Floor, PromotionPolicy, RampFloor, Selector
from modelramp.rollout.spec import Shadow
from tests.api.served import Answer, Served
from tests.api.test_generated import _fields

FULL = yaml.safe_load("""
apiVersion: modelramp.dev/v1alpha1
kind: PromotionPolicy
metadata: {name: tier1}
spec:
  selector:
    namespaces: [shop, bank]
    namespaceLabels: {env: production}
    labels: {team: fraud}
    tags: {risk: tier1}
  floor:
    gates:
      metrics: [{metric: auc, min: 0.9}]
      signature: {required: true}
      staging: {requests: 500, p99: 80ms, memory: 512Mi}
      rollback: {}
    shadow: {percent: 50, duration: 24h, minRequests: 10000}
    ramp: {firstStep: 1, hold: 1h, minRequests: 100}
    guardrails:
    - {name: errors, template: error-rate, max: 0.05}
    - {name: cards, template: latency-of-cards, maxDuration: 80ms}
  overrides:
    allowed:
    - {gates: ["metric:*"], groups: [risk-officers], users: [meera]}
  templates:
  - name: latency-of-cards
    query: max(card_seconds{version={{version}}})
""")
REFUSED = {
    "spec.floor.shadow": ({"floor": {"shadow": {}}}, "the shadow would end before it began"),
    "spec.floor.ramp.firstStep": ({"floor": {"ramp": {"firstStep": 0}}}, "greater than or equal to 1"),
    "spec.floor.ramp.hold": ({"floor": {"ramp": {"hold": "a day"}}}, "'a day' is not a duration"),
    "spec.floor.guardrails[0]": ({"floor": {"guardrails": [{"name": "x", "max": 1}]}}, "asks nothing"),
    "spec.floor.gates.metrics[0]": ({"floor": {"gates": {"metrics": [{"metric": "auc"}]}}}, "has no bound"),
    "spec.overrides.allowed[0]": ({"overrides": {"allowed": [{"gates": ["metric:auc"]}]}}, "nobody may"),
    "spec.templates[0].name": (
        {"templates": [{"name": "error-rate", "query": "x{v={{version}}}"}]},
        "'error-rate' is a built-in template",
    ),
    "spec.templates[0].query": (
        {"templates": [{"name": "mine", "query": "up"}]},
        "must name {{version}} or {{backend}}",
    ),
}


def policy(spec: dict[str, Any]) -> dict[str, Any]:
    return FULL | {"spec": spec}


def create(served: Served, body: dict[str, Any]) -> Answer:
    path = "/apis/modelramp.dev/v1alpha1/promotionpolicies?fieldValidation=Strict&dryRun=All"
    try:
        return Answer(200, served.server.request("POST", path, body))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, json.loads(refusal.read()))


def test_the_operator_reads_every_field() -> None:
    read = read_policy(FULL)
    assert isinstance(read, PromotionPolicy)
    assert read.selector == Selector(("shop", "bank"), {"env": "production"}, {"team": "fraud"}, {"risk": "tier1"})
    assert read.floor.shadow == Shadow(50, timedelta(hours=24), 10000)
    assert read.floor.ramp == RampFloor(1, timedelta(hours=1), 100)
    assert [gate.metric for gate in read.floor.gates.metrics] == ["auc"]
    assert read.floor.gates.signature.required
    assert read.floor.gates.staging == StagingGate(500, p99=timedelta(milliseconds=80), memory=2**29)
    assert read.floor.gates.rollback == RollbackGate()
    errors, cards = read.floor.guardrails
    assert (errors.template, errors.query, cards.template, cards.query) == ("error-rate", "", "latency-of-cards", "")
    assert read.allows("metric:auc")
    assert not read.allows("signature")
    assert read.templates == {"latency-of-cards": "max(card_seconds{version={{version}}})"}


def test_an_empty_one_asks_for_nothing() -> None:
    read = read_policy(policy({}))
    assert isinstance(read, PromotionPolicy)
    assert (read.selector, read.floor) == (Selector(), Floor())


def test_every_field_is_explained_and_has_an_end() -> None:
    schema = definition(PROMOTION_POLICY)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    fields = list(_fields(schema["spec"], "spec"))
    assert [path for path, field in fields if not field.get("description")] == []
    assert [path for path, field in fields if field.get("type") == "array" and "maxItems" not in field] == []


@pytest.mark.parametrize("field", REFUSED)
def test_the_operator_refuses_with_field_and_reason(field: str) -> None:
    spec, said = REFUSED[field]
    found = read_policy(policy(spec))
    assert isinstance(found, Problem)
    assert found.field == field
    assert said in str(found)


@pytest.mark.apiserver
def test_a_real_api_server_accepts_it_to_the_last_field(served: Served) -> None:
    answer = create(served, FULL)
    assert answer.code == 200, answer.causes


@pytest.mark.apiserver
@pytest.mark.parametrize("field", REFUSED)
def test_a_real_api_server_refuses_what_the_operator_refuses(served: Served, field: str) -> None:
    spec, said = REFUSED[field]
    answer = create(served, policy(spec))
    assert answer.code == 422
    assert any(at == field and said in message for at, message in answer.causes), answer.causes


@pytest.mark.apiserver
def test_its_name_is_a_label_for_guardrails_are_named_after_it(served: Served) -> None:
    answer = create(served, FULL | {"metadata": {"name": "tier.1"}})
    assert [at for at, _ in answer.causes] == ["metadata.name"]
