"""Runtime profiles: what the operator has to know of a model server."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from modelramp.api.env import EnvVar
from modelramp.api.rules import BROKEN, Block, Rule, matches
from modelramp.api.scalars import Image
from modelramp.rollout import runtime as core

_ATOMIC = {"x-kubernetes-list-type": "atomic"}
_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
Words = Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64, json_schema_extra=_ATOMIC)]
Port = Annotated[int, Field(ge=1, le=65535)]
UrlPath = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matches("^/[^ ?#]*$", "is no path: write it with a slash in front, such as /health"),
]
MetricName = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matches("^[a-zA-Z_:][a-zA-Z0-9_:]*$", "is no name of a Prometheus metric: write letters, digits, '_' and ':'"),
]


def _named_as_labels(patterns: dict[str, str]) -> dict[str, str]:
    # Not a rule in the schema: a map's keys have no longest length there, and CEL would cost too much.
    if not all(label.isascii() and label.isidentifier() for label in patterns):
        says = "a label's name has letters, digits and '_' only"
        raise PydanticCustomError(BROKEN, "{says}", {"says": says, "at": ""})
    return patterns


LabelPatterns = Annotated[
    dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=10), AfterValidator(_named_as_labels)
]


class Series(Block):
    """A counter, or those of its series that match."""

    metric: MetricName
    """Name of the metric."""
    labels: LabelPatterns = Field(default_factory=dict)
    """Regular expressions that labels must match, such as code: 4..|5.."""


class RequestTime(Block):
    """The time that a request takes."""

    metric: MetricName
    """Name of the metric; a histogram's without _bucket."""
    labels: LabelPatterns = Field(default_factory=dict)
    """Regular expressions that labels must match."""
    type: Literal["Histogram", "Summary"] = "Histogram"
    """Histogram, or a Summary with the quantiles 0.5, 0.95 and 0.99."""
    unit: Literal["Seconds", "Milliseconds", "Microseconds"] = "Seconds"
    """What the metric is in."""


Counters = Annotated[tuple[Series, ...], Field(max_length=10, json_schema_extra=_ATOMIC)]


class ServerMetrics(Block):
    """What the server counts; guardrail templates with source: Server are made of it."""

    port: Port | None = None
    """Port of the metrics; the server's own where it is not given."""
    path: UrlPath = "/metrics"
    """Path of the metrics."""
    requests: Counters = ()
    """Counters of all answers, added up."""
    errors: Counters = ()
    """Counters of all failed answers, added up: error-rate."""
    server_errors: Counters = ()
    """Counters of the answers that the server is to blame for, added up: server-error-rate."""
    latency: RequestTime | None = None
    """The time that a request takes: latency-p50, latency-p95 and latency-p99."""


class Probes(Block):
    """Where the server says how it is, by GET."""

    live: UrlPath = "/health"
    """Answers while the server runs; it is started anew where this stays silent."""
    ready: UrlPath = "/health"
    """Answers once the model is loaded."""


class Profile(Block):
    """A model server: how it is started, and what it says of itself. It finds the model in $(MODEL_DIR)."""

    image: Image | None = None
    """Image of the server, where spec.serving.image does not name another."""
    command: Words = ()
    """Command; the image's own where it is not given. Variables are written $(MODEL_DIR), as in a pod."""
    args: Words = ()
    """Arguments of the command."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=50, json_schema_extra=_MAP_BY_NAME)] = ()
    """Environment variables; spec.serving.env wins over them."""
    port: Port = 8080
    """Port of the server, which it finds in $(PORT)."""
    user: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = None
    """Number of the user that the server runs as, where its image does not name one."""
    probes: Probes = Probes()
    """Where the server says how it is."""
    protocol: Literal["MLflow", "OpenInference", "Other"] = "MLflow"
    """What requests and answers look like: MLflow where it has /invocations."""
    policy: bool = False
    """It applies the business rules that are mounted at $(POLICY_DIR)."""
    metrics: ServerMetrics | None = None
    """What the server counts."""

    rules: ClassVar = (
        Rule(
            "!has(self.args) || size(self.args) == 0 || has(self.image)"
            " || (has(self.command) && size(self.command) > 0)",
            "args without command and image: nothing to give them to",
            lambda profile: not profile.args or bool(profile.command) or profile.image is not None,
            at=".args",
        ),
    )


def core_runtime(name: str, profile: Profile) -> core.Runtime:
    """Return a profile as the core knows it."""
    return core.Runtime(
        name=name,
        image=profile.image,
        command=profile.command,
        args=profile.args,
        env=tuple(variable.model_dump(by_alias=True, exclude_unset=True) for variable in profile.env),
        port=profile.port,
        user=profile.user,
        live=profile.probes.live,
        ready=profile.probes.ready,
        protocol=core.Protocol(profile.protocol),
        applies_policy=profile.policy,
        metrics=_counted(profile.metrics, profile.port) if profile.metrics else None,
    )


def _counted(metrics: ServerMetrics, port: int) -> core.Counted:
    found = metrics.latency
    latency = core.Latency(_one(found), core.Unit(found.unit), found.type == "Summary") if found else None
    counters = (metrics.requests, metrics.errors, metrics.server_errors)
    answers, errors, server_errors = (tuple(_one(each) for each in kind) for kind in counters)
    return core.Counted(metrics.port or port, metrics.path, answers, errors, server_errors, latency)


def _one(series: Series | RequestTime) -> core.Series:
    return core.Series(series.metric, series.labels)
