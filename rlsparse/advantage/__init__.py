"""Advantage estimators: anything that maps a `Rollout` to `Advantages`."""
