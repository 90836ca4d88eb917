"""Environments by id or class, with arguments and wrappers: one function makes them, and another process finds them."""

import logging
import subprocess
import sys
from pathlib import Path

import fake_envs
import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeAwareObservation, TimeLimit

from rlsparse import sim
from rlsparse.errors import UnsupportedEnvironment, UsageError
from rlsparse.sim.environment import Environment, make_single
from rlsparse.sim.gym import GymVectorEnv
from rlsparse.sim.user_classes import entry_of, given_classes, has_object, load_module, load_object

ROBOT = """
import gymnasium, fake_envs
import beside
imported = beside.count()

class Robot(fake_envs.Point):
    def __init__(self, drag, gain=1.0, *, render_mode=None):
        super().__init__()
        self.drag, self.gain, self.render_mode = drag, gain, render_mode

class Any(Robot):
    def __init__(self, drag_of_air, **others):
        super().__init__(drag_of_air, **others)

class Arm:
    class Hand(fake_envs.Point):
        pass

class Halved(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward / 2

def robot(drag=3):
    return Robot(drag)

def nothing(env):
    return None

number = 5
gymnasium.register("Robot-v0", entry_point=Robot, max_episode_steps=7, kwargs={"drag": 0.5})
"""

BESIDE = """
calls = 0
def count():
    global calls
    calls += 1
    return calls
"""


@pytest.fixture
def robot(tmp_path):
    """The path of a file with classes, beside a module that it imports; forgotten afterwards."""
    (tmp_path / "robot arm.py").write_text(ROBOT)
    (tmp_path / "beside.py").write_text(BESIDE)
    modules, registry, known = set(sys.modules), set(gymnasium.registry), set(given_classes)
    yield str(tmp_path / "robot arm.py")
    for names, table in ((modules, sys.modules), (registry, gymnasium.registry), (known, given_classes)):
        for name in set(table) - names:
            del table[name]


def layers(env):
    """The classes of an environment's wrappers, the outermost first."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(type(env).__name__)
        env = env.env
    return found


# Classes


def test_a_class_in_a_file_is_made_as_gymnasium_makes_one_that_is_registered(robot):
    env = make_single(Environment(f"{robot}:Robot", {"drag": 0.5, "max_episode_steps": 3}))
    assert layers(env) == [x.__name__ for x in (TimeLimit, OrderEnforcing, PassiveEnvChecker)]
    assert (env.unwrapped.drag, env.unwrapped.gain) == (0.5, 1.0)
    assert env.spec.id == "robot_arm.py:Robot"
    assert env.spec.max_episode_steps == 3
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("name", ["Robot-v0", "robot", "Arm.Hand"])
def test_an_id_that_the_file_registers_a_function_and_a_class_in_a_class_are_made_too(name, robot):
    env = make_single(f"{robot}:{name}")
    assert isinstance(env.unwrapped, fake_envs.Point)
    assert env.spec.max_episode_steps == (7 if name == "Robot-v0" else None)


def test_a_class_in_a_module_is_made():
    assert type(make_single("fake_envs:Point").unwrapped) is fake_envs.Point
    assert type(make_single("gymnasium.envs.classic_control:PendulumEnv").unwrapped).__name__ == "PendulumEnv"


def test_a_file_is_imported_once_and_leaves_the_path_as_it_was(robot, monkeypatch):
    before = list(sys.path)
    monkeypatch.chdir(Path(robot).parent)
    modules = {
        load_module(robot),
        load_module("robot arm.py"),
        load_module(f"../{Path(robot).parent.name}/robot arm.py"),
    }
    assert [module.imported for module in modules] == [1]
    assert sys.path == before


def test_a_file_that_fails_is_tried_again_once_it_is_mended(robot):
    path = Path(robot)
    path.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load_module(robot)
    path.write_text("mended = True")
    assert load_module(robot).mended


def test_what_is_not_there_is_told_with_the_nearest_name(robot):
    with pytest.raises(ModuleNotFoundError, match="there is no file /nowhere/robot.py"):
        load_module("/nowhere/robot.py")
    with pytest.raises(UsageError, match="has no Robt: did you mean Robot.$"):
        load_object(f"{robot}:Robt")
    with pytest.raises(UsageError, match="number is int: expected a class"):
        load_object(f"{robot}:number")
    assert has_object(f"{robot}:Robot")
    assert not has_object(f"{robot}:number")


@pytest.mark.parametrize(
    ("env_id", "kwargs", "told"),
    [
        ("Pendulum-v1", {"gg": 1}, "--env-kwargs.gg: Pendulum-v1 has no argument gg: did you mean g?"),
        (
            "fake_envs:Point",
            {"drag": 1},
            "--env-kwargs.drag: fake_envs:Point has no argument drag: it has max_episode_steps",
        ),
        ("HalfCheetah-v5", {"frame_ship": 1}, "did you mean frame_skip?"),
        (
            "HalfCheetah-v4",
            {"xml_file": "quadruped.mjcf"},
            "quadruped.mjcf: there is no such file, and Gymnasium has none of this name",
        ),
    ],
)
def test_arguments_are_checked_before_the_environment_is_made(env_id, kwargs, told):
    for make in (make_single, lambda x: GymVectorEnv(x, 1), lambda x: sim.make(x, 1)):
        with pytest.raises(UsageError) as caught:
            make(Environment(env_id, kwargs))
        assert told in str(caught.value)


def test_an_argument_that_is_missing_is_told_before_the_environment_is_made(robot):
    for make in (make_single, lambda x: GymVectorEnv(x, 1)):
        with pytest.raises(UsageError, match=r"^robot arm.py:Robot needs --env-kwargs.drag$"):
            make(Environment(f"{robot}:Robot", {"gain": 2}))
    with pytest.raises(UsageError, match=r"robot arm.py:Robot has no argument dragg: did you mean drag.$"):
        make_single(Environment(f"{robot}:Robot", {"dragg": 2}))
    with pytest.raises(UsageError, match=r"^robot arm.py:Any needs --env-kwargs.drag-of-air$"):
        make_single(f"{robot}:Any")
    assert make_single(f"{robot}:Robot-v0").unwrapped.drag == 0.5  # which the registry gives


# Wrappers


def test_wrappers_are_put_around_each_environment_the_first_one_innermost(robot):
    wrappers = ("gymnasium.wrappers.TimeAwareObservation", f"{robot}:Halved")
    env = make_single(Environment("Pendulum-v1", wrappers=wrappers))
    assert layers(env)[:3] == ["Halved", "TimeAwareObservation", "TimeLimit"]
    ours = sim.make(Environment("Pendulum-v1", {"g": 5}, wrappers), 1)
    theirs = TimeAwareObservation(gymnasium.make("Pendulum-v1", g=5))
    np.testing.assert_array_equal(ours.reset(seed=3)[0][0], theirs.reset(seed=int(ours._episode_seeds[0]))[0])
    for _ in range(5):
        obs, reward, *_ = ours.step(np.ones((1, 1)))
        their_obs, their_reward, *_ = theirs.step(np.ones(1, np.float32))
        np.testing.assert_array_equal(obs[0], their_obs)
        assert reward[0] == their_reward / 2


def test_a_wrapper_that_gives_no_environment_is_refused(robot):
    with pytest.raises(UsageError, match="robot arm.py:nothing gives NoneType: expected a Gymnasium environment"):
        sim.make(Environment("Pendulum-v1", wrappers=(f"{robot}:nothing",)), 1)


def test_a_task_in_wrappers_is_stepped_in_single_environments_and_says_why_once(caplog):
    wrapped = Environment(
        "InvertedPendulum-v5", {"reset_noise_scale": 0.0}, ("gymnasium.wrappers.TimeAwareObservation",)
    )
    with caplog.at_level(logging.WARNING):
        env = sim.make(wrapped, 2)
        sim.make(wrapped, 1)
    assert isinstance(env, GymVectorEnv)
    assert env.reset(seed=0)[0].tolist() == [[0, 0, 0, 0, 0]] * 2
    why = "gymnasium.wrappers.TimeAwareObservation can only be put around single environments"
    told = "InvertedPendulum-v5 is simulated one environment after the other, which is slower than in a batch"
    assert caplog.messages == [f"{told}: {why}"]


def test_the_parts_of_an_observation_are_told_if_they_cannot_be_one_vector():
    with pytest.raises(UnsupportedEnvironment, match="has the observation space Text"):
        sim.make(Environment("Pendulum-v1", wrappers=(f"{__name__}:Speaking",)), 1)


class Speaking(gymnasium.Wrapper):
    """Has observations in words."""

    observation_space = gymnasium.spaces.Text(5)


# Classes that are given as objects


def test_a_class_of_a_module_is_named_by_it(monkeypatch):
    monkeypatch.setattr("rlsparse.sim.user_classes.given_classes", {})  # what is given is trusted, in other tests too
    assert entry_of(fake_envs.Point) == "fake_envs:Point"
    assert entry_of(Speaking) == f"{__name__}:Speaking"


def test_a_class_of_an_imported_file_is_named_by_the_file(robot):
    cls = load_object(f"{robot}:Robot")
    assert entry_of(cls) == f"{robot}:Robot"


def test_a_class_that_no_other_process_can_import_is_refused():
    class Local(fake_envs.Point):
        pass

    for cls in (Local, lambda: fake_envs.Point(), type("Made", (fake_envs.Point,), {"__module__": "__main__"})):
        with pytest.raises(UsageError, match="cannot be imported by another process.*write it to a file"):
            entry_of(cls)


SCRIPT = """
import fake_envs
from rlsparse.sim.environment import make_single
from rlsparse.sim.user_classes import entry_of
print("begins")
class Own(fake_envs.Point): pass
print(entry_of(Own))
print(type(make_single(entry_of(Own)).unwrapped) is Own)
"""


@pytest.mark.parametrize("way", [["own.py"], ["-m", "own"]])
def test_a_class_of_the_script_itself_is_named_by_its_place_and_the_script_is_not_run_again(way, tmp_path):
    (tmp_path / "own.py").write_text(SCRIPT)
    env = tiny.environment()
    done = subprocess.run([sys.executable, *way], cwd=tmp_path, capture_output=True, text=True, check=True, env=env)
    place = "own" if "-m" in way else tmp_path / "own.py"
    assert done.stdout.splitlines() == ["begins", f"{place}:Own", "True"]


def test_a_class_of_a_notebook_is_refused(tmp_path):
    code = "from rlsparse.sim.user_classes import entry_of\nclass Own: pass\nentry_of(Own)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UsageError: Own cannot be imported by another process" in done.stderr.splitlines()[-1]
