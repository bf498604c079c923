"""What is counted about kept answers and their comparison."""

from __future__ import annotations

from prometheus_client import Counter, Summary

from modelramp_runtime.comparison import Compared
from modelramp_runtime.metrics import Arm, Metrics, bounded

_VERSION = ("model", "version")
_AGAINST = (*_VERSION, "against")
_MOST_AGAINST = 50


class CaptureMetrics:
    """Beside the server's other metrics; `against` is the version whose answers ours were compared with."""

    def __init__(self, metrics: Metrics, model: tuple[str, str]) -> None:
        self._model, self._metrics, registry = model, metrics, metrics.registry
        self._against: set[str] = set()
        self._answers = Counter(
            "modelramp_capture_answers",
            "Answers to chosen requests.",
            (*_VERSION, "arm", "result"),
            registry=registry,
        )
        self._unpaired = Counter(
            "modelramp_comparison_unpaired",
            "Answers without another version's to the same request.",
            _VERSION,
            registry=registry,
        )
        self._predictions = Counter(
            "modelramp_comparison_predictions", "Predictions compared.", _AGAINST, registry=registry
        )
        self._disagreements = Counter(
            "modelramp_comparison_disagreements", "Predictions that differ.", _AGAINST, registry=registry
        )
        self._difference = Summary(
            "modelramp_comparison_difference",
            "Absolute difference of predicted numbers.",
            (*_AGAINST, "output"),
            registry=registry,
        )
        self._unpaired.labels(*model)

    def kept(self, arm: Arm) -> None:
        """Count an answer that is kept."""
        self._answers.labels(*self._model, arm, "kept").inc()

    def dropped(self, arm: Arm) -> None:
        """Count an answer that was one too many at its moment."""
        self._answers.labels(*self._model, arm, "dropped").inc()

    def unpaired(self) -> None:
        """Count an answer that no other version has one to."""
        self._unpaired.labels(*self._model).inc()

    def compared(self, against: str, found: Compared) -> None:
        """Count one comparison."""
        against = bounded(self._against, against, _MOST_AGAINST)
        self._predictions.labels(*self._model, against).inc(found.predictions)
        self._disagreements.labels(*self._model, against).inc(found.disagreements)
        for output, differences in found.differences.items():
            series = self._difference.labels(*self._model, against, self._metrics.output_of(output))
            for difference in differences:
                series.observe(difference)
