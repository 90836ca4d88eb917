"""Stable-Baselines3: our simulator under its algorithms, and ExploRLer as one of its callbacks.

This package alone imports stable_baselines3.
"""

from rlsparse.sb3.callback import ExploRLerCallback
from rlsparse.sb3.vec_env import BatchedVecEnv, make_vec_env

__all__ = ["BatchedVecEnv", "ExploRLerCallback", "make_vec_env"]
