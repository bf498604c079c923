"""The pure core: what a rollout is and what to do next. Knows no clock, no network, no framework."""
