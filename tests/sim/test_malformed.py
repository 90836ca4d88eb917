"""Whatever an environment returns or does is told in one sentence: which environment, doing what, what was wrong."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure

OBSERVATION, REWARD = np.array([0.5, -0.5], np.float32), 1.25


class Returning(gymnasium.Env):
    """Returns from reset and step what it is told to; an exception is raised instead."""

    observation_space, action_space = Box(-1, 1, (2,), np.float32), Box(-1, 1, (1,), np.float32)

    def __init__(self, reset=(OBSERVATION, {}), step=None, close=None, **parts):
        default = {"observation": OBSERVATION, "reward": REWARD, "terminated": False, "truncated": False, "info": {}}
        self.returned = reset, step or tuple((default | parts).values()), close

    def give(self, what):
        if isinstance(what, BaseException):
            raise what
        return what

    def reset(self, *, seed=None, options=None):
        return self.give(self.returned[0])

    def step(self, action):
        return self.give(self.returned[1])

    def close(self):
        self.give(self.returned[2])


def step(env_id):
    env = sim.make(env_id, 2, seeds=(7, 8))
    env.reset(seed=0)
    return env.step(np.zeros((2, 1)))


@pytest.mark.parametrize(
    "reward", [1.25, np.float32(1.25), np.array([1.25]), np.array(1.25), [1.25], np.array([[1.25]])]
)
def test_one_number_in_whatever_array_is_a_reward(reward, register):
    assert step(register(Returning, reward=reward))[1].tolist() == [1.25, 1.25]


def test_whole_numbers_and_truth_values_are_rewards(register):
    assert [step(register(Returning, reward=reward))[1][0] for reward in (3, True, np.int8(-2))] == [3.0, 1.0, -2.0]


def test_a_torch_tensor_is_a_reward_and_an_observation(register):
    torch = pytest.importorskip("torch")
    obs, reward, *_ = step(register(Returning, reward=torch.tensor(1.25), observation=torch.tensor(OBSERVATION)))
    assert reward[0] == 1.25
    assert obs[0].tolist() == OBSERVATION.tolist()


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ("1.25", "a reward must be 1 number, not str of 1 <U4"),
        ({"task": 1.0}, "not dict of 1 object"),
        (None, "not NoneType of 1 object"),
        (1 + 2j, "not complex of 1 complex128"),
        (np.array([1.0, 2.0]), "not ndarray of 2 float64"),
        (np.zeros(0), "not ndarray of 0 float64"),
        (np.array(["1"]), "not ndarray of 1 <U1"),
        (10**400, "not int of 1 object"),
    ],
)
def test_anything_else_is_no_reward(reward, told, register):
    env_id = register(Returning, reward=reward)
    with pytest.raises(EnvironmentFailure) as caught:
        step(env_id)
    assert str(caught.value).startswith(f"{env_id}: seed 7, environment 0 failed in step 1 after reset(seed=")
    assert told in str(caught.value)
    assert caught.value.exit_code == 3


BAD_OBSERVATIONS = [
    ("text", "must be 2 numbers, not str of 1 <U4"),
    ({"position": OBSERVATION}, "not dict of 1 object"),
    (None, "not NoneType of 1 object"),
    (OBSERVATION + 1j, "not ndarray of 2 complex64"),
    (np.zeros(3), "not ndarray of 3 float64"),
    (np.zeros(0), "not ndarray of 0 float64"),
    ([[1.0], [2.0, 3.0]], "ValueError"),
]


@pytest.mark.parametrize(("observation", "told"), BAD_OBSERVATIONS)
def test_anything_but_an_array_of_numbers_is_no_observation(observation, told, register):
    for doing, options in (("step 1", {"observation": observation}), ("reset", {"reset": (observation, {})})):
        with pytest.raises(EnvironmentFailure, match=rf"environment 0 failed in {doing}.*{told}"):
            step(register(Returning, **options))


@pytest.mark.parametrize("observation", [list(OBSERVATION), OBSERVATION[:, None], OBSERVATION.astype(float)])
def test_an_array_of_another_kind_or_shape_is_an_observation(observation, register):
    assert step(register(Returning, observation=observation))[0][1].tolist() == OBSERVATION.tolist()


def test_an_end_may_be_an_array_of_one(register):
    _, _, terminated, truncated, _ = step(register(Returning, terminated=np.array([True]), truncated=np.bool_(False)))
    assert (terminated.tolist(), truncated.tolist()) == ([True, True], [False, False])


@pytest.mark.parametrize(
    "options",
    [
        {"step": (OBSERVATION, REWARD, False, {})},
        {"step": 3},
        {"terminated": np.array([True, False])},
        {"reset": OBSERVATION},
        {"reset": None},
        {"reset": (OBSERVATION, {}, {})},
    ],
)
def test_another_number_of_results_is_told(options, register):
    doing = "reset" if "reset" in options else "step 1"
    if "reset" in options and options["reset"] is OBSERVATION:
        options = {"reset": OBSERVATION[:1]}  # two numbers would be taken apart
    with pytest.raises(EnvironmentFailure, match=f"environment 0 failed in {doing}.* with (ValueError|TypeError): "):
        step(register(Returning, **options))


def test_an_environment_that_exits_does_not_end_the_program_without_a_word(register):
    with pytest.raises(EnvironmentFailure, match="failed in step 1 after .* with SystemExit: 0$"):
        step(register(Returning, step=SystemExit(0)))


def test_an_error_without_words_is_told_by_its_kind(register):
    with pytest.raises(EnvironmentFailure, match="with AssertionError$"):
        step(register(Returning, step=AssertionError()))


def test_an_error_of_several_lines_is_told_in_one(register):
    with pytest.raises(EnvironmentFailure, match="with ValueError: one two$"):
        step(register(Returning, step=ValueError("one\n   two\n")))


def test_an_environment_that_cannot_be_closed_is_warned_of(register, caplog):
    sim.make(register(Returning, close=OSError("no such device")), 1).close()
    assert "environment 0 failed in close with OSError: no such device" in caplog.text


def test_an_environment_without_spaces_is_told(register):
    class Spaceless(gymnasium.Env):
        pass

    with pytest.raises(EnvironmentFailure, match="environment 0 failed in make with AttributeError: .*space"):
        sim.make(register(Spaceless), 1)
