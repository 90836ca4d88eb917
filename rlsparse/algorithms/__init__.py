"""What improves policies: PPO, TRPO, and the leaves beside them."""
