"""The advantage estimators that a recipe may name."""

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda
from rlsparse.advantage.group_relative import GRPO, RLOO, DrGRPO, GroupRelative, ReinforcePlusPlus
from rlsparse.advantage.vtrace import VTrace

WithCritic = GAE | NStep | MonteCarlo | TDLambda | VTrace
Estimator = WithCritic | GroupRelative | GRPO | DrGRPO | RLOO | ReinforcePlusPlus
