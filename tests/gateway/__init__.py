"""Through a real gateway: Envoy Gateway on the real API server, and the Envoy that it would deploy."""
