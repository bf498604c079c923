"""Guardrails: checks against Prometheus while there is traffic."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelramp.api.durations import PATTERN
from modelramp.api.rules import Block, Rule
from modelramp.api.scalars import Interval, Label, PositiveDuration, Query, TemplateName
from modelramp.rollout.templates import DISAGREEMENT_RATE, ROUTER

ASKED_ABOUT = "[{]{2} *(version|backend|service) *[}]{2}"


class FailureLimit(Block):
    """How many failed verdicts are a breach."""

    count: Annotated[int, Field(ge=1, le=100)] = 1
    """This many."""
    mode: Literal["Consecutive", "Total"] = "Consecutive"
    """Consecutive: one after the other. Total: all of the attempt together."""


def _has_bound(rail: Guardrail) -> bool:
    return (rail.min, rail.max, rail.max_duration, rail.compare) != (None,) * 4


def _is_latency(rail: Guardrail) -> bool:
    return rail.template is not None and rail.template.startswith("latency")


def _is_rate(rail: Guardrail) -> bool:
    return rail.template is not None and rail.template.endswith("rate")


def _asks_for_both(rail: Guardrail) -> bool:
    return rail.compare is None or rail.query is None or re.search(ASKED_ABOUT, rail.query) is not None


class Guardrail(Block):
    """One check while there is traffic; no answer never passes."""

    name: Label
    """Name of the guardrail: a DNS-1123 label."""
    template: TemplateName | None = None
    """A query by name; or give query. There are error-rate, server-error-rate, latency-p50, latency-p95, latency-p99,
    disagreement-rate, and those of the cluster's PromotionPolicies. Rates are shares from 0 to 1, latencies are
    durations. disagreement-rate is the share of predictions on copied requests that differ from the live ones; it is
    asked in the shadow only, and needs spec.shadow and spec.serving.capture."""
    source: Literal["Router", "Server"] | None = None
    """Who counts, for a built-in template: the router, which sees what callers see and is the default, or the model
    server, where its runtime counts such things. Server needs a Prometheus whose series have the labels namespace and
    pod."""
    query: Query | None = None
    """PromQL that answers with one number. Placeholders: {{namespace}}, {{name}}, {{model}}, {{version}} (the one that
    is asked about), {{candidate}}, {{stable}}, {{backend}} (that version's cluster in the proxies'
    metrics), {{service}} (its Service, and its Deployment), {{window}}. They bring their own quotes:
    version={{candidate}}."""
    min: float | None = None
    """Fails under this number."""
    max: float | None = None
    """Fails over this number. For a latency, use maxDuration."""
    max_duration: PositiveDuration | None = None
    """Fails over this duration, such as 80ms, where the query answers in seconds. It has a field of its own because
    max is a number."""
    compare: Literal["Stable"] | None = None
    """Fails where the candidate's value is over tolerance × the stable version's + slack."""
    tolerance: Annotated[float, Field(ge=1, le=1000)] = 1.2
    """How many times the stable version's value the candidate's may be."""
    slack: Annotated[float, Field(ge=0)] | None = None
    """What the candidate's value may be on top, in the query's unit. 0, but for templates: 0.005 for error rates and
    p50, 0.01 for p95 and p99."""
    interval: Interval = timedelta(seconds=15)
    """Time between two questions."""
    window: Interval = timedelta(minutes=1)
    """What {{window}} stands for; at least the interval."""
    failure_limit: FailureLimit = FailureLimit()
    """How many failed verdicts are a breach."""
    on_no_data: Literal["Hold", "Rollback"] = "Hold"
    """What no answer leads to when noDataDeadline has passed. Until then the rollout holds."""
    no_data_deadline: Interval = timedelta(minutes=5)
    """For how long no answer only holds."""
    min_passes: Annotated[int, Field(ge=1, le=100)] = 3
    """How many passes a step needs, asked after its split was seen in effect."""

    rules: ClassVar = (
        Rule(
            "has(self.template) || has(self.query)",
            "guardrail '{self.name}' asks nothing: give template or query",
            lambda rail: rail.template is not None or rail.query is not None,
        ),
        Rule(
            "!has(self.template) || !has(self.query)",
            "guardrail '{self.name}' has both template and query: keep one",
            lambda rail: rail.template is None or rail.query is None,
        ),
        Rule(
            f"!has(self.source) || (has(self.template) && self.template in {list(ROUTER)})",
            "only a built-in template has a source: any other query says itself whose metrics it asks for",
            lambda rail: rail.source is None or rail.template in ROUTER,
            at=".source",
        ),
        Rule(
            "has(self.min) || has(self.max) || has(self.maxDuration) || has(self.compare)",
            "guardrail '{self.name}' has no bound: give min, max, maxDuration or compare: Stable",
            _has_bound,
        ),
        Rule(
            "!has(self.max) || !has(self.maxDuration)",
            "max and maxDuration are the same bound: keep one",
            lambda rail: rail.max is None or rail.max_duration is None,
            at=".max",
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "min is over max: nothing could pass",
            lambda rail: rail.min is None or rail.max is None or rail.min <= rail.max,
            at=".min",
        ),
        Rule(
            "!has(self.template) || !self.template.startsWith('latency') || (!has(self.min) && !has(self.max))",
            "a latency is a duration: write maxDuration, such as 80ms, instead of min and max",
            lambda rail: not _is_latency(rail) or (rail.min is None and rail.max is None),
            at=".max",
        ),
        Rule(
            "!has(self.template) || !self.template.endsWith('rate') || !has(self.maxDuration)",
            "a rate is no duration: write max, such as 0.01 for 1 %, instead of maxDuration",
            lambda rail: not _is_rate(rail) or rail.max_duration is None,
            at=".maxDuration",
        ),
        Rule(
            "!has(self.template) || !self.template.endsWith('rate') || !has(self.max)"
            " || (self.max >= 0.0 && self.max <= 1.0)",
            "a rate is a share from 0 to 1: write 0.01 for 1 %",
            lambda rail: not _is_rate(rail) or rail.max is None or 0 <= rail.max <= 1,
            at=".max",
        ),
        Rule(
            f"!self.window.matches('{PATTERN}') || !self.interval.matches('{PATTERN}')"
            " || duration(self.window) >= duration(self.interval)",
            "the window must be at least the interval, {self.interval}, not {self.window}",
            lambda rail: rail.window >= rail.interval,
            at=".window",
        ),
        Rule(
            f"!has(self.compare) || !has(self.template) || self.template != '{DISAGREEMENT_RATE}'",
            "the template compares the candidate with stable by itself: give max",
            lambda rail: rail.compare is None or rail.template != DISAGREEMENT_RATE,
            at=".compare",
        ),
        Rule(
            f"!has(self.compare) || !has(self.query) || self.query.matches('{ASKED_ABOUT}')",
            "the query is asked for the candidate and for stable: it must name {{version}} or {{backend}}, else both "
            "answers are the same",
            _asks_for_both,
            at=".query",
        ),
    )
