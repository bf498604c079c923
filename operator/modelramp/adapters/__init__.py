"""The outside world, one product a module; adapters do not know each other."""
