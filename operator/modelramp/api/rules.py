"""Rules of the API, each said once: as CEL for the API server and as a predicate for the operator.

The API server refuses what breaks a rule when it is written. The operator checks again what it reads, because an
object may be older than a rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from modelramp.api.durations import PATTERN, format_duration, parse_duration

VALIDATIONS = "x-kubernetes-validations"
BROKEN = "rule_broken"
"""Type of the error that pydantic collects for a broken rule; its context has `at`."""

_SLOT = re.compile(r"(?<!{){([a-zA-Z.]+)}(?!})")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold between the fields of one block, or, as an annotation of a type, for its values.

    `says` is the sentence for the user; a slot in it, such as {self} or {self.name}, is filled with the value.
    `holds` is None for a rule on a change, which only the API server sees. `at` is the field that is at fault,
    such as ".max".
    """

    cel: str
    says: str
    holds: Callable[[Any], bool] | None = None
    at: str = ""

    def validation(self) -> dict[str, str]:
        """Return the rule as an item of `x-kubernetes-validations`."""
        # Where a value has a line break, the API server says the plain message.
        said = {"message": _SLOT.sub("…", self.says)}
        said |= {"messageExpression": _concatenation(self.says)} if _SLOT.search(self.says) else {}
        return {"rule": self.cel} | said | ({"fieldPath": self.at} if self.at else {})

    def checked(self, value: T) -> T:
        """Return the value if it keeps the rule; raise what pydantic collects if not."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError(BROKEN, "{says}", {"says": _filled(self.says, value), "at": self.at})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the value after its type."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rule to the value's JSON schema."""
        return _with_rule(handler(schema), self)


def _with_rule(json_schema: JsonSchemaValue, rule: Rule) -> JsonSchemaValue:
    return json_schema | {VALIDATIONS: [*json_schema.get(VALIDATIONS, ()), rule.validation()]}


def _concatenation(says: str) -> str:
    texts_and_slots = enumerate(_SLOT.split(says))
    return " + ".join(part if index % 2 else _literal(part) for index, part in texts_and_slots if part)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _filled(says: str, value: Any) -> str:
    def filling(slot: re.Match[str]) -> str:
        _, _, field = slot[1].partition(".")
        filled = getattr(value, field) if field else value
        return format_duration(filled) if isinstance(filled, timedelta) else str(filled)

    return _SLOT.sub(filling, says)


def matches(regex: str, advice: str, *, wanted: bool = True) -> Rule:
    """Return the rule that a text matches an expression (RE2 and `re` alike), or that it does not.

    `advice` goes on from the quoted text: "is no registry version: …".
    """

    def holds(text: str) -> bool:
        # `$` of `re` also matches before a last newline, RE2's does not.
        return (re.search(regex, text) is not None and not text.endswith("\n")) is wanted

    return Rule(f"{'' if wanted else '!'}self.matches(r'{regex}')", f"'{{self}}' {advice}", holds)


class Block(BaseModel):
    """One object of the API, with its rules; the docstring below a field is what `kubectl explain` says."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # A newer CRD fills in defaults that an older operator does not know; typos are the API server's to refuse.
        extra="ignore",
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey(self) -> Self:
        for rule in self.rules:
            rule.checked(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rules to the block's JSON schema."""
        json_schema = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            json_schema[VALIDATIONS] = [rule.validation() for rule in cls.rules]
        return json_schema


@dataclass(frozen=True, slots=True)
class DurationText:
    """A duration of at least `least`, text outside and a timedelta inside."""

    least: timedelta = timedelta(0)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read text, write text."""
        to_text = core_schema.plain_serializer_function_ser_schema(format_duration)
        return core_schema.no_info_plain_validator_function(self._read, serialization=to_text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the text."""
        return _with_rule({"type": "string", "minLength": 1, "maxLength": 32}, self._rule())

    def _rule(self) -> Rule:
        least = format_duration(self.least) if self.least else ""
        is_enough = f" && duration(self) >= duration('{least}')" if least else ""
        return Rule(
            f"self.matches('{PATTERN}'){is_enough}",
            f"'{{self}}' is not a duration{f' of at least {least}' if least else ''}: write whole numbers with h, m, s "
            "or ms, such as 1h30m",
        )

    def _read(self, value: Any) -> timedelta:
        fits = isinstance(value, str) and re.fullmatch(PATTERN.removesuffix("$"), value) is not None
        read = (parse_duration(value) if fits else None) if isinstance(value, str) else value
        if not isinstance(read, timedelta) or read < self.least:
            raise PydanticCustomError(BROKEN, "{says}", {"says": _filled(self._rule().says, value), "at": ""})
        return read


_MOMENT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
"""Some offsets lead out of the years that there are."""


@dataclass(frozen=True, slots=True)
class MomentText:
    """A moment in UTC or with its offset: text outside, an aware datetime inside."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read text, write text."""
        to_text = core_schema.plain_serializer_function_ser_schema(datetime.isoformat)
        return core_schema.no_info_plain_validator_function(self._read, serialization=to_text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the text."""
        return _with_rule({"type": "string", "maxLength": 32}, self._rule())

    @staticmethod
    def _rule() -> Rule:
        says = "'{self}' is no moment: write it in UTC or with its offset, such as 2026-12-31T18:00:00Z"
        return Rule(f"self.matches('{_MOMENT}') && timestamp(self) > timestamp(0)", says)

    def _read(self, value: Any) -> datetime:
        """Read text; YAML readers other than the API server's hand over what they took for a moment."""
        moment = value if isinstance(value, datetime) else _moment(value)
        if moment is None or moment.tzinfo is None or not _EPOCH < moment <= _LAST:
            raise PydanticCustomError(BROKEN, "{says}", {"says": _filled(self._rule().says, value), "at": ""})
        return moment


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or re.fullmatch(_MOMENT.removesuffix("$"), value) is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
