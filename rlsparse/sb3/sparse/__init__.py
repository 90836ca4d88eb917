"""Sparse networks under Stable-Baselines3: masks on the policies of its on-policy algorithms."""
