"""What a budget has room for: evaluations, and a first probe; longer runs stay as their cards have them."""

from dataclasses import replace

import pytest
import tiny

from rlsparse.explore.forecast import foresee, latest_start, why_never
from rlsparse.run import cards
from rlsparse.run.choose import chosen_recipe
from rlsparse.run.plan import fitted, predict

HORIZONS = {env_id: card.horizon for env_id, card in cards.environments().items()}


def usual(env="HalfCheetah-v5", **chosen):
    """The recipe that a card has, and the most steps of an episode."""
    return chosen_recipe({"env": env, **chosen})[1], HORIZONS[env]


@pytest.mark.parametrize("env", HORIZONS)
@pytest.mark.parametrize("agent", ["ppo", "trpo", "explorler-ppo", "sparse-ppo"])
def test_a_million_steps_are_evaluated_as_ever(env, agent):
    recipe, horizon = usual(env, agent=agent)
    recipe = replace(recipe, total_steps=1_000_000)
    assert fitted(recipe, horizon) == (recipe, None)
    assert (recipe.eval_every, recipe.eval_interval) == (None, 50_000)


@pytest.mark.parametrize("total_steps", [8_000, 40_000, 99_999, 100_000, 250_001, 300_000, 839_999, 840_000, 5_000_000])
@pytest.mark.parametrize("num_envs", [1, 8])
def test_evaluations_take_at_most_a_quarter_of_the_steps_and_are_five_or_more_where_they_can(total_steps, num_envs):
    recipe, horizon = usual()
    short, said = fitted(replace(recipe, total_steps=total_steps, num_envs=num_envs), horizon)
    evaluations = predict(short, horizon).evaluations
    assert said is None
    assert evaluations * short.eval_episodes * horizon <= total_steps / 4
    assert evaluations >= min(5, total_steps / 4 // horizon)
    assert (short.eval_episodes == recipe.eval_episodes) == (total_steps >= 5 * 10 * horizon * 4)
    longer = predict(replace(short, eval_every=short.eval_interval * 3 // 4), horizon).evaluations
    assert longer * short.eval_episodes * horizon > total_steps / 4 or evaluations in (5, 21)


def test_a_run_of_a_few_steps_is_evaluated_at_its_start_and_its_end():
    recipe, horizon = usual()
    short, _ = fitted(replace(recipe, total_steps=2_000), horizon)
    assert (predict(short, horizon).evaluations, short.eval_episodes) == (2, 1)


def test_short_episodes_are_evaluated_more_often():
    """Ten episodes of 50 steps: of 2,000 steps a quarter are ten, of 20,000 a hundred."""
    recipe, horizon = usual("Reacher-v5")
    short = [fitted(replace(recipe, total_steps=n), horizon)[0] for n in (2_000, 20_000, 84_000)]
    assert [(x.eval_every, x.eval_episodes) for x in short] == [(500, 2), (2_223, 10), (None, 10)]


def test_as_many_episodes_as_the_user_says_are_evaluated_though_only_twice():
    recipe, horizon = usual()
    short, _ = fitted(replace(recipe, total_steps=40_000), horizon, ["eval-episodes"])
    assert (short.eval_every, short.eval_episodes) == (40_000, 10)


def test_how_often_is_what_the_user_says():
    recipe, horizon = usual()
    recipe = replace(recipe, total_steps=40_000, eval_every=1_000)
    assert fitted(recipe, horizon) == (recipe, None)


@pytest.mark.parametrize("env", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Reacher-v5"])
@pytest.mark.parametrize(
    "agent", [name for name in cards.agents() if name.startswith("explorler-") and not name.endswith("-gpu")]
)
@pytest.mark.parametrize("total_steps", [300_000, 1_000_000])
def test_probing_of_long_runs_begins_when_the_card_says(env, agent, total_steps):
    recipe, horizon = usual(env, agent=agent)
    recipe = replace(recipe, total_steps=total_steps)
    assert fitted(recipe, horizon)[0].explore == recipe.explore


def extent(recipe, horizon):
    return recipe.explore, recipe.total_steps, horizon, recipe.iteration_steps, recipe.algorithm.epochs


@pytest.mark.parametrize(("total_steps", "start"), [(40_000, 0.66), (60_000, 0.75), (120_000, 0.88), (140_000, 0.9)])
def test_a_short_run_begins_to_probe_as_late_as_it_can_pay_for_a_probe(total_steps, start):
    recipe, horizon = usual(explore="explorler")
    recipe = replace(recipe, total_steps=total_steps)
    found, said = fitted(recipe, horizon)
    assert found.explore == replace(recipe.explore, start=start)
    assert True in foresee(*extent(found, horizon))
    assert (said is None) == (start == 0.9)
    if said:
        assert said.startswith(
            f"probing begins after {start} of the budget, not after 0.9, for a probe may take 13,000 steps "
            f"(13 episodes of 1,000), and probing has {total_steps // 10:,} of --total-steps {total_steps:,}"
        )
        later = replace(recipe, explore=replace(recipe.explore, start=start + 0.01))
        assert True not in foresee(*extent(later, horizon))


def test_a_start_that_the_user_gave_stays_and_what_would_help_is_told():
    recipe, horizon = usual(explore="explorler")
    recipe = replace(recipe, total_steps=60_000)
    assert fitted(recipe, horizon, asked=["explore.start"])[0].explore == recipe.explore
    told = why_never(*extent(recipe, horizon))
    assert told == (
        "there will be no probe: one may take 13,000 steps (13 episodes of 1,000), and probing has 6,000 of "
        "--total-steps 60,000: use --total-steps 140,000, --explore.start 0.75, or fewer candidates"
    )
    for helps in (
        replace(recipe, total_steps=140_000),
        replace(recipe, explore=replace(recipe.explore, start=0.75)),
    ):
        assert True in foresee(*extent(helps, horizon))
    assert True not in foresee(*extent(replace(recipe, total_steps=130_000), horizon))


def test_probing_takes_at_most_half_of_a_budget_unless_asked():
    recipe, horizon = usual(explore="explorler")
    recipe = replace(recipe, total_steps=25_000, num_envs=1)
    assert latest_start(*extent(recipe, horizon)) < 0.5
    assert fitted(recipe, horizon)[0].explore == recipe.explore


def test_runs_without_probing_are_left_alone():
    assert fitted(tiny.RECIPE, 5) == (tiny.RECIPE, None)
