"""From pydantic's JSON schema to the structural schema of a CRD."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from modelramp.api.durations import format_duration
from modelramp.api.rules import VALIDATIONS, Block

_ORDER = (
    "description", "type", "format", "x-kubernetes-int-or-string", "anyOf", "enum", "default", "minLength", "maxLength",
    "minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", "required",
    "properties", "items", "additionalProperties",
)  # fmt: skip
_RULE_ORDER = ("rule", "message", "messageExpression", "fieldPath")

Schema = dict[str, Any]


def structural(block: type[Block]) -> Schema:
    """Return the block's structural schema: no references, no titles, defaults as the API server fills them in.

    Raises KeyError for a keyword of JSON schema that has no place in a CRD.
    """
    schema = block.model_json_schema(by_alias=True, schema_generator=_Texts)
    return _structural(schema, schema.get("$defs", {}))


class _Texts(GenerateJsonSchema):
    """Writes the defaults of durations as users write them."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    flat = _without_null(_resolved(schema, definitions), definitions)
    for keyword in ("title", "$defs", "const"):
        flat.pop(keyword, None)
    if "properties" in flat:
        flat["properties"] = {name: _structural(each, definitions) for name, each in flat["properties"].items()}
    for keyword in flat.keys() & {"items", "additionalProperties"}:
        flat[keyword] = _structural(flat[keyword], definitions)
    if VALIDATIONS in flat:
        flat[VALIDATIONS] = [{key: rule[key] for key in _RULE_ORDER if key in rule} for rule in flat[VALIDATIONS]]
    flat = _with_default(flat)
    return {keyword: flat[keyword] for keyword in sorted(flat, key=_ORDER.index)}


def _with_default(schema: Schema) -> Schema:
    default = schema.pop("default", None)
    fields = schema.get("properties", {}).values()
    if default is not None and fields:
        # The fields' own defaults fill an empty object.
        default = {} if any("default" in field for field in fields) else None
    worth_storing = default is not None and (default not in ("", [], {}) or fields)
    return schema | ({"default": default} if worth_storing else {})


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    own = dict(schema)
    reference = own.pop("$ref", None)
    target = dict(definitions[reference.removeprefix("#/$defs/")]) if reference else {}
    own |= {"enum": [own["const"]]} if "const" in own else {}
    return target | own | ({"description": _one_line(own["description"])} if "description" in own else {})


def _without_null(schema: Schema, definitions: Mapping[str, Any]) -> Schema:
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) != 1:
        return schema
    own = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    return _resolved(choices[0], definitions) | own


def _one_line(text: str) -> str:
    return " ".join(text.split())
