"""The kernel draws the numbers of `EpisodeStream`, bit for bit."""

import pytest
import torch
from warp_envs import in_one_worker, make, random_actions

from rlsparse.sim.counter_random import EpisodeStream, signed
from rlsparse.sim.warp_numbers import draw
from rlsparse.sim.warp_physics import import_warp

pytestmark = in_one_worker
import_warp(on_cpu=True)


def test_numbers_are_those_of_the_stream():
    seed = torch.tensor([0, 1, 1234567, signed(2**63 + 5), -1])
    for episode in (0, 1, 10**6):
        episodes, numbers = torch.full_like(seed, episode), torch.zeros(5, 40, dtype=torch.float64)
        draw(seed, episodes, numbers)
        assert torch.equal(numbers, EpisodeStream(seed, episodes).random(40))


def test_known_numbers_are_taken_in_their_order_and_later_ones_computed():
    seed = torch.arange(6)
    computed, known = (EpisodeStream(seed, seed, *given) for given in ((), (EpisodeStream(seed, seed).random(8),)))
    for size in (3, 5, 4):
        assert torch.equal(known.random(size), computed.random(size))


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Reacher-v5"])
def test_a_start_takes_the_numbers_that_are_drawn(env_id):
    env = make(env_id)
    env.reset(seed=[5, 2**63 + 1, 0])
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    for actions in random_actions(env, 2):
        env.step(actions)
        stream = EpisodeStream(env._seed, env._episode)
        assert env._numbers.shape[1] > 0
        assert torch.equal(env._numbers, stream.random(env._numbers.shape[1]))
