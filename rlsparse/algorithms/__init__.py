"""Algorithms that improve policies: PPO, TRPO, and the leaves beside them."""
