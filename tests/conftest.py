"""Fixtures of every suite."""

pytest_plugins = ["tests.controlplane.plugin"]
