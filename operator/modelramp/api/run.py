"""From the API's words on how versions are run to the core's values."""

from __future__ import annotations

from collections.abc import Mapping

from modelramp.api.guardrail import Guardrail
from modelramp.api.pods import Autoscaling, core_tolerations
from modelramp.api.problem import Problem
from modelramp.api.profile import core_runtime
from modelramp.api.serving import Serving
from modelramp.api.spec import Spec
from modelramp.rollout import spec as core
from modelramp.rollout.runtime import BUILT_IN, CUSTOM, Protocol, Runtime
from modelramp.rollout.server_queries import built_in
from modelramp.rollout.templates import BUILT_IN as TEMPLATES
from modelramp.rollout.templates import COPIES, Template

Runtimes = Mapping[str, Runtime | Problem]
"""The model servers that an administrator has described, by name; a Problem where the description cannot be used."""


def find_runtime(read: Spec, described: Runtimes | None, traffic: core.Traffic) -> Runtime | Problem:
    """Return the model server of a spec, or why it cannot be that one.

    Without `described` a name that is not built in is taken for one that only the operator knows.
    """
    serving = read.serving
    if serving.runtime == CUSTOM and serving.custom:
        return _fitting(read, core_runtime(CUSTOM, serving.custom), traffic)
    if serving.runtime in BUILT_IN:
        return _fitting(read, BUILT_IN[serving.runtime], traffic)
    if described is None:
        return Runtime(serving.runtime)
    match described.get(serving.runtime):
        case Runtime() as runtime:
            return _fitting(read, runtime, traffic)
        case Problem() as problem:
            return Problem("spec.serving.runtime", serving.runtime, f"{serving.runtime} cannot be used: {problem}")
        case _:
            known = ", ".join(sorted({*BUILT_IN, *described, CUSTOM}))
            return Problem(
                "spec.serving.runtime", serving.runtime, f"{serving.runtime} is no runtime; there are {known}"
            )


def _fitting(read: Spec, runtime: Runtime, traffic: core.Traffic) -> Runtime | Problem:
    """Return the runtime if it does what else the spec asks for."""
    if not runtime.brings_image and runtime.image is None and read.serving.image is None:
        return Problem("spec.serving.image", "", f"runtime {runtime.name} has no image of its own: give one")
    if read.policy and not runtime.applies_policy:
        return Problem("spec.policy", "", f"runtime {runtime.name} applies no business rules; mlflow does")
    if read.gates.staging and runtime.protocol is not Protocol.MLFLOW:
        says = f"runtime {runtime.name} has no /invocations, to which the requests are sent"
        return Problem("spec.gates.staging", "", says)
    for index, rail in enumerate(read.guardrails):
        if rail.template in TEMPLATES and template_of(rail, runtime, traffic) is None:
            says = f"runtime {runtime.name} does not count what it asks for, and who routes is not asked"
            return Problem(f"spec.guardrails[{index}].template", str(rail.template), says)
        if rail.template in COPIES and read.serving.capture is None:
            says = "it compares answers that are kept: give spec.serving.capture"
            return Problem(f"spec.guardrails[{index}].template", str(rail.template), says)
    return runtime


def template_of(rail: Guardrail, runtime: Runtime, traffic: core.Traffic) -> Template | None:
    """Return the query of a guardrail that names a built-in template; its runtime has been found fitting."""
    return built_in(rail.template or "", runtime, traffic, asks_server=rail.source == "Server")


def core_serving(serving: Serving, runtime: Runtime) -> core.Serving:
    """Return how versions are run."""
    return core.Serving(
        runtime=runtime,
        replicas=serving.replicas,
        keep_warm=serving.keep_warm,
        autoscaling=_autoscaling(serving.autoscaling) if serving.autoscaling else None,
        image=serving.image,
        resources=serving.resources.model_dump(by_alias=True, exclude_defaults=True),
        env=tuple(variable.model_dump(by_alias=True, exclude_unset=True) for variable in serving.env),
        service_account=serving.service_account_name,
        registry_secret=serving.registry_secret.name if serving.registry_secret else None,
        node_selector=serving.node_selector,
        tolerations=core_tolerations(serving.tolerations),
        affinity=serving.affinity or {},
        image_pull_secrets=tuple(secret.name for secret in serving.image_pull_secrets),
        pod_template=serving.pod_template or {},
        capture=core.Capture(serving.capture.percent, serving.capture.tolerance) if serving.capture else None,
    )


def _autoscaling(scaling: Autoscaling) -> core.Autoscaling:
    return core.Autoscaling(scaling.min, scaling.max, scaling.cpu_utilization, scaling.metrics, scaling.behavior or {})
