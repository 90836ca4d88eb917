"""The algorithms that a recipe may name."""

from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT

Algorithm = PPO | TRPO | NPGIGT | NHARPG
"""Any of the algorithms."""
