"""The Kubernetes kinds that the operator touches, the names it gives, and the marks it leaves on objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object as JSON; dicts live only at this edge. Never changed in place."""

GROUP = "modelramp.dev"
FIELD_MANAGER = "modelramp"
NAME, VERSION, COMPONENT = f"{GROUP}/name", f"{GROUP}/version", f"{GROUP}/component"
ATTEMPT = f"{GROUP}/attempt"
MANAGED_BY = "app.kubernetes.io/managed-by"
MODEL, ROUTER, STAGING, POLICY, KEPT_POLICY = "model", "router", "staging", "policy", "kept-policy"
EPOCH, WRITTEN, WHY, TEMPLATE = f"{GROUP}/epoch", f"{GROUP}/written", f"{GROUP}/why", f"{GROUP}/template"
ASKED, APPLIED, REST = f"{GROUP}/asked", f"{GROUP}/applied", f"{GROUP}/rest"
"""Hash of what was asked of the pods, their template as it was applied, hash of what was applied beside them."""
FINALIZER = f"{GROUP}/traffic"
STEERED = f"{GROUP}/steered"
POLICY_TOLD = f"{GROUP}/policy"
"""The label by which an object that is somebody else's says that its traffic may be steered; its value is "true"."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: where the API server keeps it."""

    api_version: str
    name: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the object's URL path; the collection's without `name`, of all namespaces without `namespace`."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{scope}/{self.plural}", name, subresource) if part)


MODEL_DEPLOYMENT = Kind(f"{GROUP}/v1alpha1", "ModelDeployment", "modeldeployments")
PROMOTION_POLICY = Kind(f"{GROUP}/v1alpha1", "PromotionPolicy", "promotionpolicies")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
VIRTUAL_SERVICE = Kind("networking.istio.io/v1", "VirtualService", "virtualservices")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = Kind("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes")
DESTINATION_RULE = Kind("networking.istio.io/v1", "DestinationRule", "destinationrules")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
GATEWAY_CLASS = Kind("gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses")
ROUTE_KINDS = (VIRTUAL_SERVICE, HTTP_ROUTE, GRPC_ROUTE)
"""What splits are written to, where it is not a ConfigMap."""
OPTIONAL_KINDS = (*ROUTE_KINDS, DESTINATION_RULE)
"""The kinds that are there only where somebody has installed them, and are watched only where they are used."""

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        MODEL_DEPLOYMENT, DEPLOYMENT, CONFIG_MAP, JOB, POD, SERVICE, SERVICE_ACCOUNT, ROLE, ROLE_BINDING,
        DISRUPTION_BUDGET, AUTOSCALER, NETWORK_POLICY, EVENT, LEASE, *OPTIONAL_KINDS,
    )
}  # fmt: skip


def kind_of(obj: Object) -> Kind:
    """Return the kind of an object that says it. Raises KeyError for a kind that the operator never touches."""
    return KINDS[obj["kind"]]


def labels(name: str, component: str, version: str = "") -> dict[str, str]:
    """Return the labels of everything that belongs to the ModelDeployment `name`."""
    own = {MANAGED_BY: FIELD_MANAGER, NAME: name, COMPONENT: component}
    return own | ({VERSION: version} if version else {})


def owner_reference(name: str, uid: str) -> dict[str, Any]:
    """Return the reference by which an object goes when its ModelDeployment goes."""
    owner = {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.name, "name": name, "uid": uid}
    return owner | {"controller": True, "blockOwnerDeletion": True}
