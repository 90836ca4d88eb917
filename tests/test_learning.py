"""Iterations, and what they lead to: small tasks whose best policy is known are solved, by every member."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlsparse import loop, sim
from rlsparse.advantage.estimators import GAE
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.learner.network import ActorCritic, forward
from rlsparse.learner.streams import env_seeds
from rlsparse.run import session as sessions
from rlsparse.run.recipe import Recipe
from rlsparse.sim.episodes import evaluate


class Aim(gymnasium.Env):
    """One step: the best of the actions, in [0, 10]^2, is 5 + 3 (x, -y); it pays 10, a missed one less."""

    observation_space, action_space = Box(-1, 1, (2,)), Box(0, 10, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.obs, {}

    def step(self, action):
        best = 5 + 3 * self.obs * [1, -1]
        return self.obs, 10.0 - float(((action - best) ** 2).sum()), True, False, {}


class Walk(gymnasium.Env):
    """Five steps of at most 1 to either side; only the last pays, the place reached times the side asked for.

    The best action is always the side asked for, and the return is then 5.
    """

    observation_space, action_space = Box(-6, 6, (3,)), Box(-1, 1, (1,))

    def observe(self):
        return np.array([self.side, self.place, self.t], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.side, self.place, self.t = self.np_random.choice([-1.0, 1.0]), 0.0, 0
        return self.observe(), {}

    def step(self, action):
        self.place += float(action[0])
        self.t += 1
        over = self.t == 5
        return self.observe(), self.side * self.place * over, over, False, {}


def opened(env_id, **changes):
    """A recipe with its learner and environments, as a run starts."""
    policy = ActorCritic((16,), (16,), log_std_init=-0.5)
    recipe = Recipe(env_id, seed=1, num_seeds=3, num_envs=8, policy=policy, **changes)
    return recipe, *sessions.begin(recipe)


class Observed(PPO):
    """PPO that notes what it is given."""

    def update(self, learner, batch):
        self.seen.append((learner.progress, batch.obs))
        yield from super().update(learner, batch)


def test_an_iteration_learns_with_the_normaliser_that_acted_and_then_updates_it(register):
    Observed.seen = []
    algorithm = Observed(epochs=1, minibatches=4)
    recipe, learner, collector, explorer = opened(
        register(Walk), total_steps=1600, rollout_length=10, algorithm=algorithm
    )
    loop.iterate(recipe, learner, collector, explorer)
    (_, raw), moments = Observed.seen[0], learner.obs_moments
    np.testing.assert_allclose(moments.mean, raw.mean(1), atol=1e-6)
    np.testing.assert_allclose(moments.var, raw.var(1), atol=1e-6)
    scale = learner.obs_scale()
    mean, inv_std = scale.mean[:, None], scale.inv_std[:, None]
    loop.iterate(recipe, learner, collector, explorer)
    step = (Observed.seen[1][1] / inv_std + mean)[..., 2]
    np.testing.assert_array_equal(np.unique(step.round(3)), range(5))
    np.testing.assert_array_equal(moments.count, 160)


def test_progress_is_the_spent_share_of_the_budget(register):
    Observed.seen = []
    algorithm = Observed(epochs=1, minibatches=4)
    recipe, learner, collector, explorer = opened(
        register(Walk), total_steps=200, rollout_length=10, algorithm=algorithm
    )
    for _ in range(recipe.iterations):
        loop.iterate(recipe, learner, collector, explorer)
    assert [progress.tolist() for progress, _ in Observed.seen] == [[share] * 3 for share in (0.0, 0.4, 0.8)]


def test_rewards_are_scaled_by_the_return_of_the_recipes_discount():
    recipe, learner, collector, explorer = opened("Pendulum-v1", rollout_length=20, advantage=GAE(gamma=0.5))
    loop.iterate(recipe, learner, collector, explorer)
    _, other, collector, _ = opened("Pendulum-v1")
    collector.collect(other, 20, gamma=0.5)
    np.testing.assert_array_equal(learner.reward_scale(), other.reward_scale())


def trained(env_id, **changes):
    recipe, learner, collector, explorer = opened(env_id, **changes)
    for _ in range(recipe.iterations):
        loop.iterate(recipe, learner, collector, explorer)
    eval_env = sim.make(env_id, 3 * 20, autoreset=False)
    seeds = [s for seed in recipe.seeds for s in env_seeds(seed, "eval_env", 20)]
    return learner, evaluate(eval_env, learner.actors(), seeds).returns.mean(1)


def policy_units(learner, obs):
    x = learner.obs_scale()(obs)
    return forward(learner.layout.layers(learner.params, "actor"), x.astype(np.float32))[-1]


def test_one_step_the_best_action_depends_on_the_observation(register):
    ppo = PPO(learning_rate=3e-3, learning_rate_decay=True, epochs=8, minibatches=4)
    learner, returns = trained(register(Aim), total_steps=8_000, rollout_length=32, algorithm=ppo)
    assert (returns > 0.97 * 10).all()
    obs = np.random.default_rng(0).uniform(-1, 1, (3, 50, 2))
    best = 0.6 * obs * [1, -1]  # 5 is the middle of the action range and 5 its half
    assert np.abs(policy_units(learner, obs) - best).mean() < 0.05


def test_many_steps_the_reward_comes_late(register):
    ppo = PPO(learning_rate=3e-3, epochs=8, minibatches=4)
    _, returns = trained(register(Walk), total_steps=10_240, rollout_length=40, algorithm=ppo)
    assert (returns > 0.97 * 5).all()


TRUST = TRPO(target_kl=0.03, learning_rate=3e-3, critic_minibatches=4)


def test_one_step_by_trust_regions(register):
    learner, returns = trained(register(Aim), total_steps=12_000, rollout_length=32, algorithm=TRUST)
    assert (returns > 0.97 * 10).all()


def test_many_steps_by_trust_regions(register):
    _, returns = trained(register(Walk), total_steps=10_240, rollout_length=40, algorithm=TRUST)
    assert (returns > 0.97 * 5).all()
