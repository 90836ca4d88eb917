"""Evaluation: whole deterministic episodes on given seeds, every step counted once, nothing learned from them."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.sim import episodes as module
from rlsparse.sim.episodes import evaluate

LENGTHS = [[3, 1, 4], [2, 5, 3]]


class Paying(gymnasium.Env):
    """Environment i lives for the i-th of LENGTHS and pays 10 i + step; counts the steps of all."""

    made = steps = 0
    actions: list = []
    observation_space, action_space = Box(-100, 100, (5,)), Box(-1, 1, (3,))

    def __init__(self, fault=None):
        self.index, self.fault = Paying.made, fault
        self.length = np.ravel(LENGTHS)[self.index]
        Paying.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.start = self.np_random.normal(size=5).astype(np.float32)
        return self.start, {}

    def step(self, action):
        Paying.steps += 1
        Paying.actions.append((self.index, action))
        self.t += 1
        reward = self.fault if self.t == 3 and self.fault else 10.0 * self.index + self.t
        over = self.t >= self.length
        return self.start + self.t, reward, over and self.index % 2 == 0, over and self.index % 2 == 1, {}


@pytest.fixture
def paying(register):
    def build(**kwargs):
        Paying.made, Paying.steps, Paying.actions = 0, 0, []
        return sim.make(register(Paying, **kwargs), 6, autoreset=False)

    return build


SEEDS = [11, 12, 13, 14, 15, 16]


def test_returns_and_lengths_are_those_of_one_whole_episode_each(paying, new_learner):
    scores = evaluate(paying(), new_learner(seeds=[0, 1]).actors(), SEEDS)
    index = np.arange(6).reshape(2, 3)
    length = np.array(LENGTHS)
    np.testing.assert_array_equal(scores.lengths, length)
    np.testing.assert_array_equal(scores.returns, 10 * index * length + length * (length + 1) / 2)


def test_the_lengths_are_the_steps_it_cost(paying, new_learner):
    scores = evaluate(paying(), new_learner(seeds=[0, 1]).actors(), SEEDS)
    assert scores.lengths.sum() == Paying.steps


def test_actions_do_not_depend_on_the_exploration_noise(paying, new_learner):
    taken = []
    for log_std in (-3.0, 2.0):
        evaluate(paying(), new_learner(seeds=[0, 1], log_std_init=log_std).actors(), SEEDS)
        taken.append(Paying.actions)
    assert [i for i, _ in taken[0]] == [i for i, _ in taken[1]]
    np.testing.assert_array_equal([x for _, x in taken[0]], [x for _, x in taken[1]])


def test_each_member_acts_by_its_own_policy_and_normaliser(paying, new_learner):
    learner = new_learner(seeds=[0, 1], actor_hidden=())
    for weight, bias in learner.layout.layers(learner.params, "actor"):
        weight[0], bias[0] = 0, 0.25
        weight[1], bias[1] = np.eye(5, 3) * 0.1, 0
    learner.obs_moments.mean[1], learner.obs_moments.var[1] = 0.5, 4.0
    env = paying()
    first_obs, _ = env.reset(seed=SEEDS)
    evaluate(env, learner.actors(), SEEDS)
    for index, action in Paying.actions[:6]:
        expected = np.full(3, 0.25) if index < 3 else 0.1 * (first_obs[index, :3] - 0.5) / 2
        np.testing.assert_allclose(action, expected, atol=1e-6)


def test_nothing_is_learned(paying, new_learner):
    learner = new_learner(seeds=[0, 1])
    before = {name: x.copy() for name, x in learner.state_dict().items()}
    streams = learner.random_state()
    evaluate(paying(), learner.actors(), SEEDS)
    for name, x in learner.state_dict().items():
        np.testing.assert_array_equal(x, before[name], name)
    assert learner.random_state() == streams


def test_the_same_seeds_give_the_same_scores(register, new_learner):
    env = sim.make("Pendulum-v1", 2, autoreset=False)
    learner = new_learner(seeds=[0], obs_size=3, action_size=1)
    first, again, other = (evaluate(env, learner.actors(), seeds).returns for seeds in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert first[0, 0] == other[0, 0]
    assert first[0, 1] != other[0, 1]


def test_it_stops_within_a_step_when_told_to(paying, new_learner):
    asked = []
    with pytest.raises(Interrupted):
        evaluate(paying(), new_learner(seeds=[0, 1]).actors(), SEEDS, lambda: bool(asked.append(1) or len(asked) == 3))
    assert Paying.steps == 6 + 5  # two steps; one environment ended at the first


def test_an_endless_episode_is_cut(paying, new_learner, monkeypatch):
    monkeypatch.setattr(module, "STEP_CAP", 4)
    assert evaluate(paying(), new_learner(seeds=[0, 1]).actors(), SEEDS).lengths.tolist() == [[3, 1, 4], [2, 4, 3]]


def test_it_is_said_once_that_no_episode_ends_by_itself(paying, new_learner, monkeypatch, caplog):
    monkeypatch.setattr(module, "STEP_CAP", 1)
    learner, env = new_learner(seeds=[0, 1]), paying()
    told = f"no episode of {env.spec.id} ended within 1 steps: returns are of cut episodes; give it --env-"
    module._tell_of_no_end.cache_clear()
    for _ in range(2):
        evaluate(env, learner.actors(), SEEDS)
    assert [message.startswith(told) for message in caplog.messages] == [True]


def test_a_limit_that_is_as_long_as_the_cut_is_a_limit(paying, new_learner, monkeypatch, caplog):
    monkeypatch.setattr(module, "STEP_CAP", 1)
    env = paying()
    env.spec.max_episode_steps = 1
    evaluate(env, new_learner(seeds=[0, 1]).actors(), SEEDS)
    assert caplog.messages == []


def test_a_start_that_is_not_finite_is_blamed_on_the_reset(new_learner, register):
    env = sim.make("fake_envs:ResetNan-v0", 2, autoreset=False)
    with pytest.raises(DivergenceError, match="an observation that is not finite: seed 0, .* 0, the reset of an eval"):
        evaluate(env, new_learner(seeds=[0], obs_size=2, action_size=1).actors(), [1, 2])


def test_a_return_that_is_not_finite_is_named(paying, new_learner):
    with pytest.raises(DivergenceError, match=r"Paying0-v0 gave a reward .* seed 20, environment 0, step 2"):
        evaluate(paying(fault=np.inf), new_learner(seeds=[20, 21]).actors(), SEEDS)
