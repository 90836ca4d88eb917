"""An environment whose best policy is known (`Aim-v0`, by the fixture `aim`), and probing in it by given candidates."""

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.explore.explorer import MemberExplorer
from rlsparse.explore.explorler import ExploRLer

BEST = 0.6


class Aim(Env):
    """Five steps, paid for an action close to 0.6, and for luck; notes the seeds that episodes are begun with.

    A policy that looks at the observation sees zero. From step `explode_at` of the class on, stepping raises.
    """

    observation_space, action_space = Box(-1, 1, (2,), np.float64), Box(-1, 1, (1,), np.float32)
    steps = 0
    explode_at = None
    seeds: list = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Aim.seeds.append(seed)
        self.luck, self.left = self.np_random.standard_normal(), 5
        return np.zeros(2), {}

    def step(self, action):
        if Aim.explode_at is not None and Aim.steps >= Aim.explode_at:
            raise RuntimeError("the bow,\nit broke")
        Aim.steps += 1
        self.left -= 1
        reward = self.luck - (float(action[0]) - BEST) ** 2
        return np.zeros(2), reward, False, self.left == 0, {}


class Fixed:
    """Proposes the last anchor moved by given biases; notes the anchors it is given."""

    rounds = 1

    def __init__(self, *biases):
        self.biases, self.given = biases, []

    def count(self, num_anchors):
        return len(self.biases)

    def __call__(self, anchors, probed, generators):
        self.given.append(anchors)
        return anchors[:, -1:] + np.array([[0.0, 0.0, bias] for bias in self.biases])


def explorer_of(new_learner, *biases, seeds=(3, 4), total_steps=10_000, train=1000, **config):
    """An explorer, and its learner: a policy is a constant action, at first 0; one anchor, some training steps."""
    learner = new_learner(seeds, obs_size=2, action_size=1, actor_hidden=())
    learner.params[:, :3] = 0.0
    learner.counters.train[:] = train
    config = {"proposal": Fixed(*biases), "num_anchors": 1, "budget_fraction": 0.5} | config
    explorer = MemberExplorer(
        ExploRLer(**config), learner, lambda n: sim.make("Aim-v0", n, autoreset=False), 4, total_steps
    )
    explorer.after_epoch()
    explorer.after_iteration()
    return explorer, learner
