"""Recipes: a document says all of a recipe, and every mistake in one is told with what would be right."""

import math
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.vtrace import VTrace
from rlsparse.algorithms.choices import Objective
from rlsparse.algorithms.natural_gradient import CG, MFAC
from rlsparse.algorithms.objectives import A2C, CISPO, GSPO, SSO, Cloning
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import Clip
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import UsageError
from rlsparse.explore.controls import Averages
from rlsparse.explore.evolution import Consensus, GuidedEvolution
from rlsparse.explore.explorler import ExploRLer, Probe
from rlsparse.explore.explorler import Proposal as AnyProposal
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian, Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.learner.network import ActorCritic
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe, check, from_dict, from_toml, to_dict, to_toml

counts = st.integers(1, 500)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
share = st.floats(0, 1)
hidden = st.lists(counts, max_size=3).map(tuple)
ppos = st.builds(
    PPO,
    learning_rate=positive,
    learning_rate_decay=st.booleans(),
    epochs=counts,
    minibatches=st.just(1),
    clip_range=positive,
    entropy_coef=positive | st.just(0.0),
    value_coef=positive | st.just(0.0),
    max_grad_norm=positive,
    target_kl=st.none() | positive,
    normalise_advantages=st.booleans(),
    adam_epsilon=positive,
    objective=st.builds(Clip, st.none() | positive)
    | st.builds(GSPO, positive)
    | st.builds(SSO, positive)
    | st.sampled_from([A2C(), CISPO(), Cloning()]),
    optimiser=st.sampled_from(["adam", "diffgrad", "adamp", "sgdp"]),
)
trpos = st.builds(
    TRPO,
    target_kl=positive,
    kl_reduction=st.sampled_from(["sum", "mean_dims"]),
    damping=positive,
    solver=st.builds(CG, counts, st.floats(0, 1, exclude_max=True)) | st.just(MFAC(1)),
    fisher_subsample=st.just(1),
    backtrack_factor=st.floats(0, 1, exclude_min=True, exclude_max=True),
    backtracks=counts,
    learning_rate=positive,
    learning_rate_decay=st.booleans(),
    critic_epochs=counts,
    critic_minibatches=st.just(1),
    normalise_advantages=st.booleans(),
    adam_epsilon=positive,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
recipes = st.builds(
    Recipe,
    env=st.text(st.characters(codec="utf-8"), min_size=1),
    seed=st.integers(0, 2**40),
    num_seeds=counts,
    total_steps=counts,
    num_envs=counts,
    rollout_length=st.integers(2, 500),
    eval_every=st.none() | counts,
    eval_episodes=counts,
    policy=st.builds(ActorCritic, hidden, hidden, finite, st.none() | finite, st.none(), st.booleans(), st.booleans())
    | st.builds(ActorCritic, log_std_max=finite),
    advantage=st.builds(GAE, share, share)
    | st.builds(NStep, share, counts)
    | st.builds(MonteCarlo, share, share)
    | st.builds(TDLambda, share, share, share)
    | st.builds(VTrace, share, share, positive, positive | st.just(0.0)),
    algorithm=ppos | trpos,
)
RECIPE = Recipe("Pendulum-v1")


@given(recipes)
def test_a_recipe_equals_the_one_read_from_its_document(recipe):
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe


@pytest.mark.parametrize("cls", kinds(Estimator).values(), ids=kinds(Estimator))
def test_a_document_names_the_estimator_and_all_its_settings(cls):
    @settings(max_examples=10)
    @given(some(cls, **({"group_size": st.sampled_from((2, 4, 8))} if issubclass(cls, GroupRelative) else {})))
    def equal(estimator):
        recipe = replace(RECIPE, advantage=estimator, algorithm=PPO(normalise_advantages=False))
        assert f'[advantage]\nkind = "{kind_of(cls)}"\n' in to_toml(recipe)
        assert from_toml(to_toml(recipe), "recipe.toml") == recipe

    equal()


def test_a_document_names_every_field_that_is_set():
    assert set(to_dict(RECIPE)) == {f.name for f in fields(Recipe)} - {
        "env_kwargs",
        "wrappers",
        "eval_every",
        "env_restarts",
        "explore",
        "sparse",
        "init",
    }
    assert set(to_dict(RECIPE)["algorithm"]) == {f.name for f in fields(PPO)} - {"target_kl"} | {"kind"}


def test_what_a_document_leaves_out_is_the_default():
    assert from_toml('env = "Pendulum-v1"', "recipe.toml") == RECIPE


def test_a_component_whose_kind_a_document_leaves_out_is_of_the_default_kind():
    recipe = from_toml('env = "E"\n[algorithm]\nepochs = 3\n[explore.probe]\nepisodes = 4', "recipe.toml")
    assert recipe.algorithm == PPO(epochs=3)
    assert recipe.explore.probe == Episodes(episodes=4)


def test_a_float_that_is_whole_is_a_whole_number():
    """In TOML 1e6 is a float."""
    recipe = from_toml('env = "Hopper-v5"\ntotal_steps = 1e6\n[policy]\nactor_hidden = [6.4e1]', "x.toml")
    assert (recipe.total_steps, recipe.policy.actor_hidden) == (1_000_000, (64,))
    assert "total_steps = 1000000\n" in to_toml(recipe)
    with pytest.raises(UsageError, match=r"x.toml: total_steps must be a whole number, not 1\.5"):
        from_toml('env = "Hopper-v5"\ntotal_steps = 1.5', "x.toml")


def test_a_whole_number_is_a_number():
    recipe = from_dict({"env": "Pendulum-v1", "advantage": {"gamma": 1}}, "card")
    assert type(recipe.advantage.gamma) is float


@pytest.mark.parametrize("agent", cards.agents().values(), ids=lambda card: card.name)
def test_a_shipped_card_is_a_recipe_on_every_environment_which_it_does_not_alter(agent):
    for env_id in cards.environments():
        values = {"env": env_id, **agent.recipe_for(env_id)}
        kept = deepcopy(values)
        recipe = to_dict(from_dict(values, str(agent.path)))
        assert values == kept
        assert agent.recipe_for(env_id) == {key: x for key, x in kept.items() if key != "env"}
        assert_contains(recipe, kept)


def assert_contains(whole, part):
    for key, x in part.items():
        if isinstance(x, dict):
            assert_contains(whole[key], x)
        else:
            assert whole[key] == x


@pytest.mark.parametrize("agent", [name for name in cards.agents() if name.startswith("explorler-")])
def test_the_cards_that_probe_differ_from_those_that_do_not_in_probing_alone(agent):
    for env_id in cards.environments():
        recipe, plain = (
            from_dict({"env": env_id, **cards.agents()[name].recipe_for(env_id)}, name)
            for name in (agent, agent.split("-")[1] + "-gpu" * agent.endswith("-gpu"))
        )
        assert isinstance(recipe.explore, ExploRLer), env_id
        assert replace(recipe, explore=None) == plain, env_id


@pytest.mark.parametrize("name", ["ppo-group", "ppo-monte-carlo", "ppo-rloo"])
def test_the_cards_of_other_estimators_differ_from_ppo_in_that_and_what_it_needs(name):
    recipe, ppo = (
        from_dict({"env": "Hopper-v5", **cards.agents()[n].recipe_for("Hopper-v5")}, n) for n in (name, "ppo")
    )
    assert type(recipe.advantage) is not type(ppo.advantage)
    sizes = (r.batch_size / r.algorithm.minibatches for r in (recipe, ppo))
    assert len(set(sizes)) == 1
    alike = replace(recipe, advantage=ppo.advantage, algorithm=ppo.algorithm)
    assert replace(alike, rollout_length=ppo.rollout_length) == ppo
    assert (recipe.rollout_length == ppo.rollout_length) == (name != "ppo-rloo")
    alike = replace(recipe.algorithm, minibatches=ppo.algorithm.minibatches, objective=ppo.algorithm.objective)
    assert alike == ppo.algorithm
    assert type(recipe.algorithm.objective) is Clip


# Components of several kinds

PROPOSALS, PROBES = (dict(kinds(union)) for union in (AnyProposal, Probe))


def some(cls, **fixed):
    """Components of a class, their fields drawn by type: numbers that are within the range of all of them."""

    def of_type(hint):
        if get_origin(hint) is Literal:
            return st.sampled_from(get_args(hint))
        if get_origin(hint) is tuple:
            return st.lists(of_type(get_args(hint)[0]), min_size=1, max_size=4).map(tuple)
        if is_dataclass(hint):
            return some(hint)
        return {bool: st.booleans(), int: st.integers(2, 20), float: st.floats(0.01, 0.99)}[hint]

    hints = get_type_hints(cls)
    drawn = {f.name: of_type(hints[f.name]) for f in fields(cls) if f.name not in fixed}
    return st.builds(cls, **drawn, **fixed)


@pytest.mark.parametrize(("proposal", "probe"), list(product(PROPOSALS, PROBES)))
def test_a_recipe_that_probes_equals_the_one_read_from_its_document(proposal, probe):
    one_round = probe == "in-rollout" and proposal in ("consensus", "surrogate-gradient")
    parts = {
        "proposal": some(PROPOSALS[proposal], **({"rounds": st.just(1)} if one_round else {})),
        "probe": some(PROBES[probe]),
        "anchor_span": st.sampled_from((0.0, 0.3)),
        **({} if probe in ("episodes", "racing") else dict.fromkeys(("finish", "search_log_std"), st.just(False))),
    }

    @settings(max_examples=10)
    @given(some(ExploRLer, **parts))
    def equal(explore):
        if explore.anchor_span > 0:
            explore = replace(explore, anchors="iterations")  # which alone can be spread
        recipe = replace(RECIPE, explore=explore)
        try:
            check(recipe)
        except UsageError:
            assume(False)  # parts that do not go together
        text = to_toml(recipe)
        assert f'[explore.proposal]\nkind = "{proposal}"\n' in text
        assert f'[explore.probe]\nkind = "{probe}"\n' in text
        assert from_toml(text, "recipe.toml") == recipe

    if probe == "in-rollout" and proposal == "guided-evolution":
        with pytest.raises(
            UsageError, match="needs a proposal of one round, which --explore.proposal guided-evolution does"
        ):
            check(replace(RECIPE, explore=ExploRLer(GuidedEvolution(), InRollout())))
    else:
        equal()


def test_kinds_are_named_after_their_classes():
    assert list(PROPOSALS)[:3] == ["empty-space", "random-walk", "averages"]
    assert list(PROBES) == ["episodes", "racing", "in-rollout", "surrogate"]
    assert list(kinds(Estimator))[:5] == ["gae", "nstep", "monte-carlo", "td-lambda", "vtrace"]
    assert list(kinds(Estimator))[5:] == ["group-relative", "grpo", "dr-grpo", "rloo", "reinforce-plus-plus"]
    assert list(kinds(Objective)) == ["clip", "a2c", "gspo", "cispo", "cloning", "hpt", "sso", "reuse"]
    assert kind_of(PPO) == "ppo"
    assert kinds(ExploRLer | None) == {kind_of(ExploRLer): ExploRLer}
    assert kinds(int | None) == kinds(float) == {}


def test_what_is_not_said_of_a_kind_is_its_default():
    document = 'env = "Pendulum-v1"\n[explore.probe]\nkind = "racing"\nduel = 7\n[explore.proposal]\nkind = "line"'
    assert from_toml(document, "card").explore == ExploRLer(Line(), Racing(duel=7))
    assert from_toml('env = "Pendulum-v1"\n[explore]\nevery = 3', "card").explore == ExploRLer(every=3)


def test_a_kind_that_is_not_said_is_the_usual_one():
    recipe = from_toml('env = "Pendulum-v1"\n[advantage]\ngamma = 0.9\n[explore.probe]\nlevel = 0.7', "card")
    assert recipe.advantage == GAE(gamma=0.9)
    assert recipe.explore.probe == Episodes(level=0.7)


# What follows from a recipe


def test_budget_arithmetic():
    recipe = replace(RECIPE, seed=5, num_seeds=3, num_envs=4, rollout_length=25, total_steps=1001)
    assert list(recipe.seeds) == [5, 6, 7]
    assert recipe.batch_size == 100
    assert recipe.iterations == 11  # the last rollout overruns the budget
    assert recipe.eval_interval == 50
    assert replace(recipe, eval_every=7).eval_interval == 7
    assert replace(recipe, total_steps=5).eval_interval == 1


# Mistakes


def changed(name, value):
    component, _, field = name.rpartition(".")
    if component:
        return replace(RECIPE, **{component: replace(getattr(RECIPE, component), **{field: value})})
    return replace(RECIPE, **{field: value})


WHOLE, ABOVE_ZERO, NOT_NEGATIVE = "a positive whole number", "a positive number", "zero or a positive number"
BROKEN = [
    *((name, 0, WHOLE) for name in ("num_seeds", "total_steps", "num_envs", "rollout_length", "eval_episodes")),
    ("num_envs", -1, WHOLE),
    ("seed", -1, "zero or a positive whole number"),
    ("eval_every", 0, "a positive number of steps"),
    *((f"algorithm.{name}", 0, WHOLE) for name in ("epochs", "minibatches")),
    *(
        (f"algorithm.{name}", value, ABOVE_ZERO)
        for name in ("learning_rate", "clip_range", "max_grad_norm", "adam_epsilon", "target_kl")
        for value in (0.0, -1.0, math.inf, math.nan)
    ),
    *(
        (f"algorithm.{name}", value, NOT_NEGATIVE)
        for name in ("entropy_coef", "value_coef")
        for value in (-1.0, math.inf, math.nan)
    ),
    *(
        (f"advantage.{name}", value, "a number from 0 to 1")
        for name in ("gamma", "gae_lambda")
        for value in (-0.1, 1.1, math.nan)
    ),
    *((f"policy.{name}", (8, 0), "widths from 1 to ") for name in ("actor_hidden", "critic_hidden")),
    *(("policy.log_std_init", value, "a finite number") for value in (math.inf, math.nan)),
]


@pytest.mark.parametrize(("name", "value", "expected"), BROKEN)
def test_a_value_out_of_range_is_told_with_its_flag_and_what_is_expected(name, value, expected):
    given_text = " ".join(map(str, value)) if isinstance(value, tuple) else value
    with pytest.raises(UsageError) as error:
        check(changed(name, value))
    assert str(error.value).startswith(f"--{name.replace('_', '-')} is {given_text}: expected {expected}")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, 0, WHOLE) for name in ("fisher_subsample", "backtracks", "critic_epochs", "critic_minibatches")),
        *((name, 0.0, ABOVE_ZERO) for name in ("target_kl", "learning_rate", "adam_epsilon")),
        *(("target_kl", value, ABOVE_ZERO) for value in (math.inf, math.nan)),
        *(("damping", value, NOT_NEGATIVE) for value in (-1.0, math.inf, math.nan)),
        *(("backtrack_factor", value, "a number between 0 and 1") for value in (0.0, 1.0, math.nan)),
        ("fisher_subsample", 4097, "at most the 2048 samples of a rollout"),
        ("solver", CG(iterations=0), WHOLE),
        ("solver", CG(tolerance=1.0), "a number from 0 on, below 1"),
        ("solver", MFAC(0), WHOLE),
        ("solver", MFAC(4097), "at most the 2048 samples of a rollout"),
    ],
)
def test_a_setting_of_trpo_out_of_range_is_told_with_its_flag_and_what_is_expected(name, value, expected):
    with pytest.raises(UsageError, match=f"^--algorithm.{name.replace('_', '-')}.* is .*: expected {expected}"):
        check(replace(RECIPE, algorithm=TRPO(**{name: value})))


def test_minibatches_of_the_critic_divide_the_rollout_and_may_be_single_samples():
    check(replace(RECIPE, algorithm=TRPO(critic_minibatches=2048)))
    message = "--algorithm.critic-minibatches 7 does not divide .* nearest number that does is 8"
    with pytest.raises(UsageError, match=message):
        check(replace(RECIPE, algorithm=TRPO(critic_minibatches=7)))
    single = replace(RECIPE, num_envs=1, rollout_length=1)
    with pytest.raises(UsageError, match="rollouts of one sample are too few to normalise advantages"):
        check(replace(single, algorithm=TRPO(critic_minibatches=1)))
    check(replace(single, algorithm=TRPO(critic_minibatches=1, normalise_advantages=False)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("advantage.gamma", 1.0),
        ("advantage.gae_lambda", 0.0),
        ("algorithm.value_coef", 0.0),
        ("seed", 0),
        ("policy.actor_hidden", ()),
    ],
)
def test_the_ends_of_ranges_are_allowed(name, value):
    check(changed(name, value))


@pytest.mark.parametrize("objective", [Clip(0.0), Clip(math.nan), GSPO(0.0), GSPO(math.inf), SSO(-1.0)])
def test_a_setting_of_an_objective_out_of_range_is_told_with_its_flag(objective):
    name = fields(objective)[0].name.replace("_", "-")
    with pytest.raises(UsageError, match=rf"^--algorithm\.objective\.{name} is .*: expected a positive number"):
        check(replace(RECIPE, algorithm=PPO(minibatches=1, objective=objective)))


def test_an_objective_of_whole_episodes_takes_the_rollout_whole():
    check(replace(RECIPE, algorithm=PPO(minibatches=1, objective=GSPO())))
    with pytest.raises(
        UsageError,
        match="--algorithm.objective gspo weighs whole episodes, .* tear apart: use --algorithm.minibatches 1",
    ):
        check(replace(RECIPE, algorithm=PPO(minibatches=32, objective=GSPO())))


@given(st.integers(1, 12), st.integers(2, 60), st.integers(1, 2000), st.booleans())
def test_a_number_of_minibatches_that_does_not_fit_is_answered_by_the_nearest_that_does(envs, length, parts, normalise):
    def recipe(minibatches):
        ppo = PPO(minibatches=minibatches, normalise_advantages=normalise)
        return replace(RECIPE, num_envs=envs, rollout_length=length, algorithm=ppo)

    batch, fewest = envs * length, 2 if normalise else 1
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and batch // n >= fewest]
    if parts in fitting:
        check(recipe(parts))
        return
    with pytest.raises(UsageError) as error:
        check(recipe(parts))
    if batch % parts == 0:
        assert "leaves one sample in each minibatch" in str(error.value)
        return
    assert f"= {batch} samples: the nearest number that does is " in str(error.value)
    suggested = int(str(error.value).rpartition(" ")[2])
    check(recipe(suggested))
    assert abs(suggested - parts) == min(abs(n - parts) for n in fitting)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2**53}, "--seed 9007199254740992: expected 9007199254740991 or less; larger ones are not exact"),
        ({"seed": 2**53 - 2, "num_seeds": 3}, "--seed 9007199254740990: expected 9007199254740989 or less"),
        ({"num_seeds": 2**11, "num_envs": 2**10}, "makes 2,097,152 environments: expected at most 1,048,576"),
        ({"num_seeds": 2**11, "eval_episodes": 2**10}, "makes 2,097,152 environments: expected at most 1,048,576"),
        ({"rollout_length": 2**28}, "makes a rollout of 2,147,483,648 steps: expected at most 1,073,741,824"),
    ],
)
def test_what_no_machine_holds_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check(replace(RECIPE, **changes))


# Mistakes in probing


def probing(proposal=None, probe=None, **changes):
    changes |= {name: x for name, x in (("proposal", proposal), ("probe", probe)) if x is not None}
    return replace(RECIPE, explore=ExploRLer(**changes))


NOT_IN_RANGE = [
    (probing(num_anchors=0), "num-anchors is 0: expected a positive whole number"),
    (probing(num_anchors=1), "num-anchors is 1: expected 2 or more, for one anchor gives no direction"),
    (probing(GuidedEvolution(), num_anchors=1), "num-anchors is 1: expected 2 or more"),
    (probing(anchor_span=1.1), "anchor-span is 1.1: expected a number from 0 to 1"),
    (probing(start=1.0), "start is 1.0: expected a number from 0 on, below 1"),
    (probing(start=math.nan), "start is nan"),
    (probing(budget_fraction=0.0), "budget-fraction is 0.0: expected a number above 0, at most 1"),
    (probing(budget_fraction=1.1), "budget-fraction is 1.1"),
    (probing(Gaussian(reach=0.0)), "proposal.reach is 0.0: expected a positive number"),
    (probing(Gaussian(reach=math.inf)), "proposal.reach is inf: expected a positive number"),
    (probing(Line(())), "proposal.fractions is empty: expected one or more finite numbers"),
    (probing(Line((0.5, math.nan))), "proposal.fractions is 0.5 nan: expected one or more finite numbers"),
    (probing(probe=Episodes(level=1.0)), "probe.level is 1.0: expected a number between 0 and 1"),
    (probing(probe=Episodes(level=0.0)), "probe.level is 0.0: expected a number between 0 and 1"),
    (probing(probe=Episodes(0)), "probe.episodes is 0: expected a positive whole number"),
    (probing(probe=Racing((1, 0))), "probe.episodes is 1 0: expected one or more positive whole numbers"),
    (probing(probe=Racing(keep=0.0)), "probe.keep is 0.0: expected a number above 0, at most 1"),
    *(
        (probing(probe=probe), f'{name} is 1: expected 2 or more, which --explore.probe.accept "{probe.accept}" needs')
        for name, probe in (
            ("probe.episodes", Episodes(1, "evidence")),
            ("probe.episodes", Episodes(1, "posterior")),
            ("probe.duel", Racing(duel=1, accept="evidence")),
            ("probe.blocks", Surrogate(1, "posterior")),
        )
    ),
]


@pytest.mark.parametrize(("recipe", "message"), NOT_IN_RANGE, ids=[message[:40] for _, message in NOT_IN_RANGE])
def test_a_setting_of_probing_out_of_range_is_told_with_its_flag(recipe, message):
    with pytest.raises(UsageError) as error:
        check(recipe)
    assert str(error.value).startswith(f"--explore.{message}")


NOT_TOGETHER = [
    (
        probing(anchor_span=0.3),
        "--explore.anchor-span spreads anchors over iterations: it needs --explore.anchors iter",
    ),
    (
        probing(search_log_std=True),
        "--explore.search-log-std needs scores that depend on the action noise, which --explore.probe.no-stochastic",
    ),
    (
        probing(probe=InRollout(), finish=True),
        "--explore.finish spends steps on probes alone, and needs a probe that runs episodes, which --",
    ),
    (probing(probe=InRollout(), search_log_std=True), "--explore.search-log-std needs scores that"),
    (probing(probe=Surrogate(), search_log_std=True), "--explore.search-log-std needs scores that"),
    (
        probing(Consensus(rounds=3), InRollout()),
        "which --explore.proposal.rounds 3 does not give: use --explore.proposal.rounds 1, or --explore.proposal em",
    ),
    (replace(probing(probe=InRollout()), num_envs=1), "share 0.5 of --num-envs 1 leaves the incumbent no environment"),
    (probing(probe=InRollout(share=0.99)), "--explore.probe.share 0.99 of --num-envs 8 leaves the incumbent no env"),
    (
        replace(probing(probe=InRollout(move="evolution")), num_envs=2),
        "--explore.probe.share 0.5 of --num-envs 2 is one",
    ),
    (
        replace(probing(Gaussian(2**20)), num_seeds=2),
        "--num-seeds 2 with what --explore.proposal and --explore.probe ask for makes 6,291,456 candidates or episodes",
    ),
    (probing(probe=Racing(duel=2**20)), "makes 2,097,152 candidates or episodes at once: expected at most 1,048,576"),
    (probing(probe=Racing((1, 2**18))), "makes 1,572,864 candidates or episodes"),
    (probing(Gaussian(2**21), Surrogate()), "makes 2,097,152 candidates or episodes"),
]


@pytest.mark.parametrize(("recipe", "message"), NOT_TOGETHER, ids=[message[:40] for _, message in NOT_TOGETHER])
def test_settings_of_probing_that_do_not_go_together_are_told(recipe, message):
    with pytest.raises(UsageError) as error:
        check(recipe)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "recipe",
    [
        probing(GuidedEvolution(unit="absolute"), num_anchors=1),
        probing(Averages(agents=1, neighbours=1), num_anchors=2),
        probing(probe=Episodes(1, "always")),
        probing(probe=Episodes(1, "never")),
        probing(probe=Episodes(stochastic=True), search_log_std=True),
        probing(probe=Racing(stochastic=True), search_log_std=True),
        probing(probe=Racing(duel=1, accept="always", keep=1.0)),
        probing(Consensus(rounds=1), InRollout()),
        probing(GuidedEvolution(), Surrogate()),
        probing(budget_fraction=1.0, start=0.0),
        probing(anchors="iterations", anchor_span=1.0),
        replace(probing(probe=InRollout(share=1.0)), num_envs=1),
        replace(probing(probe=InRollout(share=0.5)), num_envs=2),
    ],
)
def test_settings_of_probing_that_make_sense_are_allowed(recipe):
    check(recipe)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("env = ", "card.toml: not a TOML file: "),
        ("seed = 1", "card.toml: the key env is missing"),
        ('env = "E"\nnum_env = 4', "card.toml: unknown key num_env: did you mean num_envs?"),
        (
            'env = "E"\n[algorithm]\nlearning_rat = 1',
            "card.toml: unknown key algorithm.learning_rat: did you mean algorithm.learning_rate?",
        ),
        ('env = "E"\n[advantage]\nxyz = 1', "card.toml: unknown key advantage.xyz (known: gae_lambda, gamma)"),
        (
            'env = "E"\n[advantage]\nkind = "td"',
            "card.toml: advantage.kind must be one of gae, nstep, monte-carlo, td-lambda, vtrace",
        ),
        ('env = "E"\n[advantage]\nkind = "nstep"\nlambda = 1', "card.toml: unknown key advantage.lambda (known: gam"),
        ("env = 3", "card.toml: env must be text, not 3"),
        ('env = "E"\nnum_envs = 4.5', "card.toml: num_envs must be a whole number, not 4.5"),
        ('env = "E"\nnum_envs = true', "card.toml: num_envs must be a whole number, not True"),
        ('env = "E"\neval_every = "often"', "card.toml: eval_every must be a whole number, not 'often'"),
        (
            'env = "E"\nalgorithm = "PPO"',
            "card.toml: algorithm must be a table whose kind is one of ppo, trpo, n-pg-igt, n-harpg",
        ),
        (
            'env = "E"\n[algorithm]\nclip_range = true',
            "card.toml: algorithm.clip_range must be a number, not True",
        ),
        (
            'env = "E"\n[algorithm]\nlearning_rate_decay = 1',
            "card.toml: algorithm.learning_rate_decay must be true or false, not 1",
        ),
        (
            'env = "E"\n[policy]\nactor_hidden = [8, 8.5]',
            "card.toml: policy.actor_hidden must be a whole number, not 8.5",
        ),
        ('env = "E"\nexplore = "on"', "card.toml: explore must be a table, not 'on'"),
        ('env = "E"\n[explore]\nevry = 1', "card.toml: unknown key explore.evry: did you mean explore.every?"),
        ('env = "E"\n[explore.probe]\nkeep = 0.5', "card.toml: unknown key explore.probe.keep"),
        (
            'env = "E"\n[algorithm]\nkind = "sac"',
            "card.toml: algorithm.kind must be one of ppo, trpo, n-pg-igt, n-harpg",
        ),
        (
            'env = "E"\n[explore.probe]\nkind = "race"',
            "card.toml: explore.probe.kind must be one of episodes, racing, in-rollout, surrogate",
        ),
        (
            'env = "E"\n[explore.probe]\nkind = ["racing"]',
            "card.toml: explore.probe.kind must be one of",
        ),
        (
            'env = "E"\n[explore]\nprobe = "racing"',
            "card.toml: explore.probe must be a table whose kind is one of episodes, ",
        ),
        (
            'env = "E"\n[explore.proposal]\nkind = "gaussian"\nagents = 3',
            "card.toml: unknown key explore.proposal.agents: gaussian has none, use empty-space or random-walk",
        ),
        (
            'env = "E"\n[explore.proposal]\nkind = "gaussian"\nunit = "metre"',
            "card.toml: explore.proposal.unit must be one of absolute, spread, update",
        ),
        ('env = "E"\n[explore]\nevery = 0', "--explore.every is 0: expected a positive whole number"),
        ('env = "E"\n[algorithm]\nclip_range = nan', "--algorithm.clip-range is nan: expected a positive number"),
    ],
)
def test_a_mistake_in_a_document_is_told_with_its_place(document, message):
    with pytest.raises(UsageError) as error:
        from_toml(document, "card.toml")
    assert str(error.value).startswith(message)
