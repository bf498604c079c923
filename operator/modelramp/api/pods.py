"""How many pods a version has, where they go, and what else is asked of them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from modelramp.api.rules import BROKEN, Block, Rule
from modelramp.api.scalars import ObjectName

Text = Annotated[str, Field(min_length=1, max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Kubernetes = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""A part of a Kubernetes object, which the API server checks when the operator applies it."""

_SOURCES = ("Resource", "ContainerResource", "Pods", "Object", "External")


def _named_source(metric: dict[str, Any]) -> dict[str, Any]:
    # Not a rule in the schema: CEL does not see what the schema does not name.
    kind = metric.get("type")
    if kind not in _SOURCES or not isinstance(metric.get(f"{kind[0].lower()}{kind[1:]}"), dict):
        says = f"is no metric of autoscaling/v2: give type, one of {', '.join(_SOURCES)}, and the field of that name"
        raise PydanticCustomError(BROKEN, "{says}", {"says": says, "at": ""})
    return metric


Metric = Annotated[Kubernetes, AfterValidator(_named_source)]
_ATOMIC = {"x-kubernetes-list-type": "atomic"}


class Autoscaling(Block):
    """A HorizontalPodAutoscaler for each version, instead of replicas."""

    min: Annotated[int, Field(ge=1, le=1000)] = 1
    """The fewest pods of a version: the candidate is ready when it has them, and a version without traffic that is kept
    warm keeps them."""
    max: Annotated[int, Field(ge=1, le=1000)]
    """The most pods of a version."""
    cpu_utilization: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Percent of the model server's CPU request to aim at; needs resources.requests.cpu."""
    metrics: Annotated[tuple[Metric, ...], Field(max_length=10, json_schema_extra=_ATOMIC)] = ()
    """Metrics to scale on instead, as in a HorizontalPodAutoscaler of autoscaling/v2."""
    behavior: Kubernetes | None = None
    """How fast to scale, as in a HorizontalPodAutoscaler. While a candidate has traffic, stable is never scaled down,
    whatever this says."""

    rules: ClassVar = (
        Rule(
            "self.min <= self.max",
            "min is over max: no number of pods fits",
            lambda scaling: scaling.min <= scaling.max,
            at=".min",
        ),
        Rule(
            "has(self.cpuUtilization) != (has(self.metrics) && size(self.metrics) > 0)",
            "autoscaling needs exactly one of cpuUtilization and metrics",
            lambda scaling: (scaling.cpu_utilization is not None) != bool(scaling.metrics),
        ),
    )


class Toleration(Block):
    """A taint that the pods tolerate."""

    key: Annotated[str, Field(max_length=316)] | None = None
    """Key of the taint; all of them where it is not given."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal, which is the default."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all of them where it is not given."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """For how long a NoExecute taint is tolerated; for ever where it is not given."""


Tolerations = Annotated[
    tuple[Toleration, ...], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]


def core_tolerations(tolerations: tuple[Toleration, ...]) -> tuple[dict[str, Any], ...]:
    """Return them as plain Kubernetes values."""
    return tuple(each.model_dump(by_alias=True, exclude_none=True) for each in tolerations)


class ImagePullSecret(Block):
    """A Secret in the object's namespace."""

    name: ObjectName
    """Name of the Secret."""
