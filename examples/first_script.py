"""A first script: train, use, fine-tune and compare policies, on HalfCheetah and in an environment of your own."""

import sys

import gymnasium
import numpy as np

import rlsparse


class Point(gymnasium.Env):  # a point is to be moved to the origin
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2)
        return self.x.astype(np.float32), {}

    def step(self, action):
        self.x = self.x + 0.1 * action
        return self.x.astype(np.float32), -float(np.linalg.norm(self.x)), False, False, {}


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for env, made, task, other_task in (
        ("HalfCheetah", gymnasium.make("HalfCheetah-v5"), {}, {"ctrl_cost_weight": 0.5}),
        (Point, Point(), {"max_episode_steps": 100}, {"max_episode_steps": 50}),
    ):
        ppo = rlsparse.train(env, env_kwargs=task, num_seeds=2, total_steps=steps)
        policy = rlsparse.load(ppo)  # of the first seed
        observation, _ = made.reset(seed=0)
        print(policy, policy(observation), policy.evaluate(episodes=5))
        tuned = rlsparse.train(env, env_kwargs=other_task, init=ppo, num_seeds=2, total_steps=steps // 4)
        trpo = rlsparse.train(env, env_kwargs=task, algorithm="trpo", num_seeds=2, total_steps=steps)
        print(tuned.returns, rlsparse.compare(ppo, trpo), sep="\n")
