"""Business rules over a model's answers."""

from __future__ import annotations

from datetime import datetime, timedelta

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


class PolicyState(Block):
    """The business rules as they were seen last."""

    config_map: str | None = None
    """ConfigMap that holds them."""
    hash: str | None = None
    """Hash of those in force, as answers name it in X-Policy-Hash."""
    previous: str | None = None
    """Hash of those before."""
    since: datetime | None = None
    """When the operator saw them in force."""
    refused: str | None = None
    """Hash of an edit that is not used."""
    message: str | None = None
    """Why it is not used."""
    watching: bool | None = None
    """Whether a broken guardrail is still reported together with the last change."""
