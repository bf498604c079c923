"""The part of an object that is ever read: of a thousand ModelDeployments' pods and Deployments, a quarter."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from modelramp.adapters.authors import MANAGERS, spec_managers
from modelramp.adapters.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    MODEL_DEPLOYMENT,
    POD,
    ROUTE_KINDS,
    SERVICE,
    TEMPLATE,
    Kind,
    Object,
)

_PACKED = "packedSpec"
_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "labels", "deletionTimestamp")
_DEPLOYMENT_STATUS = ("observedGeneration", "updatedReplicas", "readyReplicas", "conditions")
_POD_STATUS = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses")
_CONTAINER_STATUS = ("name", "ready", "state", "lastState")


def slim(kind: Kind, obj: Object) -> Object:
    """Return what the store keeps of an object; of what is slim already, all."""
    if _PACKED in obj:
        return obj
    if kind in (CONFIG_MAP, *ROUTE_KINDS):  # their managedFields say who wrote a weight
        return obj
    if kind == POD:
        return _slim_pod(obj)
    if kind == DEPLOYMENT:
        return _slim_deployment(obj)
    if kind == SERVICE:
        return {"metadata": _chosen(obj["metadata"], _METADATA)}
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if kind == MODEL_DEPLOYMENT and "managedFields" in obj["metadata"]:
        metadata[MANAGERS] = spec_managers(obj["metadata"]["managedFields"])
    return {**obj, "metadata": metadata}


def full_spec(deployment: Object) -> Any:
    """Return the whole spec of a Deployment from the store, as the API server gave it."""
    return json.loads(zlib.decompress(deployment[_PACKED]))


def _slim_deployment(obj: Object) -> Object:
    stamp = (obj["metadata"].get("annotations") or {}).get(TEMPLATE)
    return {
        "metadata": {**_chosen(obj["metadata"], _METADATA), "annotations": {TEMPLATE: stamp} if stamp else {}},
        "spec": _chosen(obj["spec"], ("replicas",)),
        "status": _chosen(obj.get("status") or {}, _DEPLOYMENT_STATUS),
        _PACKED: zlib.compress(json.dumps(obj["spec"]).encode(), 1),
    }


def _slim_pod(obj: Object) -> Object:
    status = _chosen(obj.get("status") or {}, _POD_STATUS)
    for key in ("containerStatuses", "initContainerStatuses"):
        if key in status:
            status[key] = [_chosen(each, _CONTAINER_STATUS) for each in status[key] or ()]
    return {
        "metadata": _chosen(obj["metadata"], _METADATA),
        "spec": {"containers": [_chosen(each, ("name", "ports")) for each in obj["spec"]["containers"]]},
        "status": status,
    }


def _chosen(source: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}
