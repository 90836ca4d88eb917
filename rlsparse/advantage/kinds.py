"""The advantage estimators that a recipe may name; anything with the same call does."""

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda, VTrace
from rlsparse.advantage.group_relative import GRPO, RLOO, DrGRPO, GroupRelative, ReinforcePlusPlus

WithCritic = GAE | NStep | MonteCarlo | TDLambda | VTrace
Estimator = WithCritic | GroupRelative | GRPO | DrGRPO | RLOO | ReinforcePlusPlus
