"""Through a real mesh: istiod on the real API server, Envoy over ADS, versions that answer, Prometheus that counts."""
