"""The container images of demo and tests, built once and kept by content."""
