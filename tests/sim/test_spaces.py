"""Spaces that are refused, and what helps."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple, flatten

from rlsparse.errors import UnsupportedEnvironment
from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.spaces import as_vectors, flattened, supported_spaces

REALS = Box(-1, 1, (3,), np.float32)
MOST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    "action",
    [
        Box(-np.inf, np.inf, (2,), np.float32),
        Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32)),
        Box(-MOST, MOST, (2,), np.float32),
        Box(-1e38, 3e38, (2,), np.float32),
        Box(-1e300, 1e300, (2,), np.float64),
        Box(0, 1e16, (2,), np.float64),
    ],
)
def test_bounds_that_no_float32_has_half_of_are_as_good_as_none(action):
    with pytest.raises(UnsupportedEnvironment, match=r"^X-v0 has .*finite bounds.*named by --wrappers"):
        supported_spaces("X-v0", REALS, action)


def test_the_wrapper_that_is_named_gives_bounds():
    class Unbounded(gymnasium.Env):
        observation_space, action_space = REALS, Box(-np.inf, np.inf, (2,), np.float32)

    bounds = Box(-1, 1, (2,), np.float32)
    env = gymnasium.wrappers.TransformAction(Unbounded(), lambda action: action, bounds)
    assert supported_spaces("X-v0", env.observation_space, env.action_space)[1] == bounds


@pytest.mark.parametrize(
    "action", [Box(-0.1, 0.7, (2,), np.float64), Box(-1e15, 1e15, ()), Box(1e8 - 1, 1e8 + 1, (2,), float)]
)
def test_any_other_range_is_taken(action):
    assert supported_spaces("X-v0", REALS, action) == (REALS, action)


def test_a_range_of_zero_width_is_refused_by_its_place():
    flat = Box(np.array([-1, 0.5]), np.array([1, 0.5]), dtype=np.float64)
    with pytest.raises(UnsupportedEnvironment, match=r"actions without a range: number 1 of 2 goes from 0.5 to 0.5;"):
        supported_spaces("X-v0", REALS, flat)


def test_a_model_whose_actuators_have_no_range_is_refused(tmp_path):
    import gymnasium.envs.mujoco as mujoco_envs

    original = Path(mujoco_envs.__file__).parent / "assets" / "inverted_pendulum.xml"
    text = original.read_text()
    for limit in ('ctrllimited="true"', 'ctrlrange="-3 3"'):
        assert limit in text
        text = text.replace(limit, "")
    (tmp_path / "own.xml").write_text(text)
    with pytest.raises(
        UnsupportedEnvironment, match=r'goes from 0 to 0; .*give its actuator a range, as ctrlrange="-1 1"'
    ):
        MujocoVectorEnv("InvertedPendulum-v5", 2, xml_file=str(tmp_path / "own.xml"))


def test_a_model_without_actuators_has_no_actions():
    with pytest.raises(UnsupportedEnvironment, match=r"has the action space Box\(\[\], \[\], \(0,\), float32\)"):
        supported_spaces("X-v0", REALS, Box(np.zeros(0, np.float32), np.zeros(0, np.float32)))


def test_observations_without_a_number_are_refused():
    with pytest.raises(UnsupportedEnvironment, match=r"shape \(0,\), which hold no number"):
        supported_spaces("X-v0", Box(-1, 1, (0,)), REALS)


class Seen(gymnasium.Env):
    """Gives the same observation always."""

    action_space = REALS

    def __init__(self, space, obs):
        self.observation_space, self.obs = space, obs

    def reset(self, *, seed=None, options=None):
        return self.obs, {}


@pytest.mark.parametrize(
    ("space", "obs", "vector"),
    [
        # a plain dict is sorted by its names, as Gymnasium does; pairs keep their order
        (Dict({"b": REALS, "a": Box(0, 9, (1, 2))}), {"a": [[8, 9]], "b": [1, 2, 3]}, [8, 9, 1, 2, 3]),
        (Dict([("b", REALS), ("a", Discrete(3))]), {"a": 2, "b": [1, 2, 3]}, [1, 2, 3, 0, 0, 1]),
        (Tuple([Discrete(3, start=5), Dict(x=MultiBinary(2))]), (6, {"x": [1, 0]}), [0, 1, 0, 1, 0]),
        (MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (Discrete(4), 3, [0, 0, 0, 1]),
    ],
)
def test_observations_of_several_parts_become_one_vector(space, obs, vector):
    env = flattened("X-v0", Seen(space, obs))
    assert supported_spaces("X-v0", env.observation_space, REALS)[0].shape == (len(vector),)
    np.testing.assert_array_equal(env.reset()[0], vector)
    np.testing.assert_array_equal(as_vectors(space, obs), vector)


def test_several_observations_of_several_parts_become_as_many_vectors():
    space = Dict([("b", REALS), ("a", Tuple([Discrete(3), Box(-1, 1, ())]))])
    one = {"b": [1, 2, 3], "a": (2, 0.5)}
    np.testing.assert_array_equal(as_vectors(space, one), flatten(space, one))
    two = as_vectors(space, {"b": [[1, 2, 3], [4, 5, 6]], "a": ([2, 0], [0.5, -0.5])})
    np.testing.assert_array_equal(two, [[1, 2, 3, 0, 0, 1, 0.5], [4, 5, 6, 1, 0, 0, -0.5]])


def test_an_image_among_other_observations_is_refused():
    camera = Tuple([REALS, Dict(camera=Box(0, 255, (64, 64, 3), np.uint8))])
    with pytest.raises(UnsupportedEnvironment, match=r"^X-v0 has observations of shape \(64, 64, 3\).*not images$"):
        flattened("X-v0", Seen(camera, None))


@pytest.mark.parametrize("space", [Text(5), Sequence(REALS), Dict(a=REALS, b=Text(3))])
def test_observations_without_a_fixed_size_are_refused(space):
    env = flattened("X-v0", Seen(space, None))
    with pytest.raises(
        UnsupportedEnvironment, match="^X-v0 has the observation space .* and Tuple of these, are"
    ) as caught:
        supported_spaces("X-v0", env.observation_space, REALS)
    assert "\n" not in str(caught.value)
