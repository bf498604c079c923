"""Fixtures of every suite."""

import pytest

pytest_plugins = ["tests.mlflow_server", "tests.controlplane.plugin", "tests.prometheus_server"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the golden scenarios need."""
    parser.addoption("--rewrite", action="store_true", help="write the scenarios' stories as they are told now")
