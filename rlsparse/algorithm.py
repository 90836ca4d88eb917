"""What may optimise policies."""

from rlsparse.ppo import PPO
from rlsparse.trpo import TRPO
from rlsparse.variance_reduced import NHARPG, NPGIGT

Algorithm = PPO | TRPO | NPGIGT | NHARPG
"""Any of the algorithms."""
