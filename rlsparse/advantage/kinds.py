"""The advantage estimators that a recipe may name; anything with the same call does."""

from rlsparse.advantage.gae import GAE
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.monte_carlo import MonteCarlo
from rlsparse.advantage.nstep import NStep
from rlsparse.advantage.presets import GRPO, RLOO, DrGRPO, ReinforcePlusPlus
from rlsparse.advantage.td_lambda import TDLambda
from rlsparse.advantage.vtrace import VTrace

WithCritic = GAE | NStep | MonteCarlo | TDLambda | VTrace
Estimator = WithCritic | GroupRelative | GRPO | DrGRPO | RLOO | ReinforcePlusPlus
