"""Business rules over a model's answers."""

from __future__ import annotations

from datetime import timedelta

from modelramp.api.rules import Block
from modelramp.api.scalars import Duration, ObjectName


class PolicyGate(Block):
    """What the business rules must be."""

    required: bool = False
    """Refuse a version without business rules. Rules that are given are always validated."""


class Policy(Block):
    """Business rules over a model's answers, which change without a new version."""

    config_map: ObjectName
    """ConfigMap in the object's namespace whose key policy.yaml holds thresholds and rules. It is mounted into the
    versions' pods; an edit is validated there and in use at once, one that cannot be used changes nothing."""
    watch_for: Duration = timedelta(hours=1)
    """For how long after a change of the rules a broken guardrail is reported with it, and after which the rules
    are reported to have held."""
