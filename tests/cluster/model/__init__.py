"""The model that is served, and its script."""
