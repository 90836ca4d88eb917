"""Every argument of Gymnasium's MuJoCo v5 classes, in the batch: observations, rewards and ends to the last bit."""

import dataclasses
import inspect
import os
from functools import cache
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import load_env_creator

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UnsupportedEnvironment, UsageError
from rlsparse.sim.arguments import DRAWING, MOST_BYTES
from rlsparse.sim.cpu import MujocoVectorEnv
from rlsparse.sim.environment import Environment, make_single
from rlsparse.sim.tasks import TASKS, make_task

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"

NUM_ENVS, STEPS = 2, 10

OTHERWISE = {
    "frame_skip": 3,
    "reset_noise_scale": 0.03,
    "contact_cost_range": (0.001, 0.002),
    "impact_cost_range": (0.001, 0.002),
    "contact_force_range": (-0.3, 0.1),
    "healthy_state_range": (-1.0, 1.0),
    "healthy_angle_range": (-0.01, 0.01),
    "main_body": "aux_1",
}
"""Another value than the default, by the argument; of others see `another`."""


def parameters(env_id):
    """The arguments of Gymnasium's class, and of the class that it hands its **kwargs to."""
    own = inspect.signature(load_env_creator(gymnasium.spec(env_id).entry_point)).parameters
    drawing = inspect.signature(MujocoEnv.__init__).parameters
    known = {**drawing, **own}
    handed_on = {"self", "model_path", "observation_space", "kwargs"}
    return {name: known[name] for name in known if name not in handed_on}


ARGUMENTS = [(env_id, name) for env_id in TASKS for name in parameters(env_id) if name not in (*DRAWING, "render_mode")]


def another(env_id, name, default, folder):
    """A value that changes what the environment does."""
    if name == "xml_file":
        return heavier(default, folder)
    if name == "healthy_z_range":
        return narrow(env_id)[name]
    if name in OTHERWISE:
        return OTHERWISE[name]
    return not default if isinstance(default, bool) else 3 * default + 0.1


def heavier(xml_file, folder):
    """A copy of one of Gymnasium's models, with other masses, friction and gravity."""
    model = mujoco.MjSpec.from_file(str(ASSETS / xml_file))
    model.option.gravity = (0.3, 0, -5)
    for geom in model.geoms:
        geom.density *= 1.5
    model.compile()
    path = folder / "own.xml"
    path.write_text(model.to_xml())
    return str(path)


def actions_for(env):
    rng = np.random.default_rng(0)
    low, high = env.action_space.low, env.action_space.high
    return [rng.uniform(low, high).astype(np.float32) for _ in range(STEPS)]


@cache
def without(env_id, falling):
    """What observations, rewards and ends are by default, or where the robot soon falls."""
    env = sim.make(Environment(env_id, narrow(env_id) if falling else {}), NUM_ENVS)
    return [env.reset(seed=3)[0], *(array for action in actions_for(env) for array in env.step(action)[:3])]


def narrow(env_id):
    """A range of heights that a robot soon leaves."""
    height = make_single(env_id).unwrapped.init_qpos[2 if env_id in ("Ant-v5", "Humanoid-v5") else 1]
    return {"healthy_z_range": (float(height) - 0.02, float(height) + 0.02)}


@pytest.mark.parametrize(("env_id", "name"), ARGUMENTS)
def test_an_argument_changes_the_batch_as_it_changes_gymnasium_s_environment(env_id, name, tmp_path):
    falling = name == "terminate_when_unhealthy"
    kwargs = {name: another(env_id, name, parameters(env_id)[name].default, tmp_path)}
    kwargs |= narrow(env_id) if falling else {}
    ours = sim.make(Environment(env_id, kwargs), NUM_ENVS)
    assert isinstance(ours, MujocoVectorEnv)
    theirs = [gymnasium.make(env_id, **kwargs) for _ in range(NUM_ENVS)]
    assert ours.single_observation_space == theirs[0].observation_space
    seen = [ours.reset(seed=3)[0]]
    np.testing.assert_array_equal(seen[0], [env.reset(seed=3 + i)[0] for i, env in enumerate(theirs)])
    for actions in actions_for(ours):
        obs, reward, terminated, truncated, info = ours.step(actions)
        seen += [obs, reward, terminated]
        for i, env in enumerate(theirs):
            their_obs, their_reward, their_end, _, _ = env.step(actions[i])
            np.testing.assert_array_equal(info["final_obs"][i] if terminated[i] else obs[i], their_obs)
            assert (reward[i], terminated[i], truncated[i]) == (their_reward, their_end, False)
            if their_end:
                np.testing.assert_array_equal(obs[i], env.reset()[0])
    same = all(np.array_equal(a, b) for a, b in zip(seen, without(env_id, falling), strict=True))
    assert same == ((env_id, name) in WITHOUT_EFFECT)


WITHOUT_EFFECT = {("HumanoidStandup-v5", "uph_cost_weight")}
"""Gymnasium's class has this one, and does not use it."""


@pytest.mark.parametrize("env_id", TASKS)
def test_a_task_has_the_arguments_and_defaults_of_gymnasium_s_class_and_no_others(env_id):
    theirs = {name: x.default for name, x in parameters(env_id).items() if name not in (*DRAWING, "render_mode")}
    assert dataclasses.asdict(TASKS[env_id]()) == theirs


def test_how_a_task_is_drawn_is_taken_and_changes_nothing_in_a_batch():
    drawn = {
        "width": 64,
        "height": 48,
        "camera_name": "track",
        "default_camera_config": {"distance": 3.0},
        "max_geom": 9,
    }
    assert make_task("Hopper-v5", drawn) == make_task("Hopper-v5", {})
    for name in set(DRAWING) - drawn.keys():
        make_task("Hopper-v5", {name: 1})
    assert set(DRAWING) == inspect.signature(MujocoEnv.__init__).parameters.keys() - {
        *("self", "model_path", "frame_skip", "observation_space", "render_mode")
    }
    single = make_single(Environment("Hopper-v5", {"width": 64, "max_episode_steps": 2}))
    assert (single.unwrapped.width, single.spec.max_episode_steps) == (64, 2)


def test_several_options_together_leave_out_what_nobody_reads():
    humanoid = {f"include_{name}_in_observation": False for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")}
    for env_id, kwargs, derived in (
        ("Humanoid-v5", humanoid, ("xipos", "cfrc_ext")),
        ("HumanoidStandup-v5", humanoid, ("cfrc_ext",)),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0}, ("xpos",)),
    ):
        env, single = sim.make(Environment(env_id, kwargs), 1), gymnasium.make(env_id, **kwargs)
        assert env.task.derived_fields == derived
        np.testing.assert_array_equal(env.reset(seed=1)[0][0], single.reset(seed=1)[0])
        action = env.single_action_space.high
        for ours, theirs in zip(env.step(action[None])[:3], single.step(action)[:3], strict=True):
            np.testing.assert_array_equal(ours[0], theirs)


def test_the_time_limit_is_an_argument_too():
    env = sim.make(Environment("HalfCheetah-v5", {"max_episode_steps": 2}), 1)
    env.reset(seed=0)
    assert [bool(env.step(np.zeros((1, 6)))[3][0]) for _ in range(4)] == [False, True, False, True]
    assert env.spec.max_episode_steps == 2


def test_a_state_is_of_the_options_that_it_was_taken_with():
    kwargs = {"include_cinert_in_observation": False, "terminate_when_unhealthy": False}
    env, again = (sim.make(Environment("Humanoid-v5", kwargs), 2) for _ in range(2))
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-0.4, 0.4, (40, 2, 17))
    for action in actions[:30]:
        env.step(action)
    again.set_state(env.get_state())
    for action in actions[30:]:
        for a, b in zip(env.step(action)[:4], again.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    env.reset()
    env.restore(1, again.snapshots()[0], actions[:0])
    np.testing.assert_array_equal(env.step(actions[0])[0][1], again.step(actions[0][::-1])[0][0])


# Models of a user's


def test_bodies_are_found_by_their_names_in_another_model(tmp_path):
    spec = mujoco.MjSpec.from_file(str(ASSETS / "reacher.xml"))
    first = spec.worldbody.add_body(name="first", pos=(5, 5, 0))
    first.add_geom(size=(0.1, 0, 0), contype=0, conaffinity=0)
    (tmp_path / "own.xml").write_text(spec.to_xml())
    kwargs = {"xml_file": str(tmp_path / "own.xml")}
    ours, theirs = sim.make(Environment("Reacher-v5", kwargs), 1), gymnasium.make("Reacher-v5", **kwargs)
    np.testing.assert_array_equal(ours.reset(seed=3)[0][0], theirs.reset(seed=3)[0])
    assert ours.step(np.ones((1, 2)))[1][0] == theirs.step(np.ones(2))[1]


@pytest.mark.parametrize(
    ("env_id", "kwargs", "told"),
    [
        ("Ant-v5", {"main_body": "tail"}, "Ant-v5 does not fit the model ant.xml: KeyError: .*Invalid name 'tail'"),
        ("Ant-v5", {"main_body": 99}, "Ant-v5 does not fit the model ant.xml: IndexError"),
        ("Reacher-v5", {"xml_file": "hopper.xml"}, "Reacher-v5 does not fit the model hopper.xml: KeyError"),
        (
            "Ant-v5",
            {"xml_file": "ants.xml"},
            "--env-kwargs.xml-file ants.xml: there is no such file: did you mean ant.xml",
        ),
        ("Ant-v5", {"xml_file": "./ant.xml"}, "--env-kwargs.xml-file ./ant.xml: there is no such file$"),
        ("Ant-v5", {"xml_file": "~/no/ant.xml"}, "there is no such file$"),
        ("Ant-v5", {"xml_file": "/dev/zero"}, "xml-file /dev/zero: expected a regular file of at most"),
        ("Ant-v5", {"xml_file": "/"}, "xml-file /: expected a regular file"),
        ("Ant-v5", {"xml_file": "a\0b.xml"}, "there is no such file"),
    ],
)
def test_a_model_that_cannot_be_one_is_told_in_one_line(env_id, kwargs, told):
    with pytest.raises(UsageError, match=told) as caught:
        sim.make(Environment(env_id, kwargs), 1)
    assert "\n" not in str(caught.value)
    if "does not fit" not in told:
        with pytest.raises(UsageError, match=told):
            make_single(Environment(env_id, kwargs))


def test_a_file_of_the_working_directory_is_named_as_gymnasium_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.xml").write_text((ASSETS / "ant.xml").read_text())
    with pytest.raises(UsageError, match="own.xml: there is no such file: write ./own.xml$"):
        sim.make(Environment("Ant-v5", {"xml_file": "own.xml"}), 1)
    assert sim.make(Environment("Ant-v5", {"xml_file": "./own.xml"}), 1).single_observation_space.shape == (105,)


def test_files_that_are_endless_huge_or_no_model_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.xml")
    with open(tmp_path / "huge.xml", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    for name in ("pipe.xml", "huge.xml"):
        for make in (make_single, lambda x: sim.make(x, 1)):
            with pytest.raises(UsageError, match=f"{name}: expected a regular file of at most {MOST_BYTES:,} bytes"):
                make(Environment("Ant-v5", {"xml_file": str(tmp_path / name)}))
    (tmp_path / "text.xml").write_text("<mujoco>\n<oops/>\n</mujoco>")
    with pytest.raises(EnvironmentFailure, match="cannot read .*text.xml: XML Error.*unrecognized element"):
        sim.make(Environment("Ant-v5", {"xml_file": str(tmp_path / "text.xml")}), 1)


def test_a_model_without_ranges_of_actions_is_told_what_to_write(tmp_path):
    text = (ASSETS / "ant.xml").read_text()
    (tmp_path / "own.xml").write_text(text.replace('ctrllimited="true" ctrlrange="-1.0 1.0"', ""))
    with pytest.raises(UnsupportedEnvironment, match='give its actuator a range, as ctrlrange="-1 1"'):
        sim.make(Environment("Ant-v5", {"xml_file": str(tmp_path / "own.xml")}), 1)
