"""Collecting: what is stored of hand-made episodes, where values are bootstrapped, what reaches the environment."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlsparse import sim
from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.advantage.estimators import GAE
from rlsparse.errors import DivergenceError
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.network import forward
from rlsparse.learner.records import episode_numbers as episodes
from rlsparse.sim.collect import ActionBox, Collector

LENGTH = 3
REWARDS = np.array([1.0, 2.0, 4.0])


class Counter(gymnasium.Env):
    """Observes (index of the environment, episode, step); three steps pay 1, 2 and 4, and the third ends.

    `faults` says, by index, which step's observation or reward is not a finite number.
    """

    made = 0
    received: list = []
    observation_space = Box(-100, 100, (3,))
    action_space = Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))

    def __init__(self, terminates=False, faults=None):
        self.index, self.terminates = Counter.made, terminates
        self.fault = (faults or {}).get(self.index, (None, None))
        self.episode, self.step_count = -1, 0
        Counter.made += 1

    def observe(self):
        return np.array([self.index, self.episode, self.step_count], np.float32)

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        self.step_count = 0
        return self.observe(), {}

    def step(self, action):
        Counter.received.append(action)
        reward = REWARDS[self.step_count]
        self.step_count += 1
        obs, (step, what) = self.observe(), self.fault
        if step == self.step_count:
            obs, reward = (obs * what, reward) if np.isnan(what) else (obs, what)
        over = self.step_count == LENGTH
        return obs, reward, over and self.terminates, over and not self.terminates, {}


@pytest.fixture
def collector_of(register, new_learner):
    """A collector of Counters and its learner, whose critic is V(index, episode, step) = 5 episode + step."""

    def build(num_envs=2, seeds=(7, 8), log_std_init=0.0, scale_rewards=False, state_dependent_std=False, **kwargs):
        Counter.made, Counter.received = 0, []
        env = sim.make(register(Counter, **kwargs), len(seeds) * num_envs)
        learner = new_learner(
            seeds,
            obs_size=3,
            action_size=2,
            critic_hidden=(),
            log_std_init=log_std_init,
            state_dependent_std=state_dependent_std,
            normalise_observations=False,
            scale_rewards=scale_rewards,
        )
        learner.layout.layers(learner.params, "critic")[0][0][:, :, 0] = [0, 5, 1]
        return Collector(WrappedEnvs(env), len(seeds), list(range(env.num_envs))), learner

    return build


# What is stored


def test_transitions_are_stored_in_time_by_member_and_environment(collector_of):
    collector, learner = collector_of()
    rollout = collector.collect(learner, 7, 0.9)
    assert rollout.obs.shape == (7, 2, 2, 3)
    for t, s, n in np.ndindex(7, 2, 2):
        assert rollout.obs[t, s, n].tolist() == [s * 2 + n, t // LENGTH, t % LENGTH]
    np.testing.assert_array_equal(rollout.reward[:, 0, 0], [1, 2, 4, 1, 2, 4, 1])
    assert (rollout.reward == rollout.reward[:, :1, :1]).all()


def test_the_next_rollout_goes_on_where_the_last_ended(collector_of):
    collector, learner = collector_of()
    collector.collect(learner, 4, 0.9)
    assert collector.collect(learner, 2, 0.9).obs[:, 1, 1].tolist() == [[3, 1, 1], [3, 1, 2]]


@pytest.mark.parametrize("terminates", [False, True])
def test_an_episode_ends_in_the_way_the_environment_says(collector_of, terminates):
    collector, learner = collector_of(terminates=terminates)
    rollout = collector.collect(learner, 7, 0.9)
    ended, never = [False, False, True, False, False, True, False], [False] * 7
    assert rollout.terminated[:, 0, 0].tolist() == (ended if terminates else never)
    assert rollout.truncated[:, 0, 0].tolist() == (never if terminates else ended)


@pytest.mark.parametrize("length", [6, 7])
def test_the_next_value_is_that_of_the_final_observation_never_of_the_reset_one(collector_of, length):
    collector, learner = collector_of()
    rollout = collector.collect(learner, length, 0.9)
    np.testing.assert_array_equal(rollout.value[:, 1, 0], [0, 1, 2, 5, 6, 7, 10][:length])
    np.testing.assert_array_equal(rollout.next_value[:, 1, 0], [1, 2, 3, 6, 7, 8, 11][:length])


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not(collector_of):
    for terminates, last_delta in ((False, 4 + 0.5 * 3 - 2), (True, 4 - 2)):
        collector, learner = collector_of(terminates=terminates)
        estimate = GAE(gamma=0.5, gae_lambda=1.0)(collector.collect(learner, 3, 0.5))
        np.testing.assert_allclose(estimate.advantage[2], last_delta)
        # lambda 1: rewards 1, 2, 4 discounted, and what follows the end
        tail = 0 if terminates else 0.5**3 * 3
        np.testing.assert_allclose(estimate.value_target[0], 1 + 0.5 * 2 + 0.25 * 4 + tail)


def test_log_prob_is_that_of_the_stored_action(collector_of):
    collector, learner = collector_of(log_std_init=-0.7)
    rollout = collector.collect(learner, 4, 0.9)
    batch = learner.batch(rollout, GAE()(rollout))
    noise = (batch.action - forward(learner.layout.layers(learner.params, "actor"), batch.obs)[-1]) / np.exp(-0.7)
    expected = gaussian_log_prob(noise, learner.layout.log_std(learner.params)[:, None])
    np.testing.assert_allclose(batch.log_prob, expected, atol=1e-4)
    np.testing.assert_allclose(learner.log_prob(rollout.obs, rollout.action), rollout.log_prob, atol=1e-4)


def test_a_deviation_may_depend_on_the_state(collector_of):
    collector, learner = collector_of(log_std_init=-0.7, state_dependent_std=True)
    learner.layout.layers(learner.params, "actor")[-1][0][...] *= 30.0  # so that observations count
    rollout = collector.collect(learner, 4, 0.9)
    batch = learner.batch(rollout, GAE()(rollout))
    outputs = torch.tensor(forward(learner.layout.layers(learner.params, "actor"), batch.obs)[-1])
    log_std = -0.7 + outputs[..., 2:].tanh()
    assert log_std.std() > 0.1
    expected = torch.distributions.Normal(outputs[..., :2], log_std.exp()).log_prob(torch.tensor(batch.action))
    np.testing.assert_allclose(batch.log_prob, expected.sum(-1), atol=1e-3)


def test_flattening_keeps_samples_together_and_normalises_observations_per_member(new_learner, collector_of):
    collector, learner = collector_of()
    rollout = collector.collect(learner, 4, 0.9)
    normalising = new_learner((7, 8), obs_size=3, action_size=2)
    normalising.obs_moments.update(rollout.obs.swapaxes(0, 1).reshape(2, -1, 3))
    batch = normalising.batch(rollout, GAE()(rollout))
    for s in range(2):
        samples = rollout.obs[:, s].reshape(-1, 3)
        expected = (samples - samples.mean(0)) / np.sqrt(samples.var(0) + 1e-8)
        np.testing.assert_allclose(batch.obs[s], expected, atol=1e-4)
        np.testing.assert_array_equal(batch.action[s], rollout.action[:, s].reshape(-1, 2))
        np.testing.assert_array_equal(batch.log_prob[s], rollout.log_prob[:, s].ravel())


def test_samples_know_their_episode():
    ended = np.zeros((5, 2, 2), bool)
    ended[[1, 3, 4], 0, 0] = ended[2, 0, 1] = ended[0, 1, 1] = True
    numbers = episodes(ended)
    assert [np.unique(numbers[:, s, n], return_inverse=True)[1].tolist() for s, n in np.ndindex(2, 2)] == [
        [0, 0, 1, 1, 2],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1],
    ]
    assert not set(numbers[:, 0, 0]) & set(numbers[:, 0, 1])
    np.testing.assert_array_equal(episodes(ended[:, 1:]), numbers[:, 1:])


def test_without_normalisation_observations_stay_what_they_are(collector_of):
    collector, learner = collector_of()
    rollout = collector.collect(learner, 4, 0.9)
    learner.obs_moments.update(rollout.obs.swapaxes(0, 1).reshape(2, -1, 3))
    batch = learner.batch(rollout, GAE()(rollout))
    np.testing.assert_array_equal(batch.obs, rollout.obs.swapaxes(0, 1).reshape(2, -1, 3))


# Rewards


def test_rewards_are_divided_by_the_deviation_of_the_running_discounted_return(collector_of):
    collector, learner = collector_of(scale_rewards=True)
    rollout = collector.collect(learner, 5, 0.5)
    running = np.array([1, 2.5, 5.25, 1, 2.5])
    np.testing.assert_allclose(rollout.reward[:, 0, 0], [1, 2, 4, 1, 2] / running.std(), rtol=1e-6)
    # the second rollout is scaled by the deviation of all so far, and the return goes on through its first step
    rollout = collector.collect(learner, 1, 0.5)
    np.testing.assert_allclose(rollout.reward[0, 0, 0], 4 / np.std([*running, 5.25]), rtol=1e-6)


def test_recent_returns_and_lengths_are_those_of_ended_episodes_with_unscaled_rewards(collector_of):
    collector, learner = collector_of(scale_rewards=True)
    collector.collect(learner, 2, 0.9)
    assert np.isnan(collector.recent_returns).all()
    collector.collect(learner, 5, 0.9)
    for recent, expected in ((collector.recent_returns, REWARDS.sum()), (collector.recent_lengths, LENGTH)):
        assert (recent[:, -4:] == expected).all()  # two episodes of two environments
        assert np.isnan(recent[:, :-4]).all()


def test_steps_are_counted_for_each_member(collector_of):
    collector, learner = collector_of()
    collector.collect(learner, 7, 0.9)
    assert learner.counters.train.tolist() == [14, 14]
    assert len(Counter.received) == 28


# Actions


def test_the_environment_gets_actions_clipped_to_its_range(collector_of):
    collector, learner = collector_of(log_std_init=1.0)
    rollout = collector.collect(learner, 20, 0.9)
    stored = rollout.action.reshape(-1, 2)
    assert (np.abs(stored) > 1).any()  # as sampled
    expected = np.stack([np.interp(stored[:, 0], [-1, 1], [-2, 2]), np.interp(stored[:, 1], [-1, 1], [0, 10])], 1)
    np.testing.assert_allclose(np.array(Counter.received), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_native_actions_never_leave_the_range_by_rounding(dtype, data):
    bounds = arrays(dtype, (4,), elements=st.floats(-1000, 1000, width=32))
    ends = np.stack([data.draw(bounds), data.draw(bounds)]) * dtype(1.1)
    space = Box(ends.min(0), ends.max(0), dtype=dtype)
    actions = np.float32([[-9] * 4, [-1] * 4, [0] * 4, [1] * 4, [9] * 4])
    native = ActionBox(space.low, space.high)(actions)
    assert all(space.contains(x.astype(dtype)) for x in native)
    np.testing.assert_allclose(
        native, [space.low, space.low, (space.low + space.high) / 2, space.high, space.high], rtol=1e-5, atol=1e-3
    )


# Actors of the environments' own


def test_each_environment_may_have_an_actor_of_its_own(collector_of):
    """What it does is that actor's, and so is its log-probability; the others' actors are the members'."""
    collector, learner = collector_of(num_envs=3)
    actor = learner.layout.group("actor")
    acting = np.repeat(learner.params[:, None, actor], 3, 1).astype(np.float64)
    acting[0, 2] += 0.3
    acting[1, 1] -= 0.2
    rollout = collector.collect(learner, 4, 0.9, acting)
    for s, n in np.ndindex(2, 3):
        params = learner.params[s : s + 1].copy()
        params[:, actor] = acting[s, n]
        mean = forward(learner.layout.layers(params, "actor"), rollout.obs[:, s, n][None])[-1][0]
        noise = rollout.action[:, s, n] - mean
        log_std = np.zeros(2, np.float32)
        np.testing.assert_allclose(rollout.log_prob[:, s, n], gaussian_log_prob(noise, log_std), atol=1e-5)
        own = forward(learner.layout.layers(learner.params[s : s + 1], "actor"), rollout.obs[:, s, n][None])[-1][0]
        expected = gaussian_log_prob(rollout.action[:, s, n] - own, log_std)
        np.testing.assert_allclose(rollout.own_log_prob[:, s, n], expected, atol=1e-5)


def test_actors_that_are_the_members_own_change_nothing(collector_of):
    collector, learner = collector_of()
    expected = collector.collect(learner, 4, 0.9)
    collector, learner = collector_of()
    acting = np.repeat(learner.params[:, None, learner.layout.group("actor")], 2, 1)
    rollout = collector.collect(learner, 4, 0.9, acting)
    np.testing.assert_allclose(rollout.own_log_prob, rollout.log_prob, rtol=1e-4, atol=1e-5)
    for name, x in vars(replace(rollout, own_log_prob=None)).items():
        assert x is vars(expected)[name] is None or np.allclose(x, vars(expected)[name], rtol=1e-5, atol=1e-6)


# Numbers that are not finite


@pytest.mark.parametrize(("what", "name"), [(np.nan, "an observation"), (np.inf, "a reward"), (-np.inf, "a reward")])
@pytest.mark.parametrize("step", [2, LENGTH])
def test_divergence_names_seed_environment_and_step(collector_of, what, name, step):
    # environment 3 is the second one of the second member; its final observation counts, too
    collector, learner = collector_of(faults={3: (step, what)})
    message = rf"^Counter0-v0 gave {name} that is not finite: seed 8, environment 1, step {step - 1} of the rollout"
    with pytest.raises(DivergenceError, match=message):
        collector.collect(learner, 5, 0.9)
