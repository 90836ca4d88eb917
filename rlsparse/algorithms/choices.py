"""What PPO can use: objectives for its epochs, and optimisers by name."""

from rlsparse.algorithms.cloning import HPT
from rlsparse.algorithms.objectives import A2C, CISPO, GSPO, SSO, Cloning
from rlsparse.algorithms.reuse import Reuse
from rlsparse.algorithms.surrogate import Clip
from rlsparse.algorithms.torch_optimiser import new_torch_optimisers
from rlsparse.learner.adam import NewOptimiser, adam

Objective = Clip | A2C | GSPO | CISPO | Cloning | HPT | SSO | Reuse
"""The losses that PPO's epochs can minimise for the policy."""

OPTIMISERS: dict[str, NewOptimiser] = {"adam": adam} | new_torch_optimisers()
