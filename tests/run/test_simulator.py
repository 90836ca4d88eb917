"""What goes with MuJoCo Warp is accepted, what does not is refused with its reason."""

from dataclasses import replace

import pytest

from rlsparse.advantage.estimators import NStep, VTrace
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.submodular import Submodular
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
    "group": ({"advantage": GroupRelative()}, "--advantage group-relative lets environments wait for their group"),
    "submodular": ({"advantage": Submodular()}, "--advantage submodular computes marginal gains on the CPU"),
    "n-harpg": ({"algorithm": NHARPG()}, "--algorithm n-harpg sums over episodes"),
    "gspo": ({"algorithm": PPO(objective=GSPO(), minibatches=1)}, "--algorithm.objective gspo averages over episodes"),
    "hpt": ({"algorithm": PPO(objective=HPT())}, "--algorithm.objective hpt keeps episodes to clone them"),
    "optimiser": (
        {"algorithm": PPO(optimiser="adamp")},
        "--algorithm.optimiser adamp steps parameters on the CPU",
    ),
    "in-rollout": (
        {"explore": explorer("explorler-ppo-in-rollout")},
        "--explore.probe in-rollout lets candidates act too",
    ),
    "surrogate": (
        {"explore": explorer("explorler-ppo-surrogate")},
        "--explore.probe surrogate scores candidates on the CPU",
    ),
}


@pytest.mark.parametrize("parts", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(parts):
    check(replace(RECIPE, **parts))


@pytest.mark.parametrize(("parts", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(parts, reason):
    with pytest.raises(
        UsageError, match=f"^{reason}, and needs .* CPU, which --simulator warp does not give: use .*--simulator mujoco"
    ):
        check(replace(RECIPE, **parts))
    check(replace(RECIPE, simulator="mujoco", **parts))


def test_other_environments_are_refused():
    with pytest.raises(UsageError, match="--simulator warp: CartPole-v1 is not one of the MuJoCo tasks"):
        check(replace(RECIPE, env="CartPole-v1"))
