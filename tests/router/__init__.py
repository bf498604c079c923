"""The router on a real Envoy."""
