"""A model whose first prediction takes its time in one of several processes: until somebody opens a gate."""

import os
import time
from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Late(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        gate = Path(os.environ["GATE"])
        try:
            (gate / "held").mkdir()
        except FileExistsError:
            return [os.getpid()] * len(model_input)
        while not (gate / "open").exists():
            time.sleep(0.005)
        return [os.getpid()] * len(model_input)


set_model(Late())
