"""Where the split of the traffic is written. A backend is one field of `Traffic`: the rules count the fields."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from modelramp.api.rules import Block, Rule


class ConfigMapRouter(Block):
    """The router that the operator runs itself: Envoy, following the ConfigMap NAME-traffic."""

    router_replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """How many Envoys."""


class _Backends(Block):
    config_map: ConfigMapRouter | None = None
    """An Envoy of its own, behind the Service NAME: needs nothing else in the cluster."""


_FIELDS = tuple(to_camel(field) for field in _Backends.model_fields)
_GIVEN = ", ".join(f"has(self.{field})" for field in _FIELDS)


def _one_is_given(backends: Any) -> bool:
    return len([field for field in type(backends).model_fields if getattr(backends, field) is not None]) == 1


class Traffic(_Backends):
    """Where the split is written: exactly one backend, which cannot be exchanged for another."""

    rules: ClassVar = (
        Rule(
            f"[{_GIVEN}].filter(given, given).size() == 1",
            f"needs exactly one backend, of: {', '.join(_FIELDS)}",
            _one_is_given,
        ),
        Rule(
            " && ".join(f"has(self.{field}) == has(oldSelf.{field})" for field in _FIELDS),
            "the backend cannot be exchanged: make a new ModelDeployment",
        ),
    )
