"""Random streams: one seed, many purposes, none of which disturbs another."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.learner.streams import Purpose, env_seeds, generator

PURPOSES = get_args(Purpose)
seeds = st.integers(0, 2**40)


@given(seeds, st.sampled_from(PURPOSES), st.integers(0, 30), st.integers(0, 30))
def test_the_first_environment_seeds_do_not_depend_on_how_many_there_are(seed, purpose, few, more):
    assert env_seeds(seed, purpose, few + more)[:few] == env_seeds(seed, purpose, few)


@given(seeds, seeds)
def test_evaluation_never_repeats_a_training_seed_of_any_member(one, other):
    training = env_seeds(one, "train_env", 50)
    assert all(0 <= seed < 2**31 for seed in training)
    for purpose in set(PURPOSES) - {"train_env", "probe_env"}:
        assert all(2**31 <= seed < 2**32 for seed in env_seeds(other, purpose, 50))


@given(seeds, st.integers(0, 2**40))
def test_a_probe_never_repeats_a_training_or_an_evaluation_seed_of_any_member(seed, cycle):
    assert all(2**32 <= number < 2**33 for number in env_seeds(seed, "probe_env", 50, cycle))


def test_environment_seeds_differ_between_environments_and_members():
    drawn = [seed for member in range(20) for seed in env_seeds(member, "train_env", 50)]
    assert len(set(drawn)) == len(drawn)


def test_purposes_have_streams_of_their_own():
    draws = [generator(5, purpose).integers(2**60, size=20) for purpose in PURPOSES]
    assert len(np.unique(draws)) == 20 * len(PURPOSES)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_cycles_have_streams_of_their_own(purpose):
    draws = [generator(5, purpose, cycle).integers(2**60, size=20) for cycle in range(10)]
    assert len(np.unique(draws)) == 200
    np.testing.assert_array_equal(draws[0], generator(5, purpose).integers(2**60, size=20))


def test_members_have_streams_of_their_own():
    draws = [generator(seed, "noise").integers(2**60, size=20) for seed in range(10)]
    assert len(np.unique(draws)) == 200


def test_the_same_seed_gives_the_same_stream():
    np.testing.assert_array_equal(generator(5, "noise").normal(size=9), generator(5, "noise").normal(size=9))
