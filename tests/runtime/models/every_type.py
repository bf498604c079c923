"""A model with a column of every type, which answers how many rows it saw."""

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class EveryType(PythonModel):
    def predict(self, context, model_input, params=None):
        return [len(model_input)] * len(model_input)


set_model(EveryType())
