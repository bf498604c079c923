"""What the server counts: names, labels and their bounds.

Every series carries `model`, `version`, and `arm` (`live`, `shadow` for mirrored requests, or `staging` for a
rehearsal's), so that two versions and the arms of one never mix. Label values are bounded: outputs and classes past a
limit are `__other__`.
"""

from __future__ import annotations

import threading
from collections import Counter as CountedValues
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from modelramp_runtime.answer import Outputs, finite_of
from modelramp_runtime.exposition import told
from modelramp_runtime.refusal import Kind
from modelramp_runtime.settings import Settings

OTHER = "__other__"
EDITS = ("used", "refused")
SIZE_BUCKETS = tuple(64.0 * 4**power for power in range(11))
"""Bytes: from 64 to 64 Mi."""
_CLASS_LENGTH = 64


class Arm(StrEnum):
    """Whether callers get this answer, or only the comparison does, or a rehearsal before any traffic."""

    LIVE = "live"
    SHADOW = "shadow"
    STAGING = "staging"


class ValueHistogram(Collector):
    """A histogram that takes a whole array at once: a batch of 10,000 rows costs one pass, not 10,000 calls."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], edges: Sequence[float]) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._edges = np.array(edges)
        self._counts: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def observe(self, labels: tuple[str, ...], values: npt.NDArray[Any]) -> None:
        """Count finite values into the series of `labels`."""
        places = np.searchsorted(self._edges, values, side="left")
        counts = np.bincount(places, minlength=len(self._edges) + 1)
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + counts
            self._sums[labels] = self._sums.get(labels, 0.0) + float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """Yield the family, for the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        with self._lock:
            series = [(labels, counts.cumsum(), self._sums[labels]) for labels, counts in self._counts.items()]
        names = [*(str(float(edge)) for edge in self._edges), "+Inf"]
        for labels, cumulative, total in series:
            family.add_metric(labels, list(zip(names, map(float, cumulative), strict=True)), total)
        yield family


_without_created: Callable[[], None] = disable_created_metrics
_VERSION = ("model", "version")
_ARM = (*_VERSION, "arm")


ArmSeries = tuple[Gauge, Histogram, Histogram, Histogram, Histogram]
"""In flight, duration, predict, bytes received, bytes sent."""


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self, settings: Settings) -> None:
        _without_created()  # as many series again, which no query here needs
        self.registry = CollectorRegistry()
        self._model = (settings.model_name, settings.model_version)
        self._max_classes, self._max_outputs = settings.max_classes, settings.max_outputs
        self._classes: dict[str, set[str]] = {}
        self._outputs: set[str] = set()
        self._requests = self._counter("requests", "Requests to /invocations by status.", "code")
        self._errors = self._counter("request_errors", "Requests without a prediction by cause.", "kind")
        self._non_finite = self._counter("prediction_non_finite", "Predictions NaN or infinite.", "output")
        self._class = self._counter("prediction_class", "Predictions by class.", "output", "class")
        self._decisions = self._counter("policy_decisions", "Decisions of the policy's rules.", "rule", "decision")
        self._edits = Counter(
            "modelramp_policy_edits", "Edits of the policy.", (*_VERSION, "result"), registry=self.registry
        )
        self._policy = self._gauge("policy_info", "The policy in force.", (*_VERSION, "policy"))
        self._refused = self._gauge("policy_refused", "Whether the newest edit cannot be used.", _VERSION)
        edges = settings.duration_buckets
        self._duration = self._histogram("request", "From a request's head to its answer, whatever it is.", edges)
        self._predict = self._histogram("predict", "The model's own predict.", edges)
        self._received = self._sizes("request", "Bodies of requests.")
        self._sent = self._sizes("response", "Bodies of answers.")
        self._in_flight = self._gauge("requests_in_flight", "Requests that are being answered.", _ARM)
        self._load = self._gauge("model_load_seconds", "Time to load the model.", _VERSION)
        self._value = ValueHistogram(
            "modelramp_prediction_value", "Predicted numbers.", (*_ARM, "output"), settings.prediction_buckets
        )
        self.registry.register(self._value)
        ProcessCollector(registry=self.registry)
        self._start_at_zero()

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"modelramp_{name}", documentation, (*_ARM, *labels), registry=self.registry)

    def _gauge(self, name: str, documentation: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"modelramp_{name}", documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, edges: Sequence[float]) -> Histogram:
        full_name = f"modelramp_{name}_duration_seconds"
        return Histogram(full_name, documentation, _ARM, buckets=edges, registry=self.registry)

    def _sizes(self, name: str, documentation: str) -> Histogram:
        full_name = f"modelramp_{name}_size_bytes"
        return Histogram(full_name, documentation, _ARM, buckets=SIZE_BUCKETS, registry=self.registry)

    def _start_at_zero(self) -> None:
        # A rate over a series that appears with its first error misses that error.
        for arm in (Arm.LIVE, Arm.SHADOW):
            self._requests.labels(*self._model, arm, "200")
            for kind in Kind:
                self._errors.labels(*self._model, arm, kind)
        self._of = {arm: self._series(arm) for arm in (Arm.LIVE, Arm.SHADOW)}
        for result in EDITS:
            self._edits.labels(*self._model, result)

    def _series(self, arm: Arm) -> ArmSeries:
        labels = (*self._model, arm)
        return (
            self._in_flight.labels(*labels),
            self._duration.labels(*labels),
            self._predict.labels(*labels),
            self._received.labels(*labels),
            self._sent.labels(*labels),
        )

    def _at(self, arm: Arm) -> ArmSeries:
        """Return an arm's series; the one of rehearsals appears with the first of its requests."""
        return self._of.get(arm) or self._of.setdefault(arm, self._series(arm))

    def loaded(self, seconds: float) -> None:
        """Note how long the model took to load."""
        self._load.labels(*self._model).set(seconds)

    def arrived(self, arm: Arm) -> None:
        """Count a request in."""
        self._at(arm)[0].inc()

    def answered(self, arm: Arm, code: int, seconds: float, sent: int) -> None:
        """Count a request out, with its status, its duration and its answer's bytes."""
        in_flight, duration, _, _, answers = self._at(arm)
        in_flight.dec()
        duration.observe(seconds)
        answers.observe(sent)
        self._requests.labels(*self._model, arm, str(code)).inc()

    def received(self, arm: Arm, size: int) -> None:
        """Count the bytes of a request's body."""
        self._at(arm)[3].observe(size)

    def edited(self, *, is_used: bool) -> None:
        """Count an edit of the policy."""
        self._edits.labels(*self._model, EDITS[0] if is_used else EDITS[1]).inc()
        self._refused.labels(*self._model).set(not is_used)

    def ruled(self, policy: str) -> None:
        """Tell which policy is in force now."""
        self._policy.clear()
        self._policy.labels(*self._model, policy).set(1)

    def decided(self, arm: Arm, decisions: Mapping[str, Sequence[object]]) -> None:
        """Count decisions by rule; numbers are one class, what is not known another."""
        for rule, values in decisions.items():
            for decision, count in CountedValues(map(_decision_class, values)).items():
                self._decisions.labels(*self._model, arm, rule, self._class_name(f"policy {rule}", decision)).inc(count)

    def refused(self, arm: Arm, kind: Kind) -> None:
        """Count why a request got no prediction."""
        self._errors.labels(*self._model, arm, kind).inc()

    def predicted(self, arm: Arm, seconds: float) -> None:
        """Count one call of the model's predict."""
        self._at(arm)[2].observe(seconds)

    def not_finite(self, arm: Arm, output: str, count: int) -> None:
        """Count predictions that are NaN or infinite; a count of 0 makes the series appear."""
        self._non_finite.labels(*self._model, arm, self.output_of(output)).inc(count)

    def expect(self, outputs: Outputs) -> None:
        """Let the series of these outputs begin at zero."""
        for arm in (Arm.LIVE, Arm.SHADOW):
            for name in outputs:
                self.not_finite(arm, name, 0)

    def observe(self, arm: Arm, outputs: Outputs) -> int:
        """Count predicted values and classes; return how many values were not finite."""
        total = 0
        for name, values in outputs.items():
            output = self.output_of(name)
            kind = values.dtype.kind
            if kind in "iuf":
                finite, not_finite = finite_of(values)
                self._non_finite.labels(*self._model, arm, output).inc(not_finite)
                total += not_finite
                if len(finite):
                    self._value.observe((*self._model, arm, output), finite)
            if kind in "iubOUS":
                self._count_classes(arm, output, values)
        return total

    def _count_classes(self, arm: Arm, output: str, values: npt.NDArray[Any]) -> None:
        if values.dtype.kind == "O" and not all(isinstance(value, str | int | bool) for value in values.flat):
            return
        classes, counts = np.unique(values.astype(str), return_counts=True)
        for name, count in zip(classes.tolist(), counts.tolist(), strict=True):
            self._class.labels(*self._model, arm, output, self._class_name(output, name)).inc(count)

    def output_of(self, name: str) -> str:
        """Return the label for an output; beyond the most that are counted by name it is one for all."""
        return bounded(self._outputs, name[:_CLASS_LENGTH], self._max_outputs)

    def _class_name(self, output: str, name: str) -> str:
        return bounded(self._classes.setdefault(output, set()), name[:_CLASS_LENGTH], self._max_classes)

    def told(self) -> list[Any]:
        """Return every series, to be summed with those of other workers."""
        return told(self.registry)


def _decision_class(decision: object) -> str:
    match decision:
        case str():
            return decision
        case bool():
            return "true" if decision else "false"
    return "__unknown__" if decision is None else "__number__"


def bounded(seen: set[str], name: str, limit: int) -> str:
    """Return a label's value, or one for all that come after `limit` others."""
    if name not in seen:
        if len(seen) >= limit:
            return OTHER
        seen.add(name)
    return name
