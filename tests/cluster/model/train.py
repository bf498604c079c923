"""Train versions of `fraud_detector` and register them; print one line of JSON for each.

    python train.py 1 2 3

MLFLOW_TRACKING_URI names the registry. A line says the version, its metrics, and the scores that it gives to PROBES.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass

import mlflow
import numpy as np
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from traffic import PROBES, draw, draw_fraud

MODEL = "fraud_detector"
EXAMPLE = np.array(PROBES)


@dataclass(frozen=True)
class Candidate:
    """One version to be: from how much it learns, and what it does about a category that it does not know."""

    rows: int
    unknown: str = "ignore"


CANDIDATES = {
    "1": Candidate(rows=150),
    "2": Candidate(rows=6_000),
    # Fine on every row of the past; the first transaction of a category that is new raises.
    "3": Candidate(rows=12_000, unknown="error"),
    "4": Candidate(rows=20_000),
    "5": Candidate(rows=30_000),
}


def main() -> None:
    """Register the versions that the command line names, in that order."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    for version in sys.argv[1:]:
        model, auc = fit(CANDIDATES[version])
        registered = register(model, auc)
        if registered != version:
            sys.exit(f"the registry called it v{registered}, not v{version}")
        scores = model.predict_proba(EXAMPLE).tolist()
        print(json.dumps({"version": version, "auc": auc, "scores": scores}), flush=True)


def fit(candidate: Candidate) -> tuple[Pipeline, float]:
    """Return a model and its area under the curve on rows that it did not see."""
    rng = np.random.default_rng(1)
    holdout, train = draw(rng, 5_000), draw(rng, candidate.rows)
    truth = draw_fraud(rng, holdout)
    encoder = OneHotEncoder(handle_unknown=candidate.unknown, sparse_output=False)
    model = Pipeline([("bands", encoder), ("score", LogisticRegression())]).fit(train, draw_fraud(rng, train))
    return model, float(roc_auc_score(truth, model.predict_proba(holdout)[:, 1]))


def register(model: Pipeline, auc: float) -> str:
    """Log model, signature, example and metric; register last. Return the version's number."""
    mlflow.set_experiment("fraud-detection")
    with mlflow.start_run(tags={"team": "payments-risk"}):
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(EXAMPLE, model.predict_proba(EXAMPLE)),
            input_example=EXAMPLE,
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["mlflow-skinny", "numpy", "pandas", "scikit-learn", "skops"],
        )
        mlflow.log_metrics({"auc": auc}, model_id=logged.model_id)
    return str(mlflow.register_model(f"models:/{logged.model_id}", MODEL).version)


if __name__ == "__main__":
    main()
