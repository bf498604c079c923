"""Environment variables of a container."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from modelramp.api.rules import Block, Rule, matches
from modelramp.api.scalars import ObjectName
from modelramp.pods.template import OUR_VARIABLES

_Text = Annotated[str, Field(min_length=1, max_length=253)]


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
