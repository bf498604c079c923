"""Which route object a ModelDeployment steers, and who keeps it where two want the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelramp.adapters.kinds import GRPC_ROUTE, HTTP_ROUTE, KINDS, VIRTUAL_SERVICE, Kind, Object
from modelramp.ports import Rollout
from modelramp.rollout.spec import GatewayTraffic, Holding, IstioTraffic

_GATEWAY_ROUTES = {"httpRoute": HTTP_ROUTE, "grpcRoute": GRPC_ROUTE}


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule of an object of the ModelDeployment's own namespace; `rule` is empty for all of it."""

    kind: Kind
    name: str
    rule: str

    def overlaps(self, other: Claim) -> bool:
        """Tell whether both steer the same traffic."""
        same_object = (self.kind, self.name) == (other.kind, other.name)
        return same_object and (self.rule == other.rule or not self.rule or not other.rule)


def claim_of(model_deployment: Object) -> Claim | None:
    """Return what a ModelDeployment steers, None where that is a ConfigMap of its own."""
    traffic: Mapping[str, Any] = (model_deployment.get("spec") or {}).get("traffic") or {}
    if istio := traffic.get("istio"):
        patch = istio.get("patch") or {}
        owned = model_deployment["metadata"]["name"]
        return Claim(VIRTUAL_SERVICE, patch.get("virtualService", owned), patch.get("route", ""))
    for field, kind in _GATEWAY_ROUTES.items():
        if route := traffic.get(field):
            return Claim(kind, route.get("name", ""), route.get("rule", ""))
    return None


def claim_of_rollout(rollout: Rollout) -> Claim:
    """Return what a ModelDeployment steers. Raises TypeError for a ConfigMap of its own."""
    match rollout.spec.traffic:
        case IstioTraffic(Holding.PATCH, virtual_service, route):
            return Claim(VIRTUAL_SERVICE, virtual_service, route)
        case IstioTraffic():
            return Claim(VIRTUAL_SERVICE, rollout.ref.name, "")
        case GatewayTraffic(kind, name, rule):
            return Claim(KINDS[kind.value], name, rule)
        case other:
            raise TypeError(f"{rollout.ref} steers no route of others: its traffic is {type(other).__name__}")


def find_elder(model_deployment: Object, others: Iterable[Object]) -> str:
    """Return the name of the oldest that claims the same and is older; empty where nobody is."""
    mine, age = claim_of(model_deployment), _age(model_deployment)
    rivals = [(_age(other), other) for other in others if _age(other) < age]
    taken = [(when, other) for when, other in rivals if mine and (its := claim_of(other)) and its.overlaps(mine)]
    return str(min(taken, key=lambda each: each[0])[1]["metadata"]["name"]) if taken else ""


def _age(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("creationTimestamp", ""), obj["metadata"]["uid"]
