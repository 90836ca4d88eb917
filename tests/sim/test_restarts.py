"""Environments that raise are made anew: what training, an evaluation and a saved state then see, and how often."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure
from rlsparse.sim.episodes import run_episodes
from rlsparse.sim.gym import episode_seed
from rlsparse.sim.restarts import RestartingEnvs

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (40, 3, 1)).astype(np.float32)


class Walk(gymnasium.Env):
    """A random walk of eight steps, which the actions drive too; raises at the calls that `crashes` counts down."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,), np.float64), Box(-1, 1, (1,), np.float32)
    crashes: dict[str, int] = {}
    """How many calls of what go well before one that raises."""
    made = closed = 0

    def __init__(self):
        Walk.made += 1

    def _work(self, doing):
        if doing in Walk.crashes:
            Walk.crashes[doing] -= 1
            if Walk.crashes[doing] < 0:
                del Walk.crashes[doing]
                raise RuntimeError("the link was lost")

    def reset(self, *, seed=None, options=None):
        self._work("reset")
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.uniform()
        return np.array([self.x, seed]), {}

    def step(self, action):
        self._work("step")
        self.t += 1
        self.x += 0.1 * float(action[0]) + self.np_random.normal()
        return np.array([self.x, self.t]), self.x, False, self.t == 8, {}

    def close(self):
        Walk.closed += 1
        self._work("close")


@pytest.fixture
def env_id(register, monkeypatch):
    for name in ("made", "closed"):
        monkeypatch.setattr(Walk, name, 0)
    monkeypatch.setattr(Walk, "crashes", {})
    return register(Walk)


def make(env_id, restarts, **options):
    return sim.maker(env_id, "mujoco", "cpu", restarts)(3, **options)


def rollout(env, steps=40):
    first, _ = env.reset(seed=[5, 6, 7])
    return first, [env.step(actions) for actions in ACTIONS[:steps]]


def test_without_restarts_an_environment_is_the_usual_one(env_id):
    env = make(env_id, None)
    assert not isinstance(env, RestartingEnvs)
    Walk.crashes = {"step": 0}
    with pytest.raises(
        EnvironmentFailure, match=r"environment 0 failed in step 1 after reset\(seed=\d+\) with .* lost$"
    ):
        rollout(env)


def test_nothing_differs_where_nothing_raises(env_id):
    (start, ours), (usual_start, usual) = rollout(make(env_id, 2)), rollout(make(env_id, None))
    np.testing.assert_array_equal(start, usual_start)
    for one, other in zip(ours, usual, strict=True):
        for x, y in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(x, y)


def test_in_training_the_episode_ends_unpaid_and_the_next_one_has_the_next_seed(env_id, caplog):
    env = make(env_id, 2, seeds=(5,))
    Walk.crashes = {"step": 3 * 4 + 1}  # the fifth step of environment 1
    _, results = rollout(env, 5)
    obs, reward, terminated, truncated, info = results[4]
    assert (reward[1], terminated.tolist(), truncated.any()) == (0.0, [False, True, False], False)
    np.testing.assert_array_equal(info["final_obs"][1], results[3][0][1])  # the last one that there was
    assert obs[1, 1] == episode_seed(6, 1)
    assert (Walk.made, Walk.closed) == (4, 1)
    assert "seed 5, environment 1 failed in step 5 after reset(seed=" in caplog.text
    assert caplog.text.count("it is made anew (1 of at most 2)") == 1
    assert env.metrics() == {"env_restarts": np.array([1])}


def test_the_other_environments_do_not_notice(env_id):
    usual = rollout(make(env_id, None))[1]
    env = make(env_id, 1)
    Walk.crashes = {"step": 10}
    for one, other in zip(rollout(env)[1], usual, strict=True):
        np.testing.assert_array_equal(one[0][[0, 2]], other[0][[0, 2]])


def test_a_reset_that_raises_in_training_is_tried_with_the_next_seed(env_id):
    env = make(env_id, 1)
    Walk.crashes = {"reset": 1}
    start, _ = env.reset(seed=[5, 6, 7])
    assert start[:, 1].tolist() == [episode_seed(5, 0), episode_seed(6, 1), episode_seed(7, 0)]


def evaluated(env):
    """Returns and lengths of an episode in each environment, with actions that follow the observation."""
    everybody = np.ones(3, bool)
    allowance = sim.episodes.Allowance.unlimited(3, "cpu")
    act = lambda obs: np.tanh(obs[:, :1]).astype(np.float32)  # noqa: E731
    result = run_episodes(env, act, lambda x: x, [5, 6, 7], everybody, allowance, lambda: False)
    return result.returns.tolist(), result.lengths.tolist(), result.done.tolist()


@pytest.mark.parametrize("crash", [{"step": 0}, {"step": 13}, {"step": 23}, {"reset": 0}, {"reset": 2}, {"close": 0}])
def test_a_scored_episode_is_played_again_and_its_return_is_the_right_one(crash, env_id):
    expected = evaluated(make(env_id, None, autoreset=False))
    env = make(env_id, 1, autoreset=False)
    Walk.crashes = dict(crash)
    assert evaluated(env) == expected
    assert env.metrics()["env_restarts"] == ("close" not in crash)


def test_an_environment_that_cannot_be_closed_is_made_anew_all_the_same(env_id):
    expected = evaluated(make(env_id, None, autoreset=False))
    env = make(env_id, 1, autoreset=False)
    Walk.crashes = {"step": 13, "close": 0}
    assert evaluated(env) == expected


def test_a_scored_episode_that_raises_again_at_the_same_step_ends_the_run(env_id, monkeypatch):
    def always(self, action):
        raise RuntimeError("it always does")

    env = make(env_id, 5, autoreset=False)
    monkeypatch.setattr(Walk, "step", always)
    with pytest.raises(EnvironmentFailure, match="it always does$"):
        evaluated(env)
    assert env.metrics()["env_restarts"] == 1


def test_all_environments_of_a_run_share_the_restarts(env_id):
    maker = sim.maker(env_id, "mujoco", "cpu", 1)
    training, scoring = maker(3), maker(3, autoreset=False)
    Walk.crashes = {"step": 4}
    rollout(training, 3)
    Walk.crashes = {"step": 4}
    with pytest.raises(EnvironmentFailure, match="the link was lost; --env-restarts 1 are used up$"):
        evaluated(scoring)


def test_a_saved_state_goes_on_with_the_same_episodes_and_the_same_count(env_id):
    env, fresh = make(env_id, 3), make(env_id, 3)
    Walk.crashes = {"step": 31}
    rollout(env, 20)
    state = env.get_state()
    fresh.reset(seed=0)
    fresh.set_state(state)
    assert fresh.metrics()["env_restarts"] == env.metrics()["env_restarts"] == 1
    for actions in ACTIONS[20:]:
        np.testing.assert_array_equal(fresh.step(actions)[0], env.step(actions)[0])


def test_a_state_is_put_back_though_an_environment_raises_meanwhile(env_id):
    env, fresh = make(env_id, 3), make(env_id, 3)
    rollout(env, 13)
    fresh.reset(seed=0)
    Walk.crashes = {"step": 6}
    fresh.set_state(env.get_state())
    np.testing.assert_array_equal(fresh.step(ACTIONS[13])[0], env.step(ACTIONS[13])[0])


def test_the_tasks_of_mujoco_are_never_made_anew():
    assert "restarts" not in vars(sim.maker("Hopper-v5", "mujoco", "cpu", 3)(1, seeds=(0,)))
