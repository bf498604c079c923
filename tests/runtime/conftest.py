"""Models trained for the session, and servers of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, DataType, Object, Property
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.runtime.serving import Served, served_here

HERE = Path(__file__).parent
FRAUD_SCHEMA = Schema(
    [
        ColSpec("double", "amount"),
        ColSpec("long", "age"),
        ColSpec("integer", "visits"),
        ColSpec("string", "country"),
        ColSpec("boolean", "vip"),
    ]
)


@dataclass(frozen=True)
class Fraud:
    """A trained classifier, and where it was saved."""

    pipeline: Pipeline
    directory: Path
    example: pd.DataFrame

    def expected(self, frame: pd.DataFrame) -> np.ndarray:
        return self.pipeline.predict_proba(frame)


def _fraud_data() -> pd.DataFrame:
    random = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "amount": random.lognormal(3, 1, 400),
            "age": random.integers(18, 90, 400),
            "visits": random.integers(0, 50, 400).astype("int32"),
            "country": random.choice(["AT", "DE", "FR"], 400),
            "vip": random.random(400) < 0.2,
        }
    )


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warnings.simplefilter("ignore")
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def fraud(saved: Path) -> Fraud:
    """A gradient-boosted classifier with columns of five types, saved as skops, MLflow's default."""
    data = _fraud_data()
    is_fraud = (data["amount"] > 30) & (data["country"] == "FR")
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["country"]), remainder="passthrough")
    pipeline = make_pipeline(encode, GradientBoostingClassifier(n_estimators=10)).fit(data, is_fraud)
    directory = saved / "fraud"
    mlflow.sklearn.save_model(
        pipeline,
        directory,
        signature=ModelSignature(inputs=FRAUD_SCHEMA),
        input_example=data.head(2),
        pip_requirements=[],
        pyfunc_predict_fn="predict_proba",
        skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)),
    )
    return Fraud(pipeline, directory, data.head(3))


@pytest.fixture(scope="session")
def price(saved: Path) -> Path:
    """A regression, saved as cloudpickle, without an input example."""
    data = _fraud_data()[["amount", "age"]]
    model = LinearRegression().fit(data, data["amount"] * 2)
    mlflow.sklearn.save_model(
        model,
        saved / "price",
        signature=infer_signature(data, model.predict(data)),
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    return saved / "price"


@pytest.fixture(scope="session")
def moody(saved: Path) -> Path:
    mlflow.pyfunc.save_model(
        saved / "moody",
        python_model=HERE / "models" / "moody.py",
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", "mood"), ColSpec("double", "x")]),
            outputs=Schema([ColSpec("double")]),
            params=ParamSchema([ParamSpec("scale", "double", 1.0)]),
        ),
        input_example=pd.DataFrame({"mood": ["calm"], "x": [1.0]}),
        pip_requirements=[],
    )
    return saved / "moody"


@pytest.fixture(scope="session")
def hopeless(saved: Path) -> Path:
    """The moody model with an input example that it cannot handle."""
    mlflow.pyfunc.save_model(
        saved / "hopeless",
        python_model=HERE / "models" / "moody.py",
        signature=ModelSignature(inputs=Schema([ColSpec("string", "mood"), ColSpec("double", "x")])),
        input_example=pd.DataFrame({"mood": ["crash"], "x": [271828.5]}),
        pip_requirements=[],
    )
    return saved / "hopeless"


@pytest.fixture(scope="session")
def bare(saved: Path) -> Path:
    """A model with neither signature nor input example."""
    mlflow.pyfunc.save_model(saved / "bare", python_model=HERE / "models" / "every_type.py", pip_requirements=[])
    return saved / "bare"


@pytest.fixture(scope="session")
def every_type(saved: Path) -> Path:
    """A column of each scalar type, and an optional one of each that may be null."""
    names = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")
    inputs = [ColSpec(name, f"a_{name}") for name in names]
    inputs += [ColSpec(name, f"maybe_{name}", required=False) for name in ("double", "string", "datetime", "long")]
    mlflow.pyfunc.save_model(
        saved / "every_type",
        python_model=HERE / "models" / "every_type.py",
        signature=ModelSignature(inputs=Schema(inputs)),
        pip_requirements=[],
    )
    return saved / "every_type"


@pytest.fixture(scope="session")
def nested(saved: Path) -> Path:
    basket = Object([Property("sku", DataType.string), Property("count", DataType.long, required=False)])
    inputs = Schema([ColSpec(Array(basket), "basket"), ColSpec(Array(DataType.double), "scores")])
    mlflow.pyfunc.save_model(
        saved / "nested",
        python_model=HERE / "models" / "every_type.py",
        signature=ModelSignature(inputs=inputs),
        pip_requirements=[],
    )
    return saved / "nested"


@pytest.fixture(scope="session")
def tensor(saved: Path) -> Path:
    """A regression on an unnamed tensor of 2 whole numbers a row."""
    model = LinearRegression().fit(np.array([[1, 2], [3, 5], [4, 4]]), [3, 8, 8])
    mlflow.sklearn.save_model(
        model,
        saved / "tensor",
        signature=ModelSignature(inputs=Schema([TensorSpec(np.dtype("int64"), (-1, 2))])),
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
    return saved / "tensor"


@pytest.fixture(scope="session")
def fraud_server(fraud: Fraud) -> Iterator[Served]:
    with served_here(fraud.directory) as served:
        yield served


@pytest.fixture(scope="session")
def moody_server(moody: Path) -> Iterator[Served]:
    with served_here(moody, MODELRAMP_THREADS="2", MODELRAMP_QUEUE="2", MODELRAMP_MAX_BODY_BYTES="2000") as served:
        yield served
