"""What the user asks for, parsed: the spec of a ModelDeployment as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from modelramp.rollout.gates.spec import USUAL_GATES, Gates
from modelramp.rollout.runtime import MLFLOW, Runtime


class FailureMode(Enum):
    """How failed verdicts are counted towards the limit."""

    CONSECUTIVE = "Consecutive"
    TOTAL = "Total"


class OnNoData(Enum):
    """What a guardrail without an answer leads to once its deadline has passed; it never passes."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True)
class Bounds:
    """An inclusive range; at least one end is set."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Business rules in a ConfigMap; a breach within `watch_for` of their last change is reported with it."""

    config_map: str
    watch_for: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Shadow:
    """How long and on how many copied requests the candidate runs before it answers anyone."""

    percent: int = 100
    duration: timedelta = timedelta(0)
    min_requests: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One share of live traffic and what must have happened before the next."""

    weight: int
    hold: timedelta = timedelta(0)
    min_requests: int = 0
    approval: bool = False


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many failed verdicts are a breach."""

    count: int = 1
    mode: FailureMode = FailureMode.CONSECUTIVE


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A PromQL check while there is traffic.

    `query` is the template's text (see `queries.py`); it is empty while `template` is not filled in, which is
    a PromotionPolicy's or its guardrail's. `asks_server` says whose counters a built-in one is to ask.
    With `compare`, the candidate may be at most `tolerance` times the stable version's value plus `slack`.
    `of_copies` is about answers to copied requests: asked in the shadow only, elsewhere there are none.
    """

    name: str
    query: str = ""
    bounds: Bounds = Bounds()
    compare: bool = False
    tolerance: float = 1.0
    slack: float = 0.0
    interval: timedelta = timedelta(seconds=15)
    window: timedelta = timedelta(minutes=1)
    failure_limit: FailureLimit = FailureLimit()
    on_no_data: OnNoData = OnNoData.HOLD
    no_data_deadline: timedelta = timedelta(minutes=5)
    min_passes: int = 3
    template: str = ""
    asks_server: bool = False
    of_copies: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What one attempt is held to; copied into the status when the attempt begins."""

    gates: Gates = USUAL_GATES
    shadow: Shadow | None = None
    steps: tuple[Step, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    ready_deadline: timedelta = timedelta(minutes=10)
    effect_deadline: timedelta = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """How many pods a version may have; `cpu` is percent of their request, `metrics` plain Kubernetes values."""

    min: int
    max: int
    cpu: int | None = None
    metrics: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    behavior: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Capture:
    """Which answers the model server keeps to compare them with another version's.

    `percent` of all requests; numbers agree within `tolerance`, in their own unit.
    """

    percent: int = 10
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Serving:
    """How a version is run; what is passed on to its pods are plain Kubernetes values."""

    replicas: int = 1
    keep_warm: int = 2
    autoscaling: Autoscaling | None = None
    runtime: Runtime = MLFLOW
    image: str | None = None
    resources: dict[str, Any] = field(default_factory=dict, hash=False)
    env: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    service_account: str | None = None
    registry_secret: str | None = None
    node_selector: dict[str, str] = field(default_factory=dict, hash=False)
    tolerations: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    affinity: dict[str, Any] = field(default_factory=dict, hash=False)
    image_pull_secrets: tuple[str, ...] = ()
    pod_template: dict[str, Any] = field(default_factory=dict, hash=False)
    capture: Capture | None = None

    @property
    def pods(self) -> int:
        """Return how many pods of a version must be ready at least."""
        return self.autoscaling.min if self.autoscaling else self.replicas


@dataclass(frozen=True, slots=True)
class ConfigMapTraffic:
    """The split is written to a ConfigMap that a router of our own follows; `router_replicas` are its pods.

    `idempotent`: a request whose pod died before its answer was there may be asked again of another. Where the pods
    go are plain Kubernetes values.
    """

    router_replicas: int = 2
    idempotent: bool = False
    node_selector: dict[str, str] = field(default_factory=dict, hash=False)
    tolerations: tuple[dict[str, Any], ...] = field(default=(), hash=False)


class Holding(Enum):
    """How the operator holds a VirtualService."""

    CREATE = "Create"
    """It owns the whole object."""
    DELEGATE = "Delegate"
    """It owns the object that the user's refers to."""
    PATCH = "Patch"
    """It changes the numbers of one route in the user's object."""


@dataclass(frozen=True, slots=True)
class IstioTraffic:
    """The split is written to an Istio VirtualService.

    `virtual_service` and `route` name what is patched; `hosts` and `gateways` are those of an object that is created.
    `requests_query` counts the requests of a version, empty for Istio's own counters. `connections` is the
    trafficPolicy of the DestinationRule that each version gets, plain Istio values; empty for no DestinationRule.
    """

    holding: Holding
    virtual_service: str = ""
    route: str = ""
    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    requests_query: str = ""
    connections: dict[str, Any] = field(default_factory=dict, hash=False)


class GatewayKind(Enum):
    """The routes of the Gateway API that have weights."""

    HTTP_ROUTE = "HTTPRoute"
    GRPC_ROUTE = "GRPCRoute"


@dataclass(frozen=True, slots=True)
class GatewayTraffic:
    """The split is written to a rule of a route of the Gateway API; `rule` is empty for its only one."""

    kind: GatewayKind
    name: str
    rule: str = ""
    requests_query: str = ""


Traffic = ConfigMapTraffic | IstioTraffic | GatewayTraffic


@dataclass(frozen=True, slots=True)
class Spec:
    """One ModelDeployment as its user wrote it, with the schema's defaults filled in."""

    model_name: str
    version: str
    serving: Serving = Serving()
    plan: Plan = Plan()
    policy: Policy | None = None
    traffic: Traffic = ConfigMapTraffic()
    paused: bool = False
    abort: str | None = None
    approve: str | None = None
    retry: str = ""
    drill: str = ""
    fingerprint: str = ""
    """Hash of what an attempt depends on: a rejected pin is tried again only when this changes."""
    problem: str = ""
    """Why what the user wrote last cannot be used; the other fields are then from before. Protection goes on."""

    @property
    def aborted(self) -> bool:
        """Tell whether the pinned version is the one that the user wants stopped."""
        return self.abort == self.version
