"""What the operator reads of a spec."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelramp.api import Problem, read_spec
from modelramp.api.scalars import Query
from modelramp.rollout import queries, templates
from modelramp.rollout.gates.spec import Dataset, MetricGate, RollbackGate, StagingGate
from modelramp.rollout.spec import (
    Bounds,
    FailureLimit,
    FailureMode,
    Guardrail,
    OnNoData,
    Policy,
    Serving,
    Shadow,
    Spec,
    Step,
)
from tests.api.gate_refusals import GATES
from tests.api.objects import ABSENT, LEAST, MOST, changed, parsed
from tests.api.refusals import REFUSALS, Refusal


def spec_of(body: dict[str, Any]) -> Spec:
    read = read_spec(body)
    assert isinstance(read, Spec), read
    return read


def problem_of(body: dict[str, Any]) -> Problem:
    read = read_spec(body)
    assert isinstance(read, Problem), read
    return read


def test_the_least_gets_careful_defaults() -> None:
    spec = spec_of(parsed(LEAST))
    hour = timedelta(hours=1)
    assert (spec.model_name, spec.version) == ("fraud_detector", "8")
    assert spec.plan.steps == (Step(1, hour), Step(10, hour), Step(50, hour), Step(100, hour))
    assert spec.plan.shadow is None
    assert spec.plan.gates.signature.required
    assert spec.plan.ready_deadline == timedelta(minutes=10)
    assert spec.serving == Serving(replicas=1, keep_warm=2)
    assert spec.traffic.router_replicas == 2
    assert spec.policy is None
    assert not spec.paused


def test_the_most_is_read_whole() -> None:
    spec = spec_of(parsed(MOST))
    assert spec.plan.gates.metrics[1:3] == (
        MetricGate("auc", max_drop=0.01),
        MetricGate("p99_ms", max=50, max_increase=5),
    )
    assert spec.plan.gates.require_policy
    p50, p95, p99 = (timedelta(milliseconds=each) for each in (20, 40, 50))
    dataset = Dataset("payloads", "requests.jsonl")
    assert spec.plan.gates.staging == StagingGate(
        100, 8, p50, p95, p99, 0.01, 512 * 2**20, dataset, timedelta(minutes=5)
    )
    assert spec.plan.gates.rollback == RollbackGate()
    assert spec.policy == Policy("fraud-rules", timedelta(minutes=30))
    assert spec.plan.shadow == Shadow(100, timedelta(hours=24), 10_000)
    assert spec.plan.steps[1:3] == (Step(10, timedelta(minutes=90)), Step(50, timedelta(hours=2), approval=True))
    assert spec.plan.ready_deadline == timedelta(minutes=5)
    assert spec.plan.effect_deadline == timedelta(minutes=3)
    assert spec.plan.guardrails[2] == Guardrail(
        name="score-drift",
        query="max(modelramp_prediction_psi{namespace={{namespace}}, version={{candidate}}})",
        bounds=Bounds(0, 0.2),
        tolerance=1.2,
        window=timedelta(minutes=2),
        failure_limit=FailureLimit(2, FailureMode.CONSECUTIVE),
        on_no_data=OnNoData.HOLD,
        no_data_deadline=timedelta(minutes=10),
        min_passes=5,
    )
    assert (spec.abort, spec.approve, spec.retry) == ("7", "8/50", "after the fix of the feature store")
    assert spec.traffic.router_replicas == 3


def test_what_runs_is_plain_kubernetes() -> None:
    serving = spec_of(parsed(MOST)).serving
    assert serving.resources["requests"] == {"cpu": "500m", "memory": "512Mi"}
    assert serving.resources["limits"]["cpu"] == 2
    assert serving.env[0] == {"name": "LOG_LEVEL", "value": "info"}
    assert serving.env[1]["valueFrom"]["secretKeyRef"] == {"name": "features", "key": "token"}
    assert (serving.service_account, serving.registry_secret) == ("scorer", "mlflow")
    assert serving.tolerations == ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},)
    assert (serving.node_selector, serving.image_pull_secrets) == ({"kubernetes.io/arch": "amd64"}, ("registry",))
    assert serving.pod_template["spec"] == {"priorityClassName": "high"}
    assert serving.autoscaling is not None
    assert (serving.pods, serving.autoscaling.max) == (2, 10)
    json.dumps([serving.resources, serving.env, serving.autoscaling.metrics, serving.affinity])


def test_a_metric_that_is_none_is_named() -> None:
    scaling = {"max": 2, "metrics": [{"type": "Pods", "resource": {}}]}
    problem = problem_of(changed(parsed(LEAST), **{"spec.serving": {"autoscaling": scaling}}))
    assert problem.field == "spec.serving.autoscaling.metrics[0]"
    assert "Resource, ContainerResource, Pods, Object, External" in problem.message


def test_a_template_brings_its_query_and_its_slack() -> None:
    rails = [
        {"name": "errors", "template": "error-rate", "compare": "Stable"},
        {"name": "own-slack", "template": "error-rate", "compare": "Stable", "slack": 0},
        {"name": "latency", "template": "latency-p99", "maxDuration": "80ms"},
    ]
    errors, own_slack, latency = spec_of(changed(parsed(LEAST), **{"spec.guardrails": rails})).plan.guardrails
    assert errors.query == templates.ROUTER["error-rate"].query
    assert errors.compare
    assert errors.slack == templates.ROUTER["error-rate"].slack > 0
    assert own_slack.slack == 0
    assert latency.bounds == Bounds(max=0.08)


def test_a_policys_template_keeps_its_name_until_its_query_is_known() -> None:
    rails = [{"name": "late", "template": "latency-of-cards", "maxDuration": "80ms"}]
    (late,) = spec_of(changed(parsed(LEAST), **{"spec.guardrails": rails})).plan.guardrails
    assert (late.query, late.template, late.bounds) == ("", "latency-of-cards", Bounds(max=0.08))


@pytest.mark.parametrize(
    "refusal", [each for each in (*REFUSALS, *GATES) if each.spec_only], ids=lambda each: each.wrong
)
def test_the_operator_refuses_what_the_api_refuses(refusal: Refusal) -> None:
    problem = problem_of(changed(parsed(MOST), **refusal.changes))
    assert problem.field == refusal.field
    assert problem.message


def test_a_problem_names_field_and_value() -> None:
    problem = problem_of(changed(parsed(MOST), **{"spec.ramp.steps[0].weight": 0}))
    assert str(problem) == "spec.ramp.steps[0].weight: 0: should be greater than or equal to 1"


def test_a_problem_shows_nothing_of_the_environment() -> None:
    variable = {"name": "TOKEN", "value": "hunter2" * 1000}
    problem = problem_of(changed(parsed(MOST), **{"spec.serving.env[0]": variable}))
    assert problem.field == "spec.serving.env[0].value"
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"spec": []}, {"spec": "x"}])
def test_no_spec_is_a_problem(body: dict[str, Any]) -> None:
    assert problem_of(body).field == "spec"


def test_a_newer_api_s_field_is_skipped() -> None:
    body = parsed(LEAST)
    assert read_spec(changed(body, **{"spec.future": {"configMap": "x"}})) == read_spec(body)


@pytest.mark.parametrize(
    "name", ["fraud_detector", "yolov8_detector", "ipv6-scorer", "new_user_churn", "old_faithful", "Fraud Detector",
             "census_2010", "v", "reversion_1", "renewal"],
)  # fmt: skip
def test_the_name_of_a_product_is_good(name: str) -> None:
    assert spec_of(changed(parsed(LEAST), **{"spec.model.name": name})).model_name == name


class TestTheFingerprint:
    """It says whether a rejected pin may be tried again."""

    def test_is_as_it_always_was(self) -> None:
        assert spec_of(parsed(LEAST)).fingerprint == "1:e82f92a69cbb7173"

    def test_does_not_see_defaults(self) -> None:
        spelled = changed(
            parsed(LEAST),
            **{"spec.gates": {"metrics": [], "signature": {"required": True}}, "spec.retry": "", "spec.guardrails": []},
        )
        assert spec_of(spelled).fingerprint == spec_of(parsed(LEAST)).fingerprint

    @pytest.mark.parametrize(
        "changes",
        [
            {"spec.serving.replicas": 7},
            {"spec.serving.keepWarm": 0},
            {"spec.serving.autoscaling.max": 12},
            {"spec.paused": True},
            {"spec.abort": "8"},
            {"spec.approve": "8/10"},
            {"spec.traffic.configMap.routerReplicas": 1},
            {"spec.shadow.duration": "1440m"},
            {"spec.ramp.steps[1].hold": "90m"},
            {"spec.policy.watchFor": "31m"},
        ],
    )
    def test_does_not_see_what_no_attempt_depends_on(self, changes: dict[str, Any]) -> None:
        assert spec_of(changed(parsed(MOST), **changes)).fingerprint == spec_of(parsed(MOST)).fingerprint

    @pytest.mark.parametrize(
        "changes",
        [
            {"spec.model.version": "9"},
            {"spec.retry": "2"},
            {"spec.gates.metrics[0].min": 0.9},
            {"spec.gates.signature.required": False},
            {"spec.gates.policy.required": False},
            {"spec.gates.staging.p99": "51ms"},
            {"spec.gates.rollback": ABSENT},
            {"spec.policy.configMap": "other-rules"},
            {"spec.policy": ABSENT},
            {"spec.shadow.percent": 99},
            {"spec.shadow": ABSENT},
            {"spec.ramp.steps[0].hold": "2h"},
            {"spec.guardrails[1].maxDuration": "81ms"},
            {"spec.serving.resources.limits.memory": "2Gi"},
            {"spec.serving.image": "registry.example.com/scorer:1.5"},
        ],
    )
    def test_sees_what_an_attempt_depends_on(self, changes: dict[str, Any]) -> None:
        assert spec_of(changed(parsed(MOST), **changes)).fingerprint != spec_of(parsed(MOST)).fingerprint

    def test_does_not_see_the_order_of_guardrails(self) -> None:
        body = parsed(MOST)
        backwards = changed(body, **{"spec.guardrails": body["spec"]["guardrails"][::-1]})
        assert spec_of(backwards).fingerprint == spec_of(body).fingerprint


PIECES = (
    *("up", "{", "}", "{{", "}}", "{{candidate}}", "{{ version }}", "{{canary}}", '"', "'", "`", "\\", "a", " ", "\n"),
    *("=~", "!~", "=", "# a note", "{v=", '"a{2}"', "[{{window}}]", "v={{version}}, ", "(", "0.5"),
)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
def test_a_query_that_is_accepted_can_be_filled_in(query: str) -> None:
    (rule,) = (part for part in Query.__metadata__ if hasattr(part, "holds"))
    assert rule.holds
    if rule.holds(query):
        assert not list(queries.problems(query))
        assert queries.render(query, dict.fromkeys(queries.PLACEHOLDERS, "x"))


@pytest.mark.parametrize(
    "template", [*templates.ROUTER.values(), *templates.ISTIO.values(), *templates.GATEWAY.values()]
)
def test_a_built_in_query_would_be_accepted(template: templates.Template) -> None:
    rail = [{"name": "own", "query": template.query, "max": 1, "compare": "Stable"}]
    assert spec_of(changed(parsed(LEAST), **{"spec.guardrails": rail})).plan.guardrails[0].query == template.query
