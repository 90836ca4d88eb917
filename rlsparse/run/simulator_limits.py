"""What goes with the simulator of a recipe: on a GPU everything is done in whole arrays."""

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import GSPO, HPT
from rlsparse.algorithms.variance_reduced import NHARPG
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.learner.kinds import kind_of


def check(
    env: str,
    algorithm: Algorithm,
    advantage: Estimator | Submodular,
    explore: ExploRLer | None,
) -> None:
    """Raise UsageError with the first part of a recipe that does not go with MuJoCo Warp."""
    reason = _reason(env, algorithm, advantage, explore)
    if reason is not None:
        raise UsageError(f"--simulator warp: {reason}; use --simulator mujoco")


def _reason(
    env: str,
    algorithm: Algorithm,
    advantage: Estimator | Submodular,
    explore: ExploRLer | None,
) -> str | None:
    from rlsparse.sim.tasks import TASKS  # not before a recipe asks for it: with it comes Gymnasium

    if env and env not in TASKS:
        return f"{env} is not one of the MuJoCo tasks that run there, {', '.join(TASKS)}"
    if isinstance(advantage, GroupRelative):
        return f"environments cannot wait there for their group, as --advantage {kind_of(type(advantage))} wants"
    if isinstance(advantage, Submodular):
        return "marginal gains, --advantage submodular, are computed on the CPU"
    if isinstance(algorithm, NHARPG):
        return "--algorithm n-harpg sums over episodes, and waits to hear how many there are"
    if isinstance(algorithm, PPO) and isinstance(algorithm.objective, GSPO):
        return "--algorithm.objective gspo averages over episodes, and waits to hear how many there are"
    if isinstance(algorithm, PPO) and isinstance(algorithm.objective, HPT):
        return "--algorithm.objective hpt clones episodes, which are kept on the CPU"
    if isinstance(algorithm, PPO) and algorithm.optimiser != "adam":
        return f"--algorithm.optimiser {algorithm.optimiser} runs on the CPU, only adam there"
    if explore is not None and not isinstance(explore.probe, Episodes | Racing):
        return "candidates are judged there by --explore.probe episodes or racing alone"
    return None
