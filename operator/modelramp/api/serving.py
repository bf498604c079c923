"""How versions are run."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from modelramp.api.env import EnvVar
from modelramp.api.pods import Autoscaling, ImagePullSecret, Kubernetes, Labels, Tolerations
from modelramp.api.profile import Profile
from modelramp.api.rules import BROKEN, Block, Rule
from modelramp.api.scalars import Image, Label, ObjectName, PositiveDuration, Quantity
from modelramp.pods.template import template_faults

_Amounts = Annotated[dict[str, Quantity], Field(max_length=16)]
_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


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


class Capture(Block):
    """Answers that the model server keeps for a while, without their inputs, to compare a candidate in the shadow with
    what is live."""

    percent: Annotated[int, Field(ge=1, le=100)] = 10
    """Percent of requests whose answers are kept, the same ones by every version: they are chosen by x-request-id."""
    tolerance: Annotated[float, Field(ge=0)] = 0
    """How far apart two predicted numbers may be and still agree, in their own unit."""


def _knows_its_cpu(serving: Serving) -> bool:
    asked = serving.autoscaling is None or serving.autoscaling.cpu_utilization is None
    return asked or "cpu" in serving.resources.requests or "cpu" in serving.resources.limits


class Serving(Block):
    """How each version is run: a Deployment and a Service of its own."""

    runtime: Label = "mlflow"
    """The model server: mlflow, the operator's own; mlserver, triton or mlflow-serve, built in too; custom, which is
    described below; or one that the operator's administrator has described."""
    custom: Profile | None = None
    """The model server, with runtime: custom."""
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
    tolerations: Tolerations = ()
    """Taints that the pods tolerate."""
    affinity: Kubernetes | None = None
    """Where the pods would rather be, as in a pod's spec."""
    image_pull_secrets: Annotated[
        tuple[ImagePullSecret, ...], Field(max_length=20, json_schema_extra=_MAP_BY_NAME)
    ] = ()
    """Secrets with which the images are pulled: of the models, of their rehearsals and of the router."""
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
    capture: Capture | None = None
    """Which answers are kept, to compare versions: a guardrail with template disagreement-rate judges them."""
    ready_deadline: PositiveDuration = timedelta(minutes=10)
    """A version that is not ready by then has failed, without any traffic."""

    rules: ClassVar = (
        Rule(
            "has(self.custom) == (has(self.runtime) && self.runtime == 'custom')",
            "runtime: custom and a description of it go together: give both or neither",
            lambda serving: (serving.custom is not None) == (serving.runtime == "custom"),
            at=".custom",
        ),
        Rule(
            "!has(self.capture) || !has(self.runtime) || self.runtime == 'mlflow'",
            "runtime {self.runtime} keeps no answers; mlflow does",
            lambda serving: serving.capture is None or serving.runtime == "mlflow",
            at=".capture",
        ),
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
