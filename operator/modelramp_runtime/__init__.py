"""The model server that runs in the pods of a version: MLflow's pyfunc with honest answers and metrics."""
