"""Render the objects of one version: pure, the same input gives the same text."""

from __future__ import annotations

from typing import Any

from modelramp.adapters.kinds import COMPONENT, DESTINATION_RULE, MODEL, NAME, REST, STEERED, labels, owner_reference
from modelramp.adapters.peers import peers_name
from modelramp.adapters.podspec import PodSettings, Served, pod_template
from modelramp.adapters.templates import hash_of, stamped
from modelramp.pods.template import SERVER
from modelramp.rollout.spec import Autoscaling

Manifest = dict[str, Any]


def render_version(version: Served, settings: PodSettings) -> dict[str, Manifest]:
    """Return a version's objects by kind, in the order in which to apply them."""
    # The Service first: the router must find its name before it is told of the version.
    objects = [_service(version), _disruption_budget(version), _deployment(version, settings)]
    if version.connections:
        objects.insert(1, _destination_rule(version))
    if version.serving.autoscaling:
        objects.append(_autoscaler(version, version.serving.autoscaling))
    return {obj["kind"]: obj for obj in objects}


def _deployment(version: Served, settings: PodSettings) -> Manifest:
    spec = {
        **({} if version.serving.autoscaling else {"replicas": version.serving.replicas}),
        "revisionHistoryLimit": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": version.selector},
        "template": pod_template(version, settings),
    }
    asked = hash_of(version.wishes(settings))
    return stamped(_object("apps/v1", "Deployment", version, spec), asked)


def _service(version: Served) -> Manifest:
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    spec = {"type": "ClusterIP", "selector": version.selector, "ports": [port]}
    return _object("v1", "Service", version, spec)


def render_peers(version: Served) -> Manifest:
    """Return the Service by which pods find those of other versions: one name, the address of each that is ready."""
    port = {"name": "http", "port": version.serving.runtime.port, "targetPort": "http", "protocol": "TCP"}
    spec = {"type": "ClusterIP", "clusterIP": "None", "selector": {NAME: version.ref.name, COMPONENT: MODEL}}
    made = _object("v1", "Service", version, {**spec, "ports": [port]})
    head = {"name": peers_name(version.ref.name), "labels": labels(version.ref.name, MODEL)}
    return {**made, "metadata": made["metadata"] | head}


def _destination_rule(version: Served) -> Manifest:
    """Return how a mesh talks to the version; with the label by which it is watched."""
    kind = DESTINATION_RULE
    made = _object(kind.api_version, kind.name, version, {"host": version.name, "trafficPolicy": version.connections})
    made["metadata"]["labels"] = version.labels | {STEERED: "true"}
    return made


def _disruption_budget(version: Served) -> Manifest:
    """Return the promise that a node's drain takes one pod at a time, and never waits for one that is broken."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": version.selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object("policy/v1", "PodDisruptionBudget", version, spec)


def _autoscaler(version: Served, scaling: Autoscaling) -> Manifest:
    """Return what sets the number of pods; that of stable only ever up while a candidate takes its traffic.

    A retreat gives stable everything back at once.
    """
    down = scaling.behavior.get("scaleDown") or {}
    policy = "Disabled" if version.held else down.get("selectPolicy", "Max")
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": version.name},
        "minReplicas": scaling.min,
        "maxReplicas": scaling.max,
        "metrics": [_cpu(scaling.cpu)] if scaling.cpu else list(scaling.metrics),
        "behavior": {**scaling.behavior, "scaleDown": {**down, "selectPolicy": policy}},
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", version, spec)


def _cpu(utilization: int) -> Manifest:
    """Return the metric for the model server alone: a sidecar need not say what it requests."""
    target = {"type": "Utilization", "averageUtilization": utilization}
    return {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": SERVER, "target": target},
    }


def _object(api_version: str, kind: str, version: Served, spec: Manifest) -> Manifest:
    metadata = {
        "name": version.name,
        "namespace": version.ref.namespace,
        "labels": version.labels,
        "annotations": {REST: hash_of({field: value for field, value in spec.items() if field != "template"})},
        "ownerReferences": [owner_reference(version.ref.name, version.uid)],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
