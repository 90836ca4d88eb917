"""Runs that go together are those that differ in seeds and in numbers that formulas read."""

from dataclasses import replace

from rlsparse.advantage.estimators import GAE, MonteCarlo
from rlsparse.algorithms.ppo import PPO
from rlsparse.run.recipe import Recipe
from rlsparse.study.populations import populations, why_apart

USUAL = Recipe("Hopper-v5")


def test_groups_are_of_runs_that_differ_in_numbers_alone():
    recipes = [
        USUAL,
        replace(USUAL, env="Walker2d-v5"),
        replace(USUAL, seed=4, num_seeds=3, algorithm=PPO(learning_rate=1e-2)),
        replace(USUAL, algorithm=PPO(epochs=3)),
        replace(USUAL, advantage=GAE(gamma=0.9)),
        replace(USUAL, algorithm=PPO(epochs=3, clip_range=0.1)),
        replace(USUAL, advantage=MonteCarlo()),
    ]
    groups = [[0, 2, 4], [1], [3, 5], [6]]
    assert populations(recipes) == groups
    assert populations([]) == []
    for group in groups:
        assert [i for i, recipe in enumerate(recipes) if not why_apart(recipes[group[0]], recipe)] == group


def test_a_number_that_some_do_not_have_makes_groups():
    recipes = [replace(USUAL, algorithm=PPO(target_kl=kl)) for kl in (None, 0.01, None, 0.03)]
    assert populations(recipes) == [[0, 2], [1, 3]]


def test_a_reason_is_told_why_two_runs_do_not_go_together():
    assert why_apart(USUAL, replace(USUAL, num_seeds=2, algorithm=PPO(learning_rate=1e-2))) == ""
    reason = "may not differ between members that are trained together"
    assert why_apart(USUAL, replace(USUAL, num_envs=4)) == f"num_envs {reason}: 4 and 8"
    assert why_apart(USUAL, replace(USUAL, advantage=MonteCarlo())) == f"advantage {reason}: gae and monte-carlo"
