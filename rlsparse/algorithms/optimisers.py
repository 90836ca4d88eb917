"""The optimisers that PPO may use, by name."""

from rlsparse.algorithms.torch_optimiser import new_torch_optimisers
from rlsparse.learner.adam import NewOptimiser, adam

OPTIMISERS: dict[str, NewOptimiser] = {"adam": adam} | new_torch_optimisers()
