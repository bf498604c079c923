"""What the API refuses, in one table: what is wrong, the field that the answer names, and words in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.api.objects import ABSENT


@dataclass(frozen=True)
class Refusal:
    """One fault in an object that is else as good as `MOST`; `words` are in the answer about `field`."""

    wrong: str
    changes: dict[str, Any]
    field: str
    words: str
    spec_only: bool = True
    """The operator refuses it too when it reads the spec; else only the API server can."""
    also: tuple[str, ...] = ()
    """Other fields that the answer is about, for the same fault."""


def _steps(*weights: int) -> dict[str, Any]:
    return {"spec.ramp.steps": [{"weight": weight} for weight in weights]}


def _guardrail(**fields: Any) -> dict[str, Any]:
    return {"spec.guardrails": [{"name": "checked", **fields}]}


def _query(text: str, **fields: Any) -> dict[str, Any]:
    return _guardrail(query=text, **({"max": 1} | fields))


def _model_name(name: str) -> Refusal:
    words = "has a version, a date or a word such as final"
    return Refusal(f"the model name {name}", {"spec.model.name": name}, "spec.model.name", words)


def _object_name(name: str, words: str) -> Refusal:
    return Refusal(f"the object name {name}", {"metadata.name": name}, "metadata.name", words, spec_only=False)


_RAIL = "spec.guardrails[0]"

MODEL = (
    Refusal("no model", {"spec.model": ABSENT}, "spec.model", "equired"),
    Refusal("no version", {"spec.model.version": ABSENT}, "spec.model.version", "equired"),
    Refusal("a version with a v", {"spec.model.version": "v8"}, "spec.model.version", "'v8' is no registry version"),
    Refusal("an alias", {"spec.model.version": "champion"}, "spec.model.version", 'such as "8"; never an alias'),
    Refusal("a stage", {"spec.model.version": "Production"}, "spec.model.version", "or a stage"),
    Refusal("version 0", {"spec.model.version": "0"}, "spec.model.version", "is no registry version"),
    Refusal("an unquoted version", {"spec.model.version": 8}, "spec.model.version", "string"),
    Refusal("a blank at the end", {"spec.model.name": "fraud "}, "spec.model.name", "is no model name"),
    Refusal("a slash in the name", {"spec.model.name": "fraud/8"}, "spec.model.name", "is no model name"),
    Refusal("a new line in the name", {"spec.model.name": "fraud\n"}, "spec.model.name", "is no model name"),
    *map(
        _model_name,
        (
            "fraud_detector_v2", "fraud_detector_v2_final", "fraud-final", "fraud-new", "fraud_old", "fraud.tmp",
            "fraud_2024-01-01", "fraud_20240101", "20240101_fraud", "fraud_final2", "Fraud V2", "fraud_version_3",
        ),
    ),
)  # fmt: skip

NAMES = (
    _object_name("2fraud", "'2fraud' is no DNS-1123 label that begins with a letter"),
    _object_name("fraud.detector", "for Services are named after it"),
    _object_name("fraud-v8", "ends like a version: NAME-v8 is the Service of version 8"),
    _object_name("f" * 41, "may not be more than 40 bytes"),
)

SERVING = (
    Refusal("no replicas", {"spec.serving.replicas": 0}, "spec.serving.replicas", "greater than or equal to 1"),
    Refusal("eleven warm", {"spec.serving.keepWarm": 11}, "spec.serving.keepWarm", "less than or equal to 10"),
    Refusal(
        "a runtime by its image",
        {"spec.serving.runtime": "a/b:1"},
        "spec.serving.runtime",
        "no DNS-1123 label",
        also=("spec.serving.capture",),
    ),
    Refusal(
        "a runtime that is not described",
        {"spec.serving.runtime": "custom"},
        "spec.serving.custom",
        "give both or neither",
        also=("spec.serving.capture",),
    ),
    Refusal("a blank in the image", {"spec.serving.image": "a b"}, "spec.serving.image", "'a b' is no image"),
    Refusal(
        "no amount of memory",
        {"spec.serving.resources.requests.memory": "512 MB"},
        "spec.serving.resources.requests.memory",
        "must be an amount, such as 2, 500m or 512Mi",
    ),
    Refusal(
        "less than no cpu", {"spec.serving.resources.limits.cpu": -1}, "spec.serving.resources.limits.cpu", "an amount"
    ),
    Refusal(
        "a variable of ours",
        {"spec.serving.env[0].name": "MODEL_VERSION"},
        "spec.serving.env[0].name",
        "'MODEL_VERSION' is set by the operator",
    ),
    Refusal(
        "another directory for the rules",
        {"spec.serving.env[0].name": "POLICY_DIR"},
        "spec.serving.env[0].name",
        "'POLICY_DIR' is set by the operator",
    ),
    Refusal(
        "answers that a server does not keep",
        {"spec.serving": {"runtime": "mlserver", "capture": {}}},
        "spec.serving.capture",
        "runtime mlserver keeps no answers; mlflow does",
    ),
    Refusal("nothing kept", {"spec.serving.capture.percent": 0}, "spec.serving.capture.percent", "equal to 1"),
    Refusal(
        "another place for kept answers",
        {"spec.serving.env[0].name": "MODELRAMP_CAPTURE_PEERS"},
        "spec.serving.env[0].name",
        "'MODELRAMP_CAPTURE_PEERS' is set by the operator",
    ),
    Refusal("a path as rules", {"spec.policy.configMap": "a/b"}, "spec.policy.configMap", "is no DNS-1123 name"),
    Refusal("no variable", {"spec.serving.env[0].name": "A-B"}, "spec.serving.env[0].name", "is no name of a variable"),
    Refusal(
        "a variable with two values",
        {"spec.serving.env[1].value": "secret"},
        "spec.serving.env[1]",
        "variable 'FEATURES_TOKEN' has both value and valueFrom",
    ),
    Refusal(
        "a variable from two places",
        {"spec.serving.env[1].valueFrom.fieldRef": {"fieldPath": "metadata.name"}},
        "spec.serving.env[1].valueFrom",
        "exactly one of secretKeyRef, configMapKeyRef and fieldRef",
    ),
    Refusal(
        "a path as a Secret",
        {"spec.serving.registrySecret.name": "../mlflow"},
        "spec.serving.registrySecret.name",
        "is no DNS-1123 name",
    ),
    Refusal(
        "a path as a ServiceAccount",
        {"spec.serving.serviceAccountName": ".."},
        "spec.serving.serviceAccountName",
        "is no DNS-1123 name",
    ),
    Refusal(
        "more pods at least than at most",
        {"spec.serving.autoscaling": {"min": 3, "max": 2, "cpuUtilization": 70}},
        "spec.serving.autoscaling.min",
        "min is over max",
    ),
    Refusal(
        "nothing to scale on",
        {"spec.serving.autoscaling": {"max": 2}},
        "spec.serving.autoscaling",
        "needs exactly one of cpuUtilization and metrics",
    ),
    Refusal(
        "two things to scale on",
        {"spec.serving.autoscaling": {"max": 2, "cpuUtilization": 70, "metrics": [{"type": "Pods", "pods": {}}]}},
        "spec.serving.autoscaling",
        "needs exactly one of cpuUtilization and metrics",
    ),
    Refusal(
        "a share of no cpu",
        {"spec.serving.autoscaling": {"max": 2, "cpuUtilization": 70}, "spec.serving.resources": {}},
        "spec.serving.autoscaling.cpuUtilization",
        "resources.requests.cpu, which is not given",
    ),
    Refusal(
        "a toleration of no effect",
        {"spec.serving.tolerations": [{"effect": "Never"}]},
        "spec.serving.tolerations[0].effect",
        "NoSchedule",
    ),
    Refusal("some security", {"spec.serving.podSecurity": "Baseline"}, "spec.serving.podSecurity", "Relaxed"),
    Refusal(
        "no time to get ready", {"spec.serving.readyDeadline": "0s"}, "spec.serving.readyDeadline", "of at least 1ms"
    ),
)

_STAGING = "spec.gates.staging"
PLAN = (
    Refusal(
        "a gate without a bound",
        {"spec.gates.metrics[0].min": ABSENT},
        "spec.gates.metrics[0]",
        "the gate on 'auc' has no bound: give min, max, maxDrop, maxIncrease",
    ),
    Refusal(
        "a gate that nothing passes",
        {"spec.gates.metrics[0].max": 0.5},
        "spec.gates.metrics[0].min",
        "min is over max: nothing could pass",
    ),
    Refusal(
        "a drop under 0",
        {"spec.gates.metrics[1].maxDrop": -0.1},
        "spec.gates.metrics[1].maxDrop",
        "greater than or equal to 0",
    ),
    Refusal("no requests to replay", {_STAGING: {"requests": 0}}, f"{_STAGING}.requests", "greater than or equal to 1"),
    Refusal("65 at a time", {_STAGING: {"concurrency": 65}}, f"{_STAGING}.concurrency", "less than or equal to 64"),
    Refusal("a latency of nothing", {_STAGING: {"p99": "0s"}}, f"{_STAGING}.p99", "is not a duration of at least"),
    Refusal("errors in percent", {_STAGING: {"errorRate": 5}}, f"{_STAGING}.errorRate", "less than or equal to 1"),
    Refusal("512 MB resident", {_STAGING: {"memory": "512 MB"}}, f"{_STAGING}.memory", "must be an amount, such as 2"),
    Refusal("a deadline of half a second", {_STAGING: {"deadline": "500ms"}}, f"{_STAGING}.deadline", "of at least 1s"),
    Refusal("a dataset from nowhere", {_STAGING: {"dataset": {}}}, f"{_STAGING}.dataset.configMapKeyRef", "equired"),
    Refusal("101 % of shadow", {"spec.shadow.percent": 101}, "spec.shadow.percent", "less than or equal to 100"),
    Refusal("a shadow without an end", {"spec.shadow": {"percent": 50}}, "spec.shadow", "give duration, minRequests"),
    Refusal("no time to follow", {"spec.ramp.effectDeadline": "0s"}, "spec.ramp.effectDeadline", "of at least 1ms"),
    Refusal("no steps", {"spec.ramp.steps": []}, "spec.ramp.steps", "at least 1 item"),
    Refusal("21 steps", _steps(*range(1, 21), 100), "spec.ramp.steps", "at most 20 items"),
    Refusal("falling weights", _steps(50, 10, 100), "spec.ramp.steps", "weights must rise from step to step"),
    Refusal("equal weights", _steps(10, 10, 100), "spec.ramp.steps", "weights must rise from step to step"),
    Refusal("a ramp to 50", _steps(10, 50), "spec.ramp.steps", "the last step's weight must be 100"),
    Refusal("weight 0", _steps(0, 100), "spec.ramp.steps[0].weight", "greater than or equal to 1"),
    Refusal("weight 101", _steps(1, 101), "spec.ramp.steps[1].weight", "equal to 100", also=("spec.ramp.steps",)),
    Refusal(
        "a duration in words",
        {"spec.ramp.steps[0].hold": "1 hour"},
        "spec.ramp.steps[0].hold",
        "'1 hour' is not a duration: write whole numbers with h, m, s or ms, such as 1h30m",
    ),
    Refusal("a duration in days", {"spec.shadow.duration": "1d"}, "spec.shadow.duration", "'1d' is not a duration"),
    Refusal("a duration without unit", {"spec.shadow.duration": "90"}, "spec.shadow.duration", "is not a duration"),
    Refusal("a negative duration", {"spec.shadow.duration": "-5m"}, "spec.shadow.duration", "is not a duration"),
)

GUARDRAILS = (
    Refusal("no bound", _guardrail(template="error-rate"), _RAIL, "guardrail 'checked' has no bound: give min, max"),
    Refusal("no question", _guardrail(max=1), _RAIL, "guardrail 'checked' asks nothing: give template or query"),
    Refusal(
        "two questions", _guardrail(max=1, template="error-rate", query="up"), _RAIL, "has both template and query"
    ),
    Refusal(
        "a source of a query", _query("up", source="Server"), f"{_RAIL}.source", "only a built-in template has a source"
    ),
    Refusal(
        "a source of a policy's template",
        _guardrail(max=1, template="cards", source="Server"),
        f"{_RAIL}.source",
        "only a built-in template has a source",
    ),
    Refusal(
        "no template's name", _guardrail(max=1, template="Error Rate"), f"{_RAIL}.template", "is no DNS-1123 label"
    ),
    Refusal("two upper bounds", _query("up", maxDuration="1s"), f"{_RAIL}.max", "are the same bound: keep one"),
    Refusal("nothing can pass", _query("up", min=2), f"{_RAIL}.min", "min is over max"),
    Refusal(
        "a latency as a number",
        _guardrail(template="latency-p99", max=80),
        f"{_RAIL}.max",
        "write maxDuration, such as",
    ),
    Refusal(
        "an error rate as a duration",
        _guardrail(template="error-rate", maxDuration="1s"),
        f"{_RAIL}.maxDuration",
        "write max, such as 0.01 for 1 %",
    ),
    Refusal(
        "disagreement beside stable",
        _guardrail(template="disagreement-rate", compare="Stable"),
        f"{_RAIL}.compare",
        "compares the candidate with stable by itself",
    ),
    Refusal("5 for 5 %", _guardrail(template="error-rate", max=5), f"{_RAIL}.max", "is a share from 0 to 1"),
    Refusal("less than stable", _query("up", tolerance=0.9), f"{_RAIL}.tolerance", "greater than or equal to 1"),
    Refusal("slack under 0", _query("up", slack=-1), f"{_RAIL}.slack", "greater than or equal to 0"),
    Refusal(
        "a window under the interval",
        _query("up", interval="1m", window="15s"),
        f"{_RAIL}.window",
        "the window must be at least the interval, 1m, not 15s",
    ),
    Refusal("twice a second", _query("up", interval="500ms"), f"{_RAIL}.interval", "of at least 1s"),
    Refusal("no data passes", _query("up", onNoData="Pass"), f"{_RAIL}.onNoData", "Hold"),
    Refusal("a breach by none", _query("up", failureLimit={"count": 0}), f"{_RAIL}.failureLimit.count", "equal to 1"),
    Refusal("no passes", _query("up", minPasses=0), f"{_RAIL}.minPasses", "greater than or equal to 1"),
    Refusal("compared with a friend", _query("up", compare="Friend"), f"{_RAIL}.compare", "Stable"),
    Refusal(
        "the same question twice",
        _query("up{version={{candidate}}}", compare="Stable"),
        f"{_RAIL}.query",
        "it must name {{version}} or {{backend}}, else both answers are the same",
    ),
    Refusal(
        "an unknown placeholder", _query("up{v={{canary}}}"), f"{_RAIL}.query", "the placeholders are {{namespace}}"
    ),
    Refusal("quotes around one", _query('up{v="{{candidate}}"}'), f"{_RAIL}.query", "they bring their own quotes"),
    Refusal("single quotes", _query("up{v='{{candidate}}'}"), f"{_RAIL}.query", "they bring their own quotes"),
    Refusal("backquotes", _query("up{v=`{{candidate}}`}"), f"{_RAIL}.query", "they bring their own quotes"),
    Refusal("an open quote", _query('up{v="8}'), f"{_RAIL}.query", "close every quote"),
    Refusal("no label as a name", {"spec.guardrails[0].name": "Errors"}, f"{_RAIL}.name", "is no DNS-1123 label"),
    Refusal(
        "33 guardrails",
        {"spec.guardrails": [{"name": f"g{number}", "query": "up", "max": 1} for number in range(33)]},
        "spec.guardrails",
        "at most 32 items",
    ),
    Refusal(
        "two of one name",
        {"spec.guardrails": [{"name": "up", "query": "up", "max": 1}] * 2},
        "spec.guardrails[1]",
        "Duplicate value",
        spec_only=False,
    ),
)

TRAFFIC_AND_WISHES = (
    Refusal("no traffic", {"spec.traffic": ABSENT}, "spec.traffic", "equired"),
    Refusal("no backend", {"spec.traffic": {}}, "spec.traffic", "needs exactly one backend, of: configMap"),
    Refusal(
        "no router",
        {"spec.traffic.configMap.routerReplicas": 0},
        "spec.traffic.configMap.routerReplicas",
        "greater than or equal to 1",
    ),
    Refusal("two backends", {"spec.traffic.istio": {"delegate": {}}}, "spec.traffic", "configMap, istio, httpRoute"),
    Refusal(
        "a rule that says nothing",
        {"spec.traffic": {"istio": {"delegate": {}, "destinationRule": {"trafficPolicy": {}}}}},
        "spec.traffic.istio.destinationRule.trafficPolicy",
        "at least 1",
    ),
    Refusal("no way", {"spec.traffic": {"istio": {}}}, "spec.traffic.istio", "of: create, delegate, patch"),
    Refusal(
        "two ways",
        {"spec.traffic": {"istio": {"delegate": {}, "create": {"hosts": ["fraud"]}}}},
        "spec.traffic.istio",
        "needs exactly one way to hold the VirtualService",
    ),
    Refusal(
        "no host",
        {"spec.traffic": {"istio": {"create": {"hosts": ["https://fraud"]}}}},
        "spec.traffic.istio.create.hosts[0]",
        "'https://fraud' is no host: write a DNS name such as fraud.example.com",
    ),
    Refusal(
        "no gateway",
        {"spec.traffic": {"istio": {"create": {"hosts": ["fraud"], "gateways": ["a/b/c"]}}}},
        "spec.traffic.istio.create.gateways[0]",
        "'a/b/c' is no gateway: write NAME or NAMESPACE/NAME",
    ),
    Refusal(
        "no route's name",
        {"spec.traffic": {"istio": {"patch": {"virtualService": "shop", "route": "a b"}}}},
        "spec.traffic.istio.patch.route",
        "'a b' is no route's name",
    ),
    Refusal(
        "no count",
        {"spec.traffic": {"httpRoute": {"name": "shop", "requestsQuery": "sum(up{v={{who}}})"}}},
        "spec.traffic.httpRoute.requestsQuery",
        "the query cannot be filled in",
    ),
    Refusal("approval of all", {"spec.approve": "yes"}, "spec.approve", "'yes' approves no step: write VERSION/WEIGHT"),
    Refusal("approval of 101 %", {"spec.approve": "8/101"}, "spec.approve", "such as 8/50"),
    Refusal("abort by alias", {"spec.abort": "champion"}, "spec.abort", "'champion' is no registry version"),
    Refusal("a long nonce", {"spec.retry": "x" * 65}, "spec.retry", "64"),
)

REFUSALS = (*MODEL, *NAMES, *SERVING, *PLAN, *GUARDRAILS, *TRAFFIC_AND_WISHES)
