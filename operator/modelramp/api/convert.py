"""From the API's objects to the core's values, and the status back."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from modelramp.api import guardrail, spec
from modelramp.api.codec import UnreadableError, dump, reader
from modelramp.api.gateconvert import core_gates
from modelramp.api.pods import core_tolerations
from modelramp.api.problem import Problem, problem_of, problems_of
from modelramp.api.run import Runtimes, core_serving, find_runtime, template_of
from modelramp.api.traffic import ConfigMapRouter, GatewayRoute, Istio, Traffic
from modelramp.rollout import spec as core
from modelramp.rollout.queries import problems
from modelramp.rollout.runtime import Runtime
from modelramp.rollout.status import Phase, Status
from modelramp.rollout.templates import Template

_log = logging.getLogger(__name__)
_FINGERPRINT = 1
"""Raised only where the same spec must be tried again after an upgrade."""


def read_spec(body: Mapping[str, Any], runtimes: Runtimes | None = None) -> core.Spec | Problem:
    """Read the spec of a ModelDeployment as the API server gave it, defaults and built-in queries filled in.

    `runtimes` are the model servers that there are; None where only the operator knows them.
    """
    try:
        read = spec.Spec.model_validate(body.get("spec"))
    except ValidationError as fault:
        return problem_of(fault, "spec")
    if problem := _first_query_problem(read):
        return problem
    runtime = find_runtime(read, runtimes, _traffic(read.traffic))
    return runtime if isinstance(runtime, Problem) else _core_spec(read, runtime)


def find_problems(body: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the spec of a ModelDeployment, as far as that is told without a cluster."""
    try:
        spec.Spec.model_validate(body.get("spec"))
    except ValidationError as fault:
        return problems_of(fault, "spec")
    read = read_spec(body)
    return [read] if isinstance(read, Problem) else []


def _first_query_problem(read: spec.Spec) -> Problem | None:
    for index, rail in enumerate(read.guardrails):
        for problem in problems(rail.query or ""):
            return Problem(f"spec.guardrails[{index}].query", "", problem)
    routes = {"istio": read.traffic.istio, "httpRoute": read.traffic.http_route, "grpcRoute": read.traffic.grpc_route}
    for field, route in routes.items():
        for problem in problems((route.requests_query if route else None) or ""):
            return Problem(f"spec.traffic.{field}.requestsQuery", "", problem)
    return None


def _core_spec(read: spec.Spec, runtime: Runtime) -> core.Spec:
    return core.Spec(
        model_name=read.model.name,
        version=read.model.version,
        serving=core_serving(read.serving, runtime),
        plan=_plan(read, runtime),
        policy=core.Policy(read.policy.config_map, read.policy.watch_for) if read.policy else None,
        traffic=_traffic(read.traffic),
        paused=read.paused,
        abort=read.abort,
        approve=read.approve,
        retry=read.retry,
        drill=read.drill,
        fingerprint=_fingerprint(read),
    )


def read_traffic(body: Mapping[str, Any]) -> core.Traffic:
    """Read where the split is written, also of a spec that cannot be used otherwise: a retreat needs it."""
    try:
        return _traffic(Traffic.model_validate((body.get("spec") or {}).get("traffic")))
    except (ValidationError, AttributeError):
        return core.ConfigMapTraffic()


def _traffic(traffic: Traffic) -> core.Traffic:
    if traffic.istio:
        return _istio(traffic.istio)
    if traffic.http_route:
        return _gateway_route(core.GatewayKind.HTTP_ROUTE, traffic.http_route)
    if traffic.grpc_route:
        return _gateway_route(core.GatewayKind.GRPC_ROUTE, traffic.grpc_route)
    router = traffic.config_map or ConfigMapRouter()
    tolerations = core_tolerations(router.tolerations)
    return core.ConfigMapTraffic(router.router_replicas, router.idempotent, router.node_selector, tolerations)


def _istio(istio: Istio) -> core.IstioTraffic:
    rule = istio.destination_rule
    connections = rule.traffic_policy if rule else {}
    traffic = core.IstioTraffic(
        core.Holding.DELEGATE, requests_query=istio.requests_query or "", connections=connections
    )
    if istio.patch:
        patch = istio.patch
        return replace(traffic, holding=core.Holding.PATCH, virtual_service=patch.virtual_service, route=patch.route)
    if istio.create:
        hosts, gateways = istio.create.hosts, istio.create.gateways
        return replace(traffic, holding=core.Holding.CREATE, hosts=hosts, gateways=gateways)
    return traffic


def _gateway_route(kind: core.GatewayKind, route: GatewayRoute) -> core.GatewayTraffic:
    return core.GatewayTraffic(kind, route.name, route.rule or "", route.requests_query or "")


def _plan(read: spec.Spec, runtime: Runtime) -> core.Plan:
    shadow, traffic = read.shadow, _traffic(read.traffic)
    return core.Plan(
        gates=core_gates(read.gates),
        shadow=core.Shadow(shadow.percent, shadow.duration, shadow.min_requests) if shadow else None,
        steps=tuple(core.Step(step.weight, step.hold, step.min_requests, step.approval) for step in read.ramp.steps),
        guardrails=tuple(read_guardrail(rail, template_of(rail, runtime, traffic)) for rail in read.guardrails),
        ready_deadline=read.serving.ready_deadline,
        effect_deadline=read.ramp.effect_deadline,
    )


def read_guardrail(rail: guardrail.Guardrail, template: Template | None) -> core.Guardrail:
    """Return the core's guardrail, a built-in template's query filled in; any other template keeps its name."""
    usual_slack = template.slack if template else 0.0
    return core.Guardrail(
        name=rail.name,
        query=template.query if template else rail.query or "",
        bounds=core.Bounds(rail.min, _seconds(rail.max_duration) if rail.max_duration else rail.max),
        compare=rail.compare is not None,
        tolerance=rail.tolerance,
        slack=usual_slack if rail.slack is None else rail.slack,
        interval=rail.interval,
        window=rail.window,
        failure_limit=core.FailureLimit(rail.failure_limit.count, core.FailureMode(rail.failure_limit.mode)),
        on_no_data=core.OnNoData(rail.on_no_data),
        no_data_deadline=rail.no_data_deadline,
        min_passes=rail.min_passes,
        template="" if template else rail.template or "",
        of_copies=template is not None and template.of_copies,
    )


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()


def _fingerprint(read: spec.Spec) -> str:
    """Hash what an attempt depends on. A field at its default is no part, so that new fields change no hash."""
    kept = read.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        include={"model", "serving", "gates", "policy", "shadow", "ramp", "guardrails", "retry"},
        exclude={"serving": {"replicas", "keep_warm", "autoscaling"}, "policy": {"watch_for"}},
    )
    kept |= {"guardrails": sorted(kept["guardrails"], key=lambda rail: rail["name"])} if "guardrails" in kept else {}
    if not kept.get("serving", True):
        del kept["serving"]
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return f"{_FINGERPRINT}:{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def read_status(body: Mapping[str, Any]) -> Status:
    """Read the status of a ModelDeployment: each field by itself, so that one that is damaged costs no other.

    An attempt that cannot be read whole is none: the pin starts again from Pending rather than with fewer guardrails.
    """
    data = body.get("status")
    found = data if isinstance(data, Mapping) else {}
    values = {name: _lenient(hint, found, key) for name, key, hint in _status_fields()}
    status = Status(**{name: value for name, value in values.items() if value is not None})
    is_lost = found.get("attempt") is not None and status.attempt is None
    return replace(status, phase=Phase.PENDING) if is_lost else status


@cache
def _status_fields() -> tuple[tuple[str, str, Any], ...]:
    """Return each field's name, its key and its type."""
    hints = get_type_hints(Status)
    return tuple((field.name, to_camel(field.name), hints[field.name]) for field in fields(Status))


def _lenient(hint: Any, found: Mapping[str, Any], key: str) -> Any:
    data = found.get(key)
    if get_origin(hint) is tuple and isinstance(data, list):
        read = (_logged(get_args(hint)[0], item, f"status.{key}[{index}]") for index, item in enumerate(data))
        return tuple(item for item in read if item is not None)
    return None if data is None else _logged(hint, data, f"status.{key}")


def _logged(hint: Any, data: Any, path: str) -> Any:
    try:
        return reader(hint)(data)
    except UnreadableError as fault:
        text = str(fault)
        _log.warning("%s%s%s; it is ignored", path, "" if text.startswith((".", "[")) else " ", text)
        return None


def dump_status(status: Status) -> dict[str, Any]:
    """Return the status as the API server stores it, whole: what is missing in it is to be removed there."""
    dumped: dict[str, Any] = dump(status)
    return dumped
