"""Say what the PromotionPolicies that were checked with a ModelDeployment would raise of it, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelramp.check import Result
from modelramp.rollout.floor import applies, tighten
from modelramp.rollout.rulebook import PromotionPolicy, Subject
from modelramp.rollout.spec import Spec


def foretell(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each policy that would raise something, and one for each thing.

    Labels of a namespace and tags of a version are not known here: a policy that selects by them is taken to select,
    and the line says under which condition.
    """
    policies = [result.found for result in results if isinstance(result.found, PromotionPolicy)]
    for result in results:
        if isinstance(result.found, Spec):
            for policy in policies:
                yield from _raised(result, result.found, policy)


def _raised(result: Result, spec: Spec, policy: PromotionPolicy) -> Iterator[str]:
    asked = policy.selector
    namespace = result.namespace or next(iter(asked.namespaces), "")
    subject = Subject(namespace, asked.namespace_labels, result.labels, asked.tags)
    condition = " and ".join(_conditions(result, policy))
    where = f", where {condition}" if condition else ""
    if raised := tighten(spec.plan, applies([policy], subject))[1]:
        yield f"{result.where}: policy {policy.name} asks for more{where}:"
        yield from (f"    {each.field}: {each.message}" for each in raised)


def _conditions(result: Result, policy: PromotionPolicy) -> Iterator[str]:
    asked = policy.selector
    if asked.namespaces and not result.namespace:
        yield f"the namespace is {' or '.join(asked.namespaces)}"
    if asked.namespace_labels:
        yield f"the namespace has {_pairs(asked.namespace_labels)}"
    if asked.tags:
        yield f"the version has {_pairs(asked.tags)}"


def _pairs(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in pairs.items())
