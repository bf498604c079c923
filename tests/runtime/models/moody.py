"""A model that does what its input says: answer, crash, answer NaN, wait, answer something that JSON cannot hold."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Moody(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        scale = (params or {}).get("scale", 1.0)
        mood, _, gate = str(model_input["mood"].iloc[0]).partition(" ")
        values = model_input["x"].to_numpy() * scale
        match mood:
            case "crash":
                raise ValueError(f"cannot handle {model_input.to_dict('records')}")
            case "exit":
                raise SystemExit(3)
            case "nan":
                return np.array([np.nan, np.inf, *values])
            case "nested":
                return [{"deep": [float("nan"), 1.0]}]
            case "odd":
                return [object()]
            case "wait":
                while not Path(gate).exists():
                    time.sleep(0.005)
        return values


set_model(Moody())
