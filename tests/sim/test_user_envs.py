"""Environments of a user's own give the same episodes, whoever holds them and however they restart."""

from functools import partial

import fake_envs
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.sim.episodes import STEP_CAP, ProbeEpisodes
from rlsparse.sim.user_envs import GymEnvironments, Lockstep, from_maker

POINT = "fake_envs:Point-v0"
"""Episodes end by themselves, or after five steps."""


def vector(n, mode=AutoresetMode.NEXT_STEP, wrapped=False):
    env = SyncVectorEnv([lambda: gymnasium.make(POINT)] * n, autoreset_mode=mode)
    return VectorWrapper(env) if wrapped else env


def no_autoreset(n):
    return sim.make(POINT, n, autoreset=False)


MAKERS = {
    "single": lambda: gymnasium.make(POINT),
    "ours": no_autoreset,
    **{
        f"{mode.value}{' wrapped' * wrapped}": lambda n, mode=mode, wrapped=wrapped: vector(n, mode, wrapped)
        for mode in AutoresetMode
        for wrapped in (False, True)
    },
}


def returns(make, points, most=64):
    """Of three episodes of policies that push by a constant, and the steps they take."""

    def policies(points, episodes):
        return lambda obs: np.repeat(points[0], len(obs) // len(points[0]), 0)

    native = lambda action: action.astype(np.float32)  # noqa: E731
    evaluate = ProbeEpisodes(policies, make, [[5, 6, 2**32 + 7]], np.array([1000]), native=native, most=most)
    return evaluate(points, 0, 3), evaluate.steps


@pytest.mark.parametrize("name", MAKERS)
def test_episodes_do_not_depend_on_who_holds_the_environments(name):
    points = np.array([[[0.5], [-1.9], [1.9]]])
    expected, steps = returns(no_autoreset, points)
    where = from_maker(MAKERS[name])
    for most in (where.most, 4):
        given, taken = returns(where.make, points, most)
        np.testing.assert_array_equal(given, expected)
        np.testing.assert_array_equal(taken, steps)
    assert where.horizon == 5
    assert where.action_space.shape == (1,)


def test_environments_stand_still_after_their_episode_where_they_can():
    kinds = {name: type(from_maker(make).make(2)) for name, make in MAKERS.items()}
    assert {name for name, kind in kinds.items() if kind is Lockstep} == {x for x in MAKERS if x.endswith("wrapped")}
    before = fake_envs.steps
    _, steps = returns(from_maker(MAKERS["NextStep"]).make, np.array([[[0.0], [2.0]]]))
    assert fake_envs.steps - before == steps


def test_a_vector_that_has_raised_is_made_anew():
    """Its processes may have ended; one that still works is used again."""
    made = []

    class Breaks(VectorWrapper):
        def step(self, actions):
            raise RuntimeError("the link was lost")

    def make_env(n):
        made.append(Breaks(vector(n)))
        return made[-1]

    where = from_maker(make_env)
    where.make(2).reset(seed=[1, 2])
    assert [env.num_envs for env in made] == [1, 2]
    with pytest.raises(EnvironmentFailure, match="failed in step with RuntimeError: the link was lost"):
        where.make(2).step(np.zeros((2, 1), np.float32))
    where.make(2)
    assert [env.num_envs for env in made] == [1, 2, 2]


def test_the_time_limit_may_be_a_wrapper_s_or_none():
    assert from_maker(lambda: gymnasium.wrappers.TimeLimit(fake_envs.Point(), 7)).horizon == 7
    assert from_maker(fake_envs.Point).horizon == STEP_CAP


def refused():
    yield "expected a Gymnasium environment", lambda: "Hopper-v5"
    yield "let it take their number", lambda: vector(1)
    yield r"env\(1\) gave .*expected a vector environment of 1", lambda n: gymnasium.make(POINT)
    yield "expected a vector environment of 1", lambda n: vector(2)
    normalised = gymnasium.wrappers.NormalizeObservation
    yield "NormalizeObservation", lambda: normalised(gymnasium.make(POINT))
    yield "NormalizeObservation", lambda n: SyncVectorEnv([lambda: normalised(gymnasium.make(POINT))] * n)
    yield "NormalizeReward", lambda n: gymnasium.wrappers.vector.NormalizeReward(vector(n))


@pytest.mark.parametrize(("message", "make_env"), list(refused()))
def test_what_holds_no_episodes_is_refused_in_one_line(message, make_env):
    with pytest.raises(UsageError, match=message) as refusal:
        from_maker(make_env)
    assert "\n" not in str(refusal.value)


def test_statistics_that_stay_as_they_are_may_be_in_a_wrapper():
    def make_env():
        env = gymnasium.wrappers.NormalizeObservation(gymnasium.make(POINT))
        env.update_running_mean = False
        return env

    assert isinstance(from_maker(make_env).make(2), GymEnvironments)


def test_the_same_environment_twice_is_refused():
    where = from_maker(partial(lambda env: env, gymnasium.make(POINT)))
    with pytest.raises(UsageError, match="same environment twice"):
        where.make(2)


def test_what_cannot_be_made_is_told_as_what_it_is():
    with pytest.raises(EnvironmentFailure, match="failed in make with FileNotFoundError: meshes"):
        from_maker(fake_envs.Unbuildable)
