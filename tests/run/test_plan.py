"""Before its first step a run says what the disk does not hold, and refuses what could not be read again."""

import re
import shutil
from collections import namedtuple

import pytest
import tiny

from rlsparse.errors import UsageError
from rlsparse.learner.network import ActorCritic
from rlsparse.run import checkpoint, plan

WIDE = ActorCritic(actor_hidden=(1024, 1024), critic_hidden=(1024, 1024))


def test_a_checkpoint_holds_sixteen_bytes_a_parameter_beside_what_is_small(tmp_path):
    recipe = tiny.recipe(num_seeds=3, policy=ActorCritic(actor_hidden=(200,), critic_hidden=(200,)))
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    saved = checkpoint.load_latest(tmp_path / "run" / "checkpoint")
    held = sum(x.nbytes for group in saved.arrays.values() for x in group.values())
    policy = (tmp_path / "run" / "policy.safetensors").stat().st_size
    assert held == pytest.approx(plan.SAVED_PER_PARAMETER * session.learner.params.size, rel=0.3)
    assert policy == pytest.approx(3 * plan.policy_size(session.learner.layout), rel=0.3)


@pytest.mark.parametrize(("seeds", "total_steps", "every"), [(10, 10**9, 1000), (1000, 10**8, 10_000), (1, 10**10, 1)])
def test_a_table_that_could_not_be_read_again_is_refused_with_the_nearest_interval(seeds, total_steps, every):
    recipe = tiny.recipe(num_seeds=seeds, total_steps=total_steps, eval_every=every)
    with pytest.raises(UsageError, match=rf"--eval-every {every} makes [\d,]+ rows .* at most 1,048,576") as caught:
        plan.check_size(recipe, recipe.layout(4, 1))
    nearest = int(re.search(r"use --eval-every (\d+)", str(caught.value))[1])
    plan.check_size(tiny.recipe(num_seeds=seeds, total_steps=total_steps, eval_every=nearest), recipe.layout(4, 1))


def test_a_million_evaluations_of_a_seed_are_not_refused():
    recipe = tiny.recipe(total_steps=10**9, eval_every=1000)
    plan.check_size(recipe, recipe.layout(4, 1))


def test_evaluations_are_no_more_than_iterations():
    """A short run may ask for one at every step."""
    recipe = tiny.recipe(num_seeds=1000, total_steps=1600, eval_every=1)
    plan.check_size(recipe, recipe.layout(4, 1))


def test_policies_that_could_not_be_read_again_are_refused_with_the_nearest_number_of_seeds():
    recipe = tiny.recipe(num_seeds=1000, policy=WIDE)
    with pytest.raises(UsageError, match=r"--num-seeds 1000 of 2,\d+,\d+ parameters .* 7\.9 GiB") as caught:
        plan.check_size(recipe, recipe.layout(4, 1))
    seeds = int(re.search(r"use --num-seeds (\d+)", str(caught.value))[1])
    plan.check_size(tiny.recipe(num_seeds=seeds, policy=WIDE), recipe.layout(4, 1))


def test_a_disk_that_is_too_small_is_told_whether_or_not_the_folder_is_there_yet(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 3e8 if path == tmp_path else 1e15))
    assert plan.disk(tiny.RECIPE, tiny.RECIPE.layout(4, 1), 2, tmp_path) is None
    recipe = tiny.recipe(num_seeds=10, policy=WIDE)
    line = plan.disk(recipe, recipe.layout(4, 1), 2, tmp_path / "runs" / "new")
    assert "up to 2 checkpoints of about 337" in line
    assert "0.7 GB on the disk, where 0.3 GB are free: --keep-checkpoints" in line


@pytest.mark.parametrize("total_steps", [1, 15, 16, 17, 96, 100, 1000])
def test_as_many_evaluations_are_foreseen_as_the_loop_makes(total_steps):
    for every in (1, 7, 15, 16, 17, 32, 50, 96, 2000):
        recipe = tiny.recipe(total_steps=total_steps, eval_every=every)
        at, evaluated_at, count = 0, 0, 1
        while at < total_steps:
            at += 16
            if at // every > evaluated_at // every or at >= total_steps:
                count, evaluated_at = count + 1, at
        plan_of_it = plan.predict(recipe, 10)
        assert (plan_of_it.evaluations, plan_of_it.train_steps) == (count, at)


def test_the_largest_budget_is_foreseen_at_once():
    assert plan.predict(tiny.recipe(total_steps=10**12, eval_every=10**9), 10).evaluations == 1001
