"""The usual metrics: their names, MLflow's own for them, and which way is better.

Sources: mlflow.models.evaluate's built-in metrics (`roc_auc`, `accuracy_score`, `ndcg_at_k/mean`), fairlearn's
generated ones (`demographic_parity_ratio`, `accuracy_score_group_min`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum


class Better(Enum):
    """Which way a metric gets better."""

    HIGHER = "higher"
    LOWER = "lower"


ALIASES = {
    "accuracy": ("accuracy_score",),
    "precision": ("precision_score",),
    "recall": ("recall_score",),
    "f1": ("f1_score",),
    "auc": ("roc_auc",),
    "aupr": ("precision_recall_auc",),
    "logloss": ("log_loss",),
    "mse": ("mean_squared_error",),
    "rmse": ("root_mean_squared_error",),
    "mae": ("mean_absolute_error",),
    "r2": ("r2_score",),
    "mape": ("mean_absolute_percentage_error",),
}
_HIGHER = "accuracy precision recall f1 auc aupr r2 ndcg map mrr throughput_rps"
_LOWER = "logloss mse rmse mae mape p50_ms p95_ms p99_ms"
BETTER = dict.fromkeys(_HIGHER.split(), Better.HIGHER) | dict.fromkeys(_LOWER.split(), Better.LOWER)
_AT_K = re.compile(r"(ndcg|precision|recall)_at_(\d+)")
TRAINING = "training_"
"""Prefix of what MLflow's autologging measures on the training data: never evidence."""


def names(metric: str) -> Iterator[str]:
    """Yield the keys under which a metric may be logged, the name itself first."""
    yield metric
    yield from ALIASES.get(metric, ())
    if _AT_K.fullmatch(metric):
        yield f"{metric}/mean"


def direction(metric: str) -> Better | None:
    """Return which way a metric gets better, None for one that is not in the catalog."""
    canonical = next((name for name, others in ALIASES.items() if metric in others), metric)
    return Better.HIGHER if _AT_K.match(metric) else BETTER.get(canonical)
