"""policy-best.safetensors: each member as it was at its best evaluation, which is told to be a maximum."""

import csv

import numpy as np
import pytest
import tiny

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.learner.learner import Learner
from rlsparse.run import policy_file
from rlsparse.run.best import BestPolicies
from rlsparse.run.named_policy import find_policy
from rlsparse.run.status import BEST
from rlsparse.sim.episodes import evaluate

RECIPE = tiny.recipe(num_seeds=3, seed=4, total_steps=160, algorithm=tiny.fast())


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A run of three seeds that learn so fast that their returns go up and down."""
    session = tiny.begin(tmp_path_factory.mktemp("best") / "run", RECIPE)
    tiny.go_on(session)
    return session


@pytest.fixture
def rows(session):
    """Evaluations by seed, as steps and mean return."""
    with open(session.run.progress) as file:
        found = [(int(row["seed"]), int(row["total_steps"]), float(row["return_mean"])) for row in csv.DictReader(file)]
    return {seed: [(steps, mean) for own, steps, mean in found if own == seed] for seed in RECIPE.seeds}


def test_it_tells_of_every_member_which_evaluation_was_its_best(session, rows):
    best = policy_file.load(session.run.path / BEST).best
    for one, of_seed in zip(best, rows.values(), strict=True):
        steps, mean = max(of_seed, key=lambda row: row[1])
        assert (one.total_steps, one.evaluations) == (steps, len(of_seed))
        assert one.return_mean == pytest.approx(mean, rel=1e-12)
    assert policy_file.load(session.run.path / "policy.safetensors").best == ()


def test_its_policies_repeat_those_evaluations(session):
    policy = policy_file.load(session.run.path / BEST)
    assert len({one.total_steps for one in policy.best}) > 1, "members had their best at different times"
    seeds = [int(s) for s in session.eval_env.get_state()["seed"]]
    again = evaluate(session.eval_env, policy.actors, seeds).returns.mean(1)
    np.testing.assert_allclose(again, [one.return_mean for one in policy.best], rtol=1e-6)


def test_a_member_s_best_policy_is_that_of_its_solo_run(session, tmp_path):
    solo = policy_file.load(
        tiny.train(tmp_path / "run", tiny.recipe(seed=5, total_steps=160, algorithm=tiny.fast())) / BEST
    )
    whole = policy_file.load(session.run.path / BEST)
    assert solo.best == whole.best[1:2]
    np.testing.assert_array_equal(solo.actors.params, whole.actors.params[1:2])
    for name, x in solo.statistics.items():
        np.testing.assert_array_equal(x, whole.statistics[name][1:2])


def test_of_equal_evaluations_the_first_counts_and_only_those_that_are_due():
    learner = Learner(RECIPE.policy, 2, 1, (0, 1))
    best = BestPolicies(learner)
    for params, due, returns in ((1.0, [1, 1], [5.0, 5.0]), (2.0, [1, 1], [5.0, 6.0]), (3.0, [1, 0], [4.0, 9.0])):
        learner.params[...] = params
        best.observe(learner, np.array(due, bool), np.array(returns))
    state = best.state_dict()
    np.testing.assert_array_equal(state["policy.params"][:, 0], [1.0, 2.0])
    np.testing.assert_array_equal(state["score"], [5.0, 6.0])
    np.testing.assert_array_equal(state["evaluations"], [3, 2])


def test_only_a_run_has_a_best_policy(session, tmp_path):
    run = session.run.path
    assert find_policy(str(run), None, best=True) == (run / BEST, None)
    with pytest.raises(UsageError, match=r"--best needs a run directory, and .*/policy.safetensors is a file"):
        find_policy(str(run / "policy.safetensors"), None, best=True)
    with pytest.raises(UsageError, match="--best needs a run directory: the agent ppo ships no policy but its last"):
        find_policy("ppo", "Hopper", best=True)
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(RunDirectoryError, match=r"has no policy-best.safetensors yet"):
        find_policy(str(tmp_path), None, best=True)
