"""What is known of a model server: how it is started, asked how it is, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Protocol(Enum):
    """What requests and answers look like."""

    MLFLOW = "MLflow"
    """`/invocations`, as `mlflow models serve` has it."""
    OPEN_INFERENCE = "OpenInference"
    """`/v2/models/NAME/infer`."""
    OTHER = "Other"


class Unit(Enum):
    """What a server measures time in."""

    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"
    MICROSECONDS = "Microseconds"

    @property
    def of_a_second(self) -> int:
        """Return how many of it are a second."""
        return {Unit.SECONDS: 1, Unit.MILLISECONDS: 1_000, Unit.MICROSECONDS: 1_000_000}[self]


@dataclass(frozen=True, slots=True)
class Series:
    """A metric, and what its labels must match: regular expressions, by label."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Latency:
    """The time of a request: a histogram, or a summary that has the quantiles itself."""

    series: Series
    unit: Unit = Unit.SECONDS
    is_summary: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server counts, on its port for metrics; several counters of a kind are added up."""

    port: int
    path: str = "/metrics"
    answers: tuple[Series, ...] = ()
    errors: tuple[Series, ...] = ()
    server_errors: tuple[Series, ...] = ()
    latency: Latency | None = None


@dataclass(frozen=True, slots=True)
class Runtime:
    """A model server as its pods are made; without an `image` the spec names one, `user` None is the image's own.

    `command`, `args` and `env` may use $(MODEL_DIR), $(MODEL_NAME), $(MODEL_VERSION) and $(PORT).
    """

    name: str
    image: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[dict[str, Any], ...] = field(default=(), hash=False)
    port: int = 8080
    user: int | None = None
    live: str = "/health"
    ready: str = "/health"
    protocol: Protocol = Protocol.MLFLOW
    applies_policy: bool = False
    metrics: Counted | None = None
    brings_image: bool = False
    """The operator's own image has it."""


def _variables(**values: str) -> tuple[dict[str, str], ...]:
    return tuple({"name": name, "value": value} for name, value in values.items())


_OURS = "modelramp_requests_total"
MLFLOW = Runtime(
    name="mlflow",
    command=("python", "-m", "modelramp_runtime"),
    ready="/ready",
    applies_policy=True,
    brings_image=True,
    metrics=Counted(
        port=8080,
        answers=(Series(_OURS),),
        errors=(Series(_OURS, {"code": "4..|5.."}),),
        server_errors=(Series(_OURS, {"code": "5.."}),),
        latency=Latency(Series("modelramp_request_duration_seconds")),
    ),
)
MLFLOW_SERVE = Runtime(
    name="mlflow-serve",
    command=("mlflow", "models", "serve"),
    args=("--model-uri", "$(MODEL_DIR)", "--host", "0.0.0.0", "--port", "$(PORT)", "--env-manager", "local"),  # noqa: S104
    live="/ping",
    ready="/ping",
)
_REST = "rest_server_requests_total"
_INFERENCE = {"path": "/v2/models/.+/infer|/invocations"}
MLSERVER = Runtime(
    name="mlserver",
    image="seldonio/mlserver:1.7.1-mlflow",
    command=("mlserver", "start"),
    args=("$(MODEL_DIR)",),
    env=_variables(
        MLSERVER_HTTP_PORT="$(PORT)",
        MLSERVER_METRICS_PORT="8082",
        MLSERVER_METRICS_DIR="/tmp",  # noqa: S108 (an emptyDir of the container's own)
        MLSERVER_MODEL_NAME="$(MODEL_NAME)",
        MLSERVER_MODEL_VERSION="$(MODEL_VERSION)",
        MLSERVER_MODEL_IMPLEMENTATION="mlserver_mlflow.MLflowRuntime",
        MLSERVER_MODEL_URI="$(MODEL_DIR)",
        MLSERVER_PARALLEL_WORKERS="0",
    ),
    live="/v2/health/live",
    ready="/v2/health/ready",
    # It speaks both.
    protocol=Protocol.MLFLOW,
    metrics=Counted(
        port=8082,
        answers=(Series(_REST, _INFERENCE),),
        errors=(Series(_REST, {**_INFERENCE, "status_code": "4..|5.."}),),
        server_errors=(Series(_REST, {**_INFERENCE, "status_code": "5.."}),),
        latency=Latency(Series("rest_server_request_duration_seconds", _INFERENCE)),
    ),
)
_FAILED = Series("nv_inference_request_failure")
TRITON = Runtime(
    name="triton",
    command=("tritonserver",),
    args=(
        "--model-repository=$(MODEL_DIR)",
        "--model-control-mode=explicit",
        "--load-model=$(MODEL_NAME)",
        "--http-port=$(PORT)",
        "--metrics-port=8002",
        "--metrics-config=summary_latencies=true",
    ),
    user=1000,
    live="/v2/health/live",
    ready="/v2/health/ready",
    protocol=Protocol.OPEN_INFERENCE,
    metrics=Counted(
        port=8002,
        answers=(Series("nv_inference_request_success"), _FAILED),
        errors=(_FAILED,),
        server_errors=(_FAILED,),
        latency=Latency(Series("nv_inference_request_summary_us"), Unit.MICROSECONDS, is_summary=True),
    ),
)
BUILT_IN: Mapping[str, Runtime] = {runtime.name: runtime for runtime in (MLFLOW, MLFLOW_SERVE, MLSERVER, TRITON)}
CUSTOM = "custom"
"""The runtime that the spec itself describes."""
