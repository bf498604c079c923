"""How versions are run."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from modelramp.api.pods import Autoscaling, ImagePullSecret, Kubernetes, Labels, Toleration
from modelramp.api.rules import BROKEN, Block, Rule, matches
from modelramp.api.scalars import Image, ObjectName, PositiveDuration, Quantity
from modelramp.pods.template import OUR_VARIABLES, template_faults

_Text = Annotated[str, Field(min_length=1, max_length=253)]
_Amounts = Annotated[dict[str, Quantity], Field(max_length=16)]
_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class Key(Block):
    """One key of a Secret or ConfigMap in the object's namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: _Text
    """The key in it."""
    optional: bool | None = None
    """Start without the variable where there is no such key."""


class PodField(Block):
    """A field of the pod."""

    field_path: _Text
    """Path of the field, such as metadata.name."""


class EnvSource(Block):
    """Where a variable's value comes from."""

    secret_key_ref: Key | None = None
    """A key of a Secret."""
    config_map_key_ref: Key | None = None
    """A key of a ConfigMap."""
    field_ref: PodField | None = None
    """A field of the pod."""

    rules: ClassVar = (
        Rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].filter(given, given).size() == 1",
            "valueFrom needs exactly one of secretKeyRef, configMapKeyRef and fieldRef",
            lambda source: len(source.model_fields_set) == 1,
        ),
    )


class EnvVar(Block):
    """One environment variable of the model server."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        matches("^[A-Za-z_][A-Za-z0-9_]*$", "is no name of a variable: write letters, digits and '_'"),
        matches(f"^({'|'.join(OUR_VARIABLES)})$", "is set by the operator: choose another name", wanted=False),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value; everybody who can read the object reads it, so secrets belong in valueFrom."""
    value_from: EnvSource | None = None
    """Where its value comes from."""

    rules: ClassVar = (
        Rule(
            "!has(self.value) || !has(self.valueFrom)",
            "variable '{self.name}' has both value and valueFrom: keep one",
            lambda variable: variable.value is None or variable.value_from is None,
        ),
    )


class Resources(Block):
    """What the model server's container asks for and may use."""

    requests: _Amounts = Field(default_factory=dict)
    """What is set aside for it, such as cpu: 500m."""
    limits: _Amounts = Field(default_factory=dict)
    """What it may use at most, such as memory: 1Gi."""


class RegistrySecret(Block):
    """A Secret in the object's namespace."""

    name: ObjectName
    """Name of the Secret."""


def _knows_its_cpu(serving: Serving) -> bool:
    asked = serving.autoscaling is None or serving.autoscaling.cpu_utilization is None
    return asked or "cpu" in serving.resources.requests or "cpu" in serving.resources.limits


class Serving(Block):
    """How each version is run: a Deployment and a Service of its own."""

    runtime: Literal["mlflow"] = "mlflow"
    """The model server."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods per version; with autoscaling it is not looked at."""
    autoscaling: Autoscaling | None = None
    """A HorizontalPodAutoscaler for each version, instead of replicas."""
    keep_warm: Annotated[int, Field(ge=0, le=10)] = 2
    """How many versions that were stable stay ready, so that going back is one write."""
    image: Image | None = None
    """Image of the model server. The operator's own choice where it is not given."""
    resources: Resources = Resources()
    """What the model server's container asks for and may use, devices such as nvidia.com/gpu included. The container
    that fetches the model gets the same, without devices."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes that the pods may run on."""
    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    """Taints that the pods tolerate."""
    affinity: Kubernetes | None = None
    """Where the pods would rather be, as in a pod's spec."""
    image_pull_secrets: Annotated[
        tuple[ImagePullSecret, ...], Field(max_length=20, json_schema_extra=_MAP_BY_NAME)
    ] = ()
    """Secrets with which the images are pulled."""
    pod_template: Kubernetes | None = None
    """Anything else of the pods: metadata.labels, metadata.annotations and spec, merged strategically into what the
    operator makes. The model server's container is called server, the one that fetches the model fetch, its volume
    model. Names, images, commands and labels that the rollout rests on cannot be changed."""
    pod_security: Literal["Restricted", "Relaxed"] = "Restricted"
    """Restricted: podTemplate must stay within the Pod Security Standard of that name, and the root file systems
    read-only. Relaxed: it need not."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=50, json_schema_extra=_MAP_BY_NAME)] = ()
    """Environment variables of the model server, beside those that the operator sets."""
    service_account_name: ObjectName | None = None
    """ServiceAccount that the pods run as; the namespace's default where it is not given."""
    registry_secret: RegistrySecret | None = None
    """Secret whose keys are put into the environment of the container that fetches the model, such as
    MLFLOW_TRACKING_TOKEN or AWS_ACCESS_KEY_ID."""
    ready_deadline: PositiveDuration = timedelta(minutes=10)
    """A version that is not ready by then has failed, without any traffic."""

    rules: ClassVar = (
        Rule(
            "!has(self.autoscaling) || !has(self.autoscaling.cpuUtilization) || (has(self.resources) && ("
            "(has(self.resources.requests) && 'cpu' in self.resources.requests) || "
            "(has(self.resources.limits) && 'cpu' in self.resources.limits)))",
            "cpuUtilization is a share of resources.requests.cpu, which is not given",
            _knows_its_cpu,
            at=".autoscaling.cpuUtilization",
        ),
    )

    @model_validator(mode="after")
    def _keep_the_pods_sound(self) -> Self:
        for path, says in template_faults(self.pod_template or {}, restricted=self.pod_security == "Restricted"):
            raise PydanticCustomError(BROKEN, "{says}", {"says": says, "at": f".podTemplate{path}"})
        return self
