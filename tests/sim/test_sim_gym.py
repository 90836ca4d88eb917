"""Other Gymnasium environments: what is supported, what is refused by name, and the count of steps."""

import logging

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UnsupportedEnvironment, UsageError
from rlsparse.sim.environment import Environment

REALS = Box(-100, 100, (2,), np.float32)


class Scripted(gymnasium.Env):
    """Episodes of `length` steps; counts the calls of step over all instances."""

    steps = 0

    def __init__(self, observation_space=REALS, action_space=REALS, length=3, fail_in=None, random=False):
        self.observation_space, self.action_space = observation_space, action_space
        self.length, self.fail_in, self.random = length, fail_in, random

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fail_in == "reset":
            raise RuntimeError("the robot is on fire")
        self.t = 0
        self.start = np.random.default_rng().random() if self.random else self.np_random.random()
        return self.observe(), {}

    def observe(self):
        return np.full(self.observation_space.shape, self.start + self.t, self.observation_space.dtype)

    def step(self, action):
        if self.fail_in == "step":
            raise RuntimeError("the robot is on fire")
        type(self).steps += 1
        self.t += 1
        return self.observe(), float(action.sum()), self.t >= self.length, False, {}


@pytest.fixture
def register():
    registered = []

    def register_scripted(**kwargs):
        env_id = f"Scripted{len(registered)}-v0"
        gymnasium.register(env_id, entry_point=Scripted, kwargs=kwargs)
        registered.append(env_id)
        Scripted.steps = 0
        return env_id

    yield register_scripted
    for env_id in registered:
        del gymnasium.registry[env_id]


def test_every_step_reaches_an_environment_once(register):
    env = sim.make(register(), 4)
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.zeros((4, 2)))
    assert Scripted.steps == 40


def test_without_autoreset_finished_environments_are_not_stepped(register):
    env = sim.make(register(length=3), 4, autoreset=False)
    env.reset(seed=0)
    results = [env.step(np.ones((4, 2))) for _ in range(5)]
    assert Scripted.steps == 12
    np.testing.assert_array_equal([result[1] for result in results], [[2.0] * 4] * 3 + [[0.0] * 4] * 2)
    np.testing.assert_array_equal([result[2] for result in results], [[False] * 4] * 2 + [[True] * 4] * 3)
    np.testing.assert_array_equal(results[4][0], results[2][0])


def test_autoreset_returns_the_next_start_and_keeps_the_final_observation(register):
    env = sim.make(register(length=2), 2)
    first, _ = env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    obs, _, terminated, _, info = env.step(np.zeros((2, 2)))
    assert terminated.all() and info["_final_obs"].all()
    np.testing.assert_allclose(np.stack(info["final_obs"]), first + 2, atol=1e-6)
    assert (obs < 1).all() and (obs != first).all()


def test_rewards_and_observations_are_the_environments_own():
    ours, theirs = sim.make("Pendulum-v1", 1), gymnasium.make("Pendulum-v1")
    obs, _ = ours.reset(seed=0)
    theirs.reset(seed=0)
    theirs.unwrapped.state = np.array([np.arctan2(obs[0, 1], obs[0, 0]), obs[0, 2]])
    for action in np.random.default_rng(0).uniform(-2, 2, (50, 1)).astype(np.float32):
        our_obs, our_reward, *_ = ours.step(action[None])
        obs, reward, *_ = theirs.step(action)
        np.testing.assert_allclose(our_obs[0], obs, atol=1e-4)
        np.testing.assert_allclose(our_reward[0], reward, atol=1e-4)


def test_an_environment_does_not_depend_on_the_others():
    alone, together = sim.make("Pendulum-v1", 1), sim.make("Pendulum-v1", 3)
    np.testing.assert_array_equal(alone.reset(seed=8)[0][0], together.reset(seed=[1, 8, 2])[0][1])
    zeros = np.zeros((3, 1))
    for _ in range(250):
        np.testing.assert_array_equal(alone.step(zeros[:1])[0][0], together.step(zeros)[0][1])


def test_arrays_of_real_numbers_are_flattened(register):
    space = Box(-100, 100, (2, 3), np.float32)
    env = sim.make(register(observation_space=space, action_space=space), 2)
    assert env.single_observation_space.shape == env.single_action_space.shape == (6,)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (2, 6) and obs.dtype == np.float64
    assert env.step(np.ones((2, 6)))[1].tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("spaces", "named"),
    [
        ({"action_space": Discrete(2)}, r"Discrete\(2\)"),
        ({"action_space": MultiDiscrete([2, 3])}, "MultiDiscrete"),
        ({"action_space": Dict(a=REALS)}, "Dict"),
        ({"action_space": gymnasium.spaces.Tuple([REALS])}, "Tuple"),
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "finite bounds"),
        ({"action_space": Box(0, 5, (2,), np.int64)}, "Box"),
        ({"observation_space": gymnasium.spaces.Text(3)}, "Text"),
        ({"observation_space": Box(0, 255, (8, 8, 3), np.uint8)}, "not images"),
    ],
)
def test_other_spaces_are_refused_by_name(register, spaces, named):
    env_id = register(**spaces)
    with pytest.raises(UnsupportedEnvironment, match=f"^{env_id} has .*{named}"):
        sim.make(env_id, 2)


@pytest.mark.parametrize("env_id", ["HalfCheeta-v5", "HalfCheetah-v99", "Nothing-v0"])
def test_an_unknown_name_is_a_usage_error(env_id):
    with pytest.raises(UsageError, match=env_id):
        sim.make(env_id, 1)


def test_what_an_environment_raises_is_told_with_its_name_and_index(register):
    env = sim.make(register(fail_in="step"), 2)
    env.reset(seed=0)
    with pytest.raises(
        EnvironmentFailure,
        match=r"^Scripted0-v0: environment 0 failed in step 1 after reset\(seed=\d+\) with .* on fire$",
    ):
        env.step(np.zeros((2, 2)))
    env = sim.make(register(fail_in="reset"), 2)
    with pytest.raises(EnvironmentFailure, match=r"Scripted1-v0: .* 0 failed in reset\(seed=\d+\) with .* on fire"):
        env.reset(seed=0)
    with pytest.raises(EnvironmentFailure, match="Scripted2-v0: environment 0 .*make.*TypeError"):
        sim.make(register(unknown_option=1), 2)


def test_restoring_an_environment_that_is_not_deterministic_warns(register, caplog):
    env_id = register(random=True)
    env = sim.make(env_id, 2)
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    with caplog.at_level(logging.WARNING, logger="rlsparse.sim"):
        sim.make(env_id, 2).set_state(env.get_state())
    assert f"{env_id} is not deterministic" in caplog.text
    caplog.clear()
    env = sim.make("Pendulum-v1", 2)
    env.reset(seed=0)
    env.step(np.zeros((2, 1)))
    sim.make("Pendulum-v1", 2).set_state(env.get_state())
    assert caplog.text == ""


def test_a_wrapper_that_remembers_earlier_episodes_is_told_as_not_deterministic(caplog):
    env_id = Environment("Pendulum-v1", {"max_episode_steps": 3}, ("gymnasium.wrappers.NormalizeReward",))
    env, again = sim.make(env_id, 2), sim.make(env_id, 2)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.ones((2, 1)))
    with caplog.at_level(logging.WARNING, logger="rlsparse.sim"):
        again.set_state(env.get_state())
    assert "Pendulum-v1 is not deterministic: replaying the saved actions led to another reward" in caplog.text
    for name, x in env.get_state().items():
        np.testing.assert_array_equal(again.get_state()[name], x)


def test_a_halted_environment_is_not_stepped_until_reset(register):
    env = sim.make(register(length=5), 3, autoreset=False)
    env.reset(seed=0)
    before = env.step(np.ones((3, 2)))[0]
    env.halt(np.array([False, True, False]))
    for _ in range(2):
        obs, reward, terminated, _, _ = env.step(np.ones((3, 2)))
    assert Scripted.steps == 3 + 2 * 2
    np.testing.assert_array_equal(obs[1], before[1])
    assert reward.tolist() == [2, 0, 2] and not terminated.any()
    env.halt(np.array([True, True, True]))
    env.step(np.ones((3, 2)))
    assert Scripted.steps == 7
    env.reset(seed=0)
    np.testing.assert_array_equal(env.step(np.ones((3, 2)))[0], before)
    assert Scripted.steps == 10


def test_only_the_chosen_environments_begin_their_next_episodes(register):
    env_id = register(length=5)
    env, other = (sim.make(env_id, 3, autoreset=False) for _ in range(2))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False, True])})
    env.reset(seed=[1, 2, 3])
    other.reset(seed=[1, 2, 3])
    for _ in range(5):
        before, _, terminated, *_ = env.step(np.zeros((3, 2)))
    assert terminated.all()
    obs, _ = env.reset(options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(obs[[0, 2]], other.reset()[0][[0, 2]])
    np.testing.assert_array_equal(obs[1], before[1])
    assert env.step(np.zeros((3, 2)))[2].tolist() == [False, True, False]
    assert Scripted.steps == 17
