"""What components need others must give; a refusal says who needs what, what does not give it, and what to use."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pairs
import pytest

from rlsparse.advantage.estimators import MonteCarlo, NStep
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.advantage.submodular import Submodular
from rlsparse.advantage.vtrace import VTrace
from rlsparse.algorithms.cloning import HPT
from rlsparse.algorithms.objectives import A2C, CISPO, GSPO
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.reuse import Reuse
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.errors import UsageError
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.network import ActorCritic
from rlsparse.run import cards
from rlsparse.run.compatibility import Unmet, check_needs, components, refusal, unmet
from rlsparse.run.recipe import Recipe, check, from_dict
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import RigL, Static

GROUPS = GroupRelative()

SENTENCES = {
    "tanh": (
        {"algorithm": NHARPG(), "policy": ActorCritic(activation="silu")},
        "--algorithm n-harpg knows the second derivative of tanh alone, and needs --policy.activation tanh, which "
        "--policy.activation silu does not give: use --policy.activation tanh, or --algorithm ppo, trpo or n-pg-igt",
    ),
    "plain-layers": (
        {"algorithm": NHARPG(), "policy": ActorCritic(layer_normalisation=True)},
        "--algorithm n-harpg knows no second derivative of layer normalisation, and needs "
        "--policy.no-layer-normalisation, which --policy.layer-normalisation does not give: use "
        "--policy.no-layer-normalisation, or --algorithm ppo, trpo or n-pg-igt",
    ),
    "shared-deviation": (
        {"algorithm": TRPO(), "policy": ActorCritic(state_dependent_std=True)},
        "--algorithm trpo has formulas for one deviation in all states, and needs --policy.no-state-dependent-std, "
        "which --policy.state-dependent-std does not give: use --policy.no-state-dependent-std, or --algorithm ppo",
    ),
    "minibatches": (
        {"algorithm": TRPO(), "sparse": Sparse(rule=DCIL())},
        "--sparse dcil works minibatch by minibatch, and needs a policy that learns from minibatches, which "
        "--algorithm trpo does not give: use --sparse rigl, set, static or magnitude, or --algorithm ppo",
    ),
    "adam": (
        {"algorithm": PPO(optimiser="sgdp"), "sparse": Sparse(rule=DCIL())},
        "--sparse dcil trains absent weights by Adam too, and needs the moments of Adam to exchange, which "
        "--algorithm.optimiser sgdp does not give: use --algorithm.optimiser adam, or --sparse rigl, set, static, "
        "magnitude or others",
    ),
    "small-minibatches": (
        {"algorithm": PPO(objective=GSPO(), minibatches=1), "sparse": Sparse(rule=AST())},
        "--sparse ast trains its networks in turns, and needs a minibatch for each, which --algorithm.objective gspo "
        "does not give: use --algorithm.objective clip, a2c, cispo, cloning or others, or --sparse rigl, set, static, "
        "magnitude or others",
    ),
    "policy-optimiser-memory": (
        {"algorithm": TRPO(), "explore": ExploRLer(moments="transport")},
        "--explore.moments transport forgets in which direction the policy moved, and needs an optimiser that "
        "remembers it, which --algorithm trpo does not give: use --explore.moments keep or reset, or --algorithm ppo, "
        "n-pg-igt or n-harpg",
    ),
    "own-rollout": (
        {"algorithm": NPGIGT(), "explore": ExploRLer(probe=Surrogate())},
        "--explore.probe surrogate judges by the rollout, and needs one of the policy itself, which --algorithm "
        "n-pg-igt does not give: use --explore.probe episodes or racing, or --algorithm ppo or trpo",
    ),
    "critic": (
        {"advantage": GROUPS, "explore": ExploRLer(probe=InRollout())},
        "--explore.probe in-rollout judges candidates by a critic, and needs advantages with one, which --advantage "
        "group-relative does not give: use --explore.probe episodes or racing, or --advantage gae, nstep, monte-carlo, "
        "td-lambda or others",
    ),
    "others-actions": (
        {"algorithm": PPO(objective=A2C()), "explore": ExploRLer(probe=InRollout())},
        "--explore.probe in-rollout lets candidates act too, and needs an update that corrects for their actions, "
        "which --algorithm.objective a2c does not give: use --algorithm.objective clip, gspo, cispo, cloning or "
        "others, or --explore.probe episodes, racing or surrogate, or --advantage vtrace, or --algorithm trpo",
    ),
    "corrected-returns": (
        {"algorithm": PPO(objective=Reuse()), "advantage": MonteCarlo()},
        "--algorithm.objective reuse learns from steps of earlier policies, and needs an estimator that corrects for "
        "them, which --advantage monte-carlo does not give: use --algorithm.objective clip, a2c, gspo, cispo or "
        "others, or --advantage gae, nstep, td-lambda, vtrace or others, or --algorithm trpo, n-pg-igt or n-harpg",
    ),
    "one-round": (
        {"explore": ExploRLer(Consensus(rounds=3), InRollout())},
        "--explore.probe in-rollout asks for candidates once, and needs a proposal of one round, which "
        "--explore.proposal.rounds 3 does not give: use --explore.proposal.rounds 1, or --explore.proposal "
        "empty-space, random-walk, averages, gaussian or others, or --explore.probe episodes, racing or surrogate",
    ),
    "single-episodes": (
        {"algorithm": NHARPG(), "advantage": GROUPS},
        "--algorithm n-harpg collects a second rollout, and needs episodes that are not compared in groups, which "
        "--advantage group-relative does not give: use --advantage gae, nstep, monte-carlo, td-lambda or others, or "
        "--algorithm ppo, trpo or n-pg-igt",
    ),
    "unaided-episodes": (
        {"algorithm": PPO(objective=HPT()), "advantage": GroupRelative(scaffold=Scaffold(after=2))},
        "--algorithm.objective hpt clones the best episodes, and needs episodes that had no help, which "
        "--advantage.scaffold.after 2 does not give: use --advantage.scaffold.after 0, or --algorithm.objective clip, "
        "a2c, gspo, cispo or others, or --advantage gae, nstep, monte-carlo, td-lambda or others, or --algorithm trpo "
        "or n-pg-igt",
    ),
    "environment-return": (
        {"advantage": Submodular(), "explore": ExploRLer()},
        "--explore.probe episodes compares candidates by their return, and needs advantages of the environment's "
        "reward, which --advantage.reward-weight 0 does not give: use --advantage.reward-weight 1, or --explore.probe "
        "in-rollout or surrogate, or --advantage gae, nstep, monte-carlo, td-lambda or others",
    ),
    "probe-episodes": (
        {"explore": ExploRLer(probe=Surrogate(), finish=True)},
        "--explore.finish spends steps on probes alone, and needs a probe that runs episodes, which --explore.probe "
        "surrogate does not give: use --explore.probe episodes or racing, or --explore.no-finish",
    ),
    "stochastic-scores": (
        {"explore": ExploRLer(probe=Episodes(), search_log_std=True)},
        "--explore.search-log-std needs scores that depend on the action noise, which --explore.probe.no-stochastic "
        "does not give: use --explore.probe.stochastic, or --explore.no-search-log-std",
    ),
    "equal-rollouts": (
        {"advantage": GROUPS, "explore": ExploRLer(anchors="iterations", anchor_span=0.3)},
        "--explore.anchor-span 0.3 spreads anchors by steps, and needs rollouts of equal length, which --advantage "
        "group-relative does not give: use --explore.anchor-span 0, or --advantage gae, nstep, monte-carlo, td-lambda "
        "or others",
    ),
    "drops-by-worth": (
        {"sparse": Sparse(rule=Static(), drop_by="kl")},
        "--sparse.drop-by kl weighs what each weight does, and needs a rule that drops by more than size, which "
        "--sparse static does not give: use --sparse rigl, set or magnitude, or --sparse.drop-by magnitude",
    ),
    "cpu-environments": (
        {"algorithm": PPO(objective=HPT()), "simulator": "warp"},
        "--algorithm.objective hpt keeps episodes to clone them, and needs environments on the CPU, which --simulator "
        "warp does not give: use --algorithm.objective clip, a2c, gspo, cispo or others, or --simulator mujoco, or "
        "--algorithm trpo, n-pg-igt or n-harpg",
    ),
}
"""By trait, a recipe in which nothing gives it, and the refusal."""


@pytest.mark.parametrize("trait", SENTENCES)
def test_a_need_that_nothing_meets_is_told_in_one_line(trait):
    changes, sentence = SENTENCES[trait]
    recipe = Recipe("Hopper-v5", **changes)
    assert trait in {need.trait for need in unmet(recipe)}
    with pytest.raises(UsageError) as error:
        check_needs(recipe)
    assert str(error.value) == sentence


def test_every_trait_that_a_component_needs_has_its_sentence_and_is_given_by_some_kind():
    recipes = [pairs.verdict((family, name)).recipe for family, names in pairs.FAMILIES.items() for name in names]
    recipes = [recipe for recipe in recipes if recipe]
    recipes += [Recipe("Hopper-v5", **changes) for changes, _ in SENTENCES.values()]
    recipes += [Recipe("Hopper-v5", explore=ExploRLer(probe=Episodes(stochastic=True)))]
    parts = [part for recipe in recipes for _, part in components(recipe)]
    needed = {trait for part in parts for trait in getattr(part, "needs", {})}
    assert needed == set(SENTENCES)
    assert needed <= {trait for part in parts for trait in getattr(part, "gives", ())}


@pytest.mark.parametrize("trait", SENTENCES)
def test_what_a_refusal_advises_meets_the_need(trait):
    recipe = Recipe("Hopper-v5", **SENTENCES[trait][0])
    need = next(need for need in unmet(recipe) if need.trait == trait)
    assert ": use --" in refusal(recipe, need)


# Components that a user brings


@dataclass(frozen=True)
class Quiet:
    """It says nothing of what it needs or gives."""

    size: int = 1


@dataclass(frozen=True)
class Thirsty:
    needs: ClassVar[dict[str, str]] = {"water": "grows, and needs water"}

    roots: Quiet = field(default_factory=Quiet)


@dataclass(frozen=True)
class Well:
    deep: bool = False

    @property
    def gives(self):
        return frozenset({"water"} if self.deep else ())


@dataclass(frozen=True)
class Garden:
    gives: ClassVar[frozenset[str]] = frozenset()

    plant: Thirsty | Quiet = field(default_factory=Thirsty)
    source: Well | Quiet = field(default_factory=Well)


def test_components_that_say_nothing_need_and_give_nothing():
    assert unmet(Garden(Quiet(), Quiet())) == []
    assert unmet(Garden(Thirsty(), Quiet())) == [Unmet("plant", "water", "grows, and needs water")]
    assert unmet(Garden(Thirsty(), Well(deep=True))) == []


def test_settings_are_advised_before_other_kinds_and_what_is_advised_is_found_by_trying():
    with pytest.raises(UsageError) as error:
        check_needs(Garden())
    assert str(error.value) == (
        "--plant thirsty grows, and needs water, which --source.no-deep does not give: use --source.deep, or --plant "
        "quiet"
    )


def test_components_are_walked_with_their_places():
    assert [where for where, _ in components(Garden())] == ["", "plant", "plant.roots", "source"]


def test_what_an_inner_estimator_gives_the_outer_one_passes_on():
    assert "others-actions" in Submodular(inner=VTrace()).gives
    assert "others-actions" not in Submodular(inner=NStep()).gives
    assert "environment-return" not in Submodular().gives
    assert "environment-return" in replace(Submodular(), reward_weight=1.0).gives


# On a GPU

WARP = Recipe(env="Hopper-v5", simulator="warp", num_envs=8, rollout_length=64)


def explorer(name):
    return from_dict({"env": "Hopper-v5", **cards.agent(name).recipe_for("Hopper-v5")}, name).explore


GOES_WITH_WARP = {
    "sparse": {"sparse": Sparse(rule=RigL())},
    "ast": {"sparse": Sparse(rule=AST())},
    "n-pg-igt": {"algorithm": NPGIGT()},
    "n-harpg": {"algorithm": NHARPG()},
    "trpo": {"algorithm": TRPO()},
    "cispo": {"algorithm": PPO(objective=CISPO())},
    "n-step": {"advantage": NStep()},
    "v-trace": {"advantage": VTrace()},
    "group": {"advantage": GroupRelative(gamma=0.9)},
    "submodular": {"advantage": Submodular()},
    "episodes": {"explore": explorer("explorler-ppo")},
    "racing": {"explore": explorer("explorler-ppo-racing")},
    "surrogate": {"explore": explorer("explorler-ppo-surrogate")},
    "in-rollout": {"explore": explorer("explorler-ppo-in-rollout")},
    "reuse": {"algorithm": PPO(objective=Reuse())},
    "gspo": {"algorithm": PPO(objective=GSPO(), minibatches=1)},
}
NEEDS_THE_CPU = {
    "scaffold": (
        {"advantage": GroupRelative(gamma=0.9, scaffold=Scaffold(after=2))},
        "--advantage.scaffold.after 2 keeps episodes and begins others within them",
    ),
    "hpt": ({"algorithm": PPO(objective=HPT())}, "--algorithm.objective hpt keeps episodes to clone them"),
    "optimiser": (
        {"algorithm": PPO(optimiser="adamp")},
        "--algorithm.optimiser adamp steps layer by layer, led by the host",
    ),
}


@pytest.mark.parametrize("parts", GOES_WITH_WARP.values(), ids=GOES_WITH_WARP)
def test_what_goes_with_a_simulator_on_a_gpu_is_accepted(parts):
    check(replace(WARP, **parts))


@pytest.mark.parametrize(("parts", "reason"), NEEDS_THE_CPU.values(), ids=NEEDS_THE_CPU)
def test_what_needs_the_cpu_is_refused_there(parts, reason):
    with pytest.raises(
        UsageError, match=f"^{reason}, and needs .* CPU, which --simulator warp does not give: use .*--simulator mujoco"
    ):
        check(replace(WARP, **parts))
    check(replace(WARP, simulator="mujoco", **parts))


def test_environments_that_do_not_run_on_a_gpu_are_refused():
    with pytest.raises(UsageError, match="--simulator warp: CartPole-v1 is not one of the MuJoCo tasks"):
        check(replace(WARP, env="CartPole-v1"))
