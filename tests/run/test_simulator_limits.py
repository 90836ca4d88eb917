"""What goes with MuJoCo Warp is accepted, what does not is refused with its reason."""

from dataclasses import replace

import pytest

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.nstep import NStep
from rlsparse.advantage.submodular import Submodular
from rlsparse.advantage.vtrace import VTrace
from rlsparse.algorithms.cloning import HPT
from rlsparse.algorithms.objectives import CISPO, GSPO
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.errors import UsageError
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe, check, from_dict
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import RigL

RECIPE = Recipe(env="Hopper-v5", simulator="warp", num_envs=8, rollout_length=64)


def explorer(name):
    return from_dict({"env": "Hopper-v5", **cards.agent(name).recipe_for("Hopper-v5")}, name).explore


ACCEPTED = {
    "sparse": {"sparse": Sparse(rule=RigL())},
    "ast": {"sparse": Sparse(rule=AST())},
    "n-pg-igt": {"algorithm": NPGIGT()},
    "trpo": {"algorithm": TRPO()},
    "cispo": {"algorithm": PPO(objective=CISPO())},
    "n-step": {"advantage": NStep()},
    "v-trace": {"advantage": VTrace()},
    "episodes": {"explore": explorer("explorler-ppo")},
    "racing": {"explore": explorer("explorler-ppo-racing")},
}
REFUSED = {
    "group": ({"advantage": GroupRelative()}, "wait there for their group, as --advantage group-relative wants"),
    "submodular": ({"advantage": Submodular()}, "are computed on the CPU"),
    "n-harpg": ({"algorithm": NHARPG()}, "waits to hear how many there are"),
    "gspo": ({"algorithm": PPO(objective=GSPO(), minibatches=1)}, "waits to hear how many there are"),
    "hpt": ({"algorithm": PPO(objective=HPT())}, "hpt clones episodes, which are kept on the CPU"),
    "optimiser": (
        {"algorithm": PPO(optimiser="adamp")},
        "optimiser adamp runs on the CPU, only adam there",
    ),
    "in-rollout": ({"explore": explorer("explorler-ppo-in-rollout")}, "--explore.probe episodes or racing alone"),
    "surrogate": ({"explore": explorer("explorler-ppo-surrogate")}, "--explore.probe episodes or racing alone"),
}


@pytest.mark.parametrize("parts", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(parts):
    check(replace(RECIPE, **parts))


@pytest.mark.parametrize(("parts", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(parts, reason):
    with pytest.raises(UsageError, match=f"--simulator warp: .*{reason}.*; use --simulator mujoco"):
        check(replace(RECIPE, **parts))
    check(replace(RECIPE, simulator="mujoco", **parts))


def test_other_environments_are_refused():
    with pytest.raises(UsageError, match="--simulator warp: CartPole-v1 is not one of the MuJoCo tasks"):
        check(replace(RECIPE, env="CartPole-v1"))
