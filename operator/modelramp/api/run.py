"""From the API's words on how versions are run to the core's values."""

from __future__ import annotations

from modelramp.api.pods import Autoscaling
from modelramp.api.serving import Serving
from modelramp.rollout import spec as core


def core_serving(serving: Serving) -> core.Serving:
    """Return how versions are run."""
    return core.Serving(
        replicas=serving.replicas,
        keep_warm=serving.keep_warm,
        autoscaling=_autoscaling(serving.autoscaling) if serving.autoscaling else None,
        image=serving.image,
        resources=serving.resources.model_dump(by_alias=True, exclude_defaults=True),
        env=tuple(variable.model_dump(by_alias=True, exclude_unset=True) for variable in serving.env),
        service_account=serving.service_account_name,
        registry_secret=serving.registry_secret.name if serving.registry_secret else None,
        node_selector=serving.node_selector,
        tolerations=tuple(each.model_dump(by_alias=True, exclude_none=True) for each in serving.tolerations),
        affinity=serving.affinity or {},
        image_pull_secrets=tuple(secret.name for secret in serving.image_pull_secrets),
        pod_template=serving.pod_template or {},
    )


def _autoscaling(scaling: Autoscaling) -> core.Autoscaling:
    return core.Autoscaling(scaling.min, scaling.max, scaling.cpu_utilization, scaling.metrics, scaling.behavior or {})
