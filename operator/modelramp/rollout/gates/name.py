"""The name: a product's, without version, date or state."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, fails, passes
from modelramp.rollout.status import GateResult

PRODUCT = "[A-Za-z0-9]([A-Za-z0-9_. -]*[A-Za-z0-9])?"
_DATE = "(19|20)[0-9]{2}[_. -]?(0[1-9]|1[0-2])([_. -]?(0[1-9]|[12][0-9]|3[01]))?"
NOT_A_PRODUCT = (
    f"(?i)((^|[_. -])(v|ver|version)[_. -]?[0-9]+([_. -]|$)|[_. -](final|new|old|tmp|temp|latest|copy)[_. -]?[0-9]*$"
    f"|(^|[_. -]){_DATE}([_. -]|$))"
)
"""RE2 and `re` alike: the API server refuses the same names."""


def judge_name(case: Case) -> Iterator[GateResult]:
    """Judge the model's name, and whether it matches each pattern that is asked."""
    name = case.candidate.name
    if not re.fullmatch(PRODUCT, name):
        yield fails("name", "NotAProductName", f"{name!r} is no product name such as fraud_detector", name)
    elif found := re.search(NOT_A_PRODUCT, name):
        part = found[0].strip("_. -")
        message = f"{name!r} has {part!r} in it: the registry counts versions, the name is the product's"
        yield fails("name", "VersionInName", message, name)
    elif missed := [pattern for pattern in case.gates.name_patterns if not re.fullmatch(pattern, name)]:
        yield fails("name", "NameDoesNotMatch", f"{name!r} does not match {missed[0]}", name, missed[0])
    else:
        yield passes("name", "ProductName", name, name, " and ".join(case.gates.name_patterns))
