"""ModelDeployments of the whole tests: everything that takes hours in life takes seconds."""

from __future__ import annotations

from typing import Any

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.prometheus import QUERY


def rail(name: str = "errors", **changes: Any) -> dict[str, Any]:
    """Return a guardrail that is asked every second and fails over 1 %."""
    usual = {"name": name, "query": QUERY, "max": 0.01, "interval": "1s", "window": "1s", "minPasses": 1}
    return usual | changes


def steps(*weights: int, hold: str = "0s") -> list[dict[str, Any]]:
    """Return steps of a ramp."""
    return [{"weight": weight, "hold": hold} for weight in weights]


def model_spec(version: str = "1", product: str = "fraud_detector", **changes: Any) -> dict[str, Any]:
    """Return a spec: 10, 50, 100 %, one guardrail, one router."""
    usual: dict[str, Any] = {
        "model": {"name": product, "version": version},
        "serving": {"replicas": 1},
        "gates": {"metrics": [{"metric": "auc", "min": 0.9}]},
        "ramp": {"steps": steps(10, 50, 100)},
        "guardrails": [rail()],
        "traffic": {"configMap": {"routerReplicas": 1}},
    }
    return usual | changes


def model(ref: Ref, version: str = "1", **changes: Any) -> dict[str, Any]:
    """Return a ModelDeployment of a model of its own: two of one model would want the same alias."""
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.name,
        "metadata": {"namespace": ref.namespace, "name": ref.name},
        "spec": model_spec(version, f"fraud_detector.{ref.namespace}", **changes),
    }
