"""Where the split of the traffic is written. A backend is one field of `Traffic`: the rules count the fields."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from modelramp.api.pods import Kubernetes, Labels, Tolerations
from modelramp.api.rules import Block, Rule, matches
from modelramp.api.scalars import ObjectName, Query

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        f"^([*]|([*][.])?{_LABEL}([.]{_LABEL})*)$",
        "is no host: write a DNS name such as fraud.example.com, or *.example.com",
    ),
]
Gateway = Annotated[
    str,
    Field(min_length=1, max_length=317),
    matches(
        f"^({_LABEL}/)?{_LABEL}([.]{_LABEL})*$",
        "is no gateway: write NAME or NAMESPACE/NAME of an Istio Gateway, or mesh",
    ),
]
RouteName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches("^[^ \\t\\r\\n]+$", "is no route's name: write it without blanks"),
]


def _given(backends: Any) -> list[str]:
    return [field for field in type(backends).model_fields if getattr(backends, field) is not None]


def _fixed(*fields: str) -> str:
    return " && ".join(f"has(self.{field}) == has(oldSelf.{field})" for field in fields)


def _counted(*fields: str) -> str:
    return f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size() == 1"


class ConfigMapRouter(Block):
    """The router that the operator runs itself: Envoy, following the ConfigMap NAME-traffic."""

    router_replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """How many Envoys."""
    idempotent: bool = False
    """Whether a prediction may be made twice: a request whose pod dies before its answer is there is then asked of
    another, several times, and else answered 503. Not for a model whose predict has effects elsewhere."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes that the router's pods may run on."""
    tolerations: Tolerations = ()
    """Taints that the router's pods tolerate."""


class IstioCreate(Block):
    """A VirtualService NAME that the operator owns as a whole."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=32)]
    """The hosts that it is for."""
    gateways: Annotated[tuple[Gateway, ...], Field(max_length=16)] = ()
    """The gateways that it is bound to; empty is the mesh."""


class IstioDelegate(Block):
    """A VirtualService NAME without hosts, that the operator owns and that a VirtualService of yours delegates to."""


class IstioPatch(Block):
    """A route in a VirtualService of yours, in the same namespace and with the label modelramp.dev/steered: "true".
    Only the weights, the destinations and the mirror of this route are ever written."""

    virtual_service: ObjectName
    """Name of the VirtualService."""
    route: RouteName
    """The name in spec.http[].name of the route."""

    rules: ClassVar = (
        Rule(
            "self.virtualService == oldSelf.virtualService && self.route == oldSelf.route",
            "a route cannot be exchanged for another: make a new ModelDeployment",
        ),
    )


class IstioDestinationRule(Block):
    """A DestinationRule NAME-vN for each version, made and deleted with it. Without it there is none."""

    traffic_policy: Annotated[Kubernetes, Field(min_length=1, json_schema_extra={"minProperties": 1})]
    """Its spec.trafficPolicy, such as connectionPool or tls, which Istio checks. Outlier detection hides a bad
    candidate: its pods are ejected one by one."""


class Istio(Block):
    """An Istio VirtualService, owned in one of three ways. HTTP and gRPC routes are both in its spec.http."""

    create: IstioCreate | None = None
    """The operator makes the whole VirtualService NAME."""
    delegate: IstioDelegate | None = None
    """The operator makes the VirtualService NAME, and yours refers to it by http[].delegate."""
    patch: IstioPatch | None = None
    """The operator changes the numbers of one route in a VirtualService of yours."""
    destination_rule: IstioDestinationRule | None = None
    """How proxies talk to the versions."""
    requests_query: Query | None = None
    """PromQL for how many requests {{version}} has been sent, live and mirrored together, as a counter; by default
    istio_requests_total, of the source for live requests and of the destination for mirrored ones. By it the operator
    sees whether a split is in effect."""

    rules: ClassVar = (
        Rule(
            _counted("create", "delegate", "patch"),
            "needs exactly one way to hold the VirtualService, of: create, delegate, patch",
            lambda istio: len([way for way in (istio.create, istio.delegate, istio.patch) if way is not None]) == 1,
        ),
        Rule(
            _fixed("create", "delegate", "patch"),
            "the way to hold the VirtualService cannot be exchanged: make a new ModelDeployment",
        ),
    )


class GatewayRoute(Block):
    """A rule in a route of the Gateway API of yours, in the same namespace and with the label
    modelramp.dev/steered: "true". Only the weights, the backends and the mirror of this rule are ever written."""

    name: ObjectName
    """Name of the route."""
    rule: RouteName | None = None
    """The name in spec.rules[].name of the rule; only where the route has a single rule it may be left out."""
    requests_query: Query | None = None
    """PromQL for how many requests {{version}} has been sent, live and mirrored together, as a counter; by default
    modelramp_requests_total of the model servers. By it the operator sees whether a split is in effect."""

    rules: ClassVar = (
        Rule(
            "self.name == oldSelf.name && has(self.rule) == has(oldSelf.rule) && "
            "(!has(self.rule) || self.rule == oldSelf.rule)",
            "a route cannot be exchanged for another: make a new ModelDeployment",
        ),
    )


class _Backends(Block):
    config_map: ConfigMapRouter | None = None
    """An Envoy of its own, behind the Service NAME: needs nothing else in the cluster."""
    istio: Istio | None = None
    """An Istio VirtualService."""
    http_route: GatewayRoute | None = None
    """A rule of an HTTPRoute of the Gateway API."""
    grpc_route: GatewayRoute | None = None
    """A rule of a GRPCRoute of the Gateway API."""


_FIELDS = tuple(to_camel(field) for field in _Backends.model_fields)


class Traffic(_Backends):
    """Where the split is written: exactly one backend, which cannot be exchanged for another."""

    rules: ClassVar = (
        Rule(
            _counted(*_FIELDS),
            f"needs exactly one backend, of: {', '.join(_FIELDS)}",
            lambda backends: len(_given(backends)) == 1,
        ),
        Rule(_fixed(*_FIELDS), "the backend cannot be exchanged: make a new ModelDeployment"),
    )
