"""Streams of random numbers for many environments, from (seed, episode, index) alone."""

import math

import numpy as np
import torch
from scipy.stats import kstest

from rlsparse.sim.counter_random import EpisodeStream, signed, splitmix


def stream(count=2000, episode=0):
    return EpisodeStream(torch.arange(count), torch.full((count,), episode))


def test_splitmix_gives_the_published_numbers():
    # The first outputs for the seed 1234567, as many implementations list them.
    expected = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    numbers = splitmix(torch.tensor([1234567]), 0, 5)
    assert numbers[0].tolist() == [signed(word) for word in expected]
    assert splitmix(torch.tensor([1234567]), 2, 2)[0].tolist() == numbers[0, 2:4].tolist()


def test_a_word_keeps_its_bits():
    assert signed(2**64 - 1) == -1
    assert signed(2**63) == -(2**63)
    assert signed(2**64 + 3) == signed(3) == 3


def test_draws_have_their_distributions():
    draws = stream()
    assert kstest(draws.random(3).ravel(), "uniform").pvalue > 1e-3
    assert kstest(draws.uniform(-2, 3, 3).ravel(), "uniform", (-2, 5)).pvalue > 1e-3
    assert kstest(draws.standard_normal(3).ravel(), "norm").pvalue > 1e-3
    assert kstest(stream(1).random(6000).ravel(), "uniform").pvalue > 1e-3
    inside = draws.accepted((-1, -1), (1, 1), lambda point: point.square().sum(-1) < 1)
    assert kstest(inside.square().sum(1), "uniform").pvalue > 1e-3
    angle = torch.atan2(inside[:, 1], inside[:, 0])
    assert kstest(angle, "uniform", (-math.pi, 2 * math.pi)).pvalue > 1e-3


def test_no_number_is_one_nor_a_normal_one_infinite():
    near_one = EpisodeStream(torch.tensor([29241918]), torch.zeros(1, dtype=torch.int64))  # in float32 it would be 1
    number = near_one.random(1)
    assert number.dtype == torch.float64 and 1 - 2.0**-25 < number.item() < 1
    near_one = EpisodeStream(torch.tensor([29241918]), torch.zeros(1, dtype=torch.int64))
    assert near_one.standard_normal(1).isfinite().all()


def test_neighbouring_seeds_episodes_and_indices_are_uncorrelated():
    numbers = np.stack([stream(episode=k).random(4).numpy() for k in range(3)], 1).reshape(2000, -1)
    neighbours = np.concatenate([numbers[:-1], numbers[1:]], 1)
    correlation = np.corrcoef(neighbours.T) - np.eye(24)
    assert np.abs(correlation).max() < 5 / math.sqrt(2000)


def test_a_stream_depends_on_its_seed_and_episode_alone():
    whole = stream(50, episode=3).random(5)
    part = EpisodeStream(torch.tensor([7, 40]), torch.tensor([3, 3])).random(5)
    assert torch.equal(part, whole[[7, 40]])
