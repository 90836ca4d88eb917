"""Reward curves out of log files: our runs, agent cards, Stable-Baselines3, rl-zoo, CleanRL, TensorBoard."""
