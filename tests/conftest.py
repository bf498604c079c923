"""Fixtures of every suite."""

pytest_plugins = ["tests.mlflow_server", "tests.controlplane.plugin", "tests.prometheus_server"]
