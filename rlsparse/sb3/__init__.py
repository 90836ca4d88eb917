"""Stable-Baselines3: our simulator under its algorithms, ExploRLer as one of its callbacks, sparse networks in them.

This package alone imports stable_baselines3.
"""

from rlsparse.sb3.callback import ExploRLerCallback
from rlsparse.sb3.sparsify import load_sparse, sparsify
from rlsparse.sb3.vec_env import BatchedVecEnv, make_vec_env

__all__ = ["BatchedVecEnv", "ExploRLerCallback", "load_sparse", "make_vec_env", "sparsify"]
