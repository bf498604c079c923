"""The API's scalars: each is a type with the rule that its values keep."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field, StrictInt, WithJsonSchema

from modelramp.api.rules import DurationText, MomentText, Rule, matches
from modelramp.rollout.gates.name import NOT_A_PRODUCT, PRODUCT
from modelramp.rollout.queries import PLACEHOLDERS

Duration = Annotated[timedelta, DurationText()]
PositiveDuration = Annotated[timedelta, DurationText(timedelta(milliseconds=1))]
Interval = Annotated[timedelta, DurationText(timedelta(seconds=1))]

Moment = Annotated[datetime, MomentText()]

Version = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(
        "^[1-9][0-9]{0,8}$",
        'is no registry version: write the number that the registry gave it, such as "8"; never an alias or a stage',
    ),
]

ModelName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matches(
        f"^{PRODUCT}$",
        "is no model name: write letters, digits, '_', '-', '.' and spaces, with a letter or digit at both ends",
    ),
    matches(
        NOT_A_PRODUCT,
        "has a version, a date or a word such as final, new, old or tmp in it: name the product, such as "
        "fraud_detector; the registry counts its versions, and spec.model.version pins one",
        wanted=False,
    ),
]

Approval = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(
        "^[1-9][0-9]{0,8}/([1-9][0-9]?|100)(/[1-9][0-9]{0,8}-[0-9a-f]{6})?$",
        "approves no step: write VERSION/WEIGHT, such as 8/50, or what status.message asks for",
    ),
]

Label = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "is no DNS-1123 label: write lower case letters, digits and '-', with a letter or digit at both ends",
    ),
]

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "is no DNS-1123 name: write lower case letters, digits, '-' and '.', with a letter or digit at both ends",
    ),
]

Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches("^[^ \\t\\r\\n]+$", "is no image: write it without blanks, such as registry.example.com/scorer:1.4"),
]


def _query() -> str:
    """Return the expression of a query that `queries.problems` finds nothing wrong with.

    RE2 cannot look ahead: two braces in a row are kept out by saying what may follow one, be it escaped or not.
    """
    plain, brace = "[^{0}\\\\\\n{{]|\\\\[^\\n{{]", "\\\\?[{{](\\\\[{{])*"
    escaped = f"({plain}|{brace}({plain}))*({brace})?"
    texts = [f"{quote}{escaped.format(quote)}{quote}" for quote in ("\\x22", "\\x27")]
    text = "|".join([*texts, "\\x60([^\\x60{]|[{][^\\x60{])*[{]?\\x60"])
    piece = f"{text}|[^{{}}#~\\x22\\x27\\x60]|~[ \\t\\r\\n]*({text})|#[^\\n]*"
    placeholder = f"[{{]{{2}}[ \\t\\r\\n]*({'|'.join(PLACEHOLDERS)})[ \\t\\r\\n]*[}}]{{2}}"
    return f"^({piece}|{placeholder}|([{{][}}]|[{{]|[}}])({piece}|$))*$"


_QUERY = _query()
Query = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    Rule(
        f"self.matches(r'{_QUERY}')",
        f"the query cannot be filled in: the placeholders are {{{{{'}}, {{'.join(PLACEHOLDERS)}}}}}; write them bare, "
        "such as version={{candidate}}, for they bring their own quotes; after = or != only; and close every quote",
        lambda query: re.search(_QUERY, query) is not None,
    ),
]

_AMOUNT = "^([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$"
Quantity = Annotated[
    StrictInt | str,
    Field(union_mode="left_to_right"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
        }
    ),
    Rule(
        f"type(self) == int ? self >= 0 : type(self) == string && self.matches('{_AMOUNT}')",
        "must be an amount, such as 2, 500m or 512Mi",
        lambda amount: re.fullmatch(_AMOUNT.removesuffix("$"), str(amount)) is not None,
    ),
]

Percent = Annotated[int, Field(ge=1, le=100)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
TemplateName = Label
