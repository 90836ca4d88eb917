"""The advantage estimators that a recipe may name."""

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda, VTrace
from rlsparse.advantage.group_relative import GRPO, RLOO, DrGRPO, GroupRelative, ReinforcePlusPlus

WithCritic = GAE | NStep | MonteCarlo | TDLambda | VTrace
Estimator = WithCritic | GroupRelative | GRPO | DrGRPO | RLOO | ReinforcePlusPlus
