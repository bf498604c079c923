"""The metrics of several workers as those of one server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Series = tuple[str, tuple[tuple[str, str], ...]]

# What each worker tells of the whole pod, or of its own limits, is no share of a sum.
_TOGETHER: dict[str, Callable[[float, float], float]] = {
    "modelramp_model_load_seconds": max,
    "modelramp_policy_info": max,
    "modelramp_policy_refused": max,
    "modelramp_policy_edits": max,
    "process_start_time_seconds": min,
    "process_max_fds": max,
}


def told(registry: Collector) -> list[Any]:
    """Return a registry's families as JSON has them, for another worker."""
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in registry.collect()
    ]


class Summed(Collector):
    """The families of all workers, each series once."""

    def __init__(self, tellings: Iterable[list[Any]]) -> None:
        self._tellings = list(tellings)

    def collect(self) -> Iterator[Metric]:
        """Yield the sums, for an encoder."""
        families: dict[str, tuple[str, str, dict[Series, float]]] = {}
        for name, documentation, kind, samples in (family for telling in self._tellings for family in telling):
            together = _TOGETHER.get(name, float.__add__)
            _, _, series = families.setdefault(name, (documentation, kind, {}))
            for sample, labels, value in samples:
                key = (sample, tuple(labels.items()))
                series[key] = together(series[key], float(value)) if key in series else float(value)
        for name, (documentation, kind, series) in families.items():
            yield _family(name, documentation, kind, series)


def _family(name: str, documentation: str, kind: str, series: dict[Series, float]) -> Metric:
    family = Metric(name, documentation, kind)
    for (sample, labels), value in series.items():
        family.add_sample(sample, dict(labels), value)
    return family


def expose(registry: Collector, accept: str) -> tuple[bytes, str]:
    """Return the exposition and its content type: OpenMetrics for those who accept it, else the text format."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
