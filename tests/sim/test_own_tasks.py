"""A user's task in one file is simulated like a shipped one, on both simulators, and refused with its line if wrong."""

import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from dm_control.suite import common, quadruped
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UsageError
from rlsparse.sb3 import make_vec_env
from rlsparse.sim.cpu import load_model
from rlsparse.sim.environment import Environment, make_single
from rlsparse.sim.task import Task, concatenate, never
from rlsparse.sim.user_classes import load_object

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "swing_up"
SWING_UP = f"{FOLDER / 'swing_up.py'}:SwingUp"
QUADRUPED = f"{FOLDER.parent / 'quadruped' / 'quadruped.py'}:Quadruped"


def by_hand(seed, actions):
    """Observation and reward of every step, from MuJoCo's own calls and the formulas of the example."""
    model = mujoco.MjModel.from_xml_path(str(FOLDER / "cartpole.xml"))
    data = mujoco.MjData(model)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
    data.qpos[:] = noise + [0, 3.14159]
    mujoco.mj_forward(model, data)

    def obs():
        x, angle = data.qpos
        return [x, np.cos(angle), np.sin(angle), data.qvel[0], data.sensor("spin").data[0] / 5]

    yield obs(), None
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 2)
        height = data.site("tip").xpos[2] / 0.8
        yield obs(), (1 + height) / 2 * (1 - abs(data.qpos[0]) / 2) - 0.01 * float(action @ action)


def test_a_task_of_a_user_is_what_mujoco_makes_of_its_model():
    env = sim.make(SWING_UP, 3)
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 3, 1))
    seen = [(env.reset(seed=[5, 6, 7])[0], None), *(env.step(action)[:2] for action in actions)]
    for i in range(3):
        expected = by_hand(5 + i, actions[:, i])
        for (obs, reward), (own_obs, own_reward) in zip(seen, expected, strict=True):
            np.testing.assert_allclose(obs[i], own_obs, rtol=1e-12, atol=1e-12)
            assert own_reward is None or reward[i] == pytest.approx(own_reward, rel=1e-12)


def test_an_episode_ends_at_the_horizon_of_its_class_or_at_another_that_is_given():
    for kwargs, steps in (({}, 500), ({"max_episode_steps": 30}, 30)):
        env = sim.make(Environment(SWING_UP, kwargs), 1)
        env.reset(seed=0)
        ends = [env.step(np.zeros((1, 1)))[3][0] for _ in range(steps)]
        assert ends == [False] * (steps - 1) + [True]


def test_a_task_continues_exactly_from_its_state():
    first, second = sim.make(SWING_UP, 4), sim.make(SWING_UP, 4)
    first.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 4, 1))
    for action in actions[:10]:
        first.step(action)
    second.reset(seed=9)
    second.set_state(first.get_state())
    for action in actions[10:]:
        for a, b in zip(first.step(action)[:4], second.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_simulator_of_the_gpu_agrees():
    pytest.importorskip("mujoco_warp")
    import torch

    cpu, gpu = sim.make(SWING_UP, 2), sim.make(SWING_UP, 2, simulator="warp", device="cpu")
    cpu.reset(seed=0)
    gpu.reset(seed=0)
    state = cpu.get_state()
    for name, index in (("qpos", slice(1, 3)), ("qvel", slice(3, 5))):  # time, qpos, qvel
        getattr(gpu._physics, name).copy_(torch.as_tensor(state["physics"][:, index]))
    for action in np.random.default_rng(1).uniform(-1, 1, (20, 2, 1)).astype(np.float32):
        ours, theirs = cpu.step(action), gpu.step(torch.as_tensor(action))
        np.testing.assert_allclose(theirs[0], ours[0], atol=2e-3)
        np.testing.assert_allclose(theirs[1], ours[1], atol=2e-3)


def test_a_field_is_an_argument_and_what_is_no_field_is_refused_with_the_nearest():
    plain, free = sim.make(SWING_UP, 1), sim.make(Environment(SWING_UP, {"effort": 0.0}), 1)
    action = np.ones((1, 1))
    rewards = []
    for env in (plain, free):
        env.reset(seed=0)
        rewards.append(env.step(action)[1][0])
    assert rewards[1] - rewards[0] == pytest.approx(0.01)
    with pytest.raises(UsageError, match="did you mean effort"):
        sim.make(Environment(SWING_UP, {"efort": 0.0}), 1)


def test_single_environments_pass_gymnasium_s_check_and_give_the_same_numbers():
    single, batch = gymnasium.make(sim.spec(SWING_UP)), sim.make(SWING_UP, 1)
    check_env(single.unwrapped, skip_render_check=True)
    np.testing.assert_array_equal(single.reset(seed=3)[0], batch.reset(seed=3)[0][0])
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 1)):
        for a, b in zip(single.step(action)[:3], batch.step(action[None])[:3], strict=True):
            np.testing.assert_array_equal(a, b[0])
    wrapped = make_single(Environment(SWING_UP, {}, ("gymnasium.wrappers.ClipAction",)))
    assert isinstance(wrapped, gymnasium.wrappers.ClipAction)


def test_vectors_of_gymnasium_and_of_stable_baselines3_are_batches():
    env = gymnasium.make_vec(sim.spec(load_object(SWING_UP)), num_envs=2, vectorization_mode="vector_entry_point")
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.reset(seed=0)[0].shape == (2, 5)
    assert make_vec_env(SWING_UP, 3, seed=0).reset().shape == (3, 5)


class Small(Task):
    """Of a model given as text."""

    frame_skip = 3
    weight: float = 2.0

    def model(self):
        return (FOLDER / "cartpole.xml").read_text()

    def observe(self, d):
        return concatenate(d.qpos, d.qvel)

    def reward(self, d, velocity, action):
        return self.weight * velocity, never(velocity)


def test_the_class_of_a_task_is_a_frozen_dataclass_without_a_decorator():
    task = Small(weight=3.0)
    assert (task.frame_skip, task.weight, task) == (3, 3.0, Small(weight=3.0))
    with pytest.raises(FrozenInstanceError):
        task.weight = 1.0


@pytest.mark.parametrize("kind", ["text", "spec", "model"])
def test_a_model_may_be_given_in_several_ways(kind, monkeypatch):
    text = (FOLDER / "cartpole.xml").read_text()
    given = {"text": text, "spec": mujoco.MjSpec.from_string(text), "model": mujoco.MjModel.from_xml_string(text)}
    monkeypatch.setattr(Small, "model", lambda self: given[kind])
    env = sim.make(f"{__name__}:Small", 2)
    assert env.reset(seed=0)[0].tolist() == [[0.0] * 4] * 2  # without noise, the start is the model's
    before, after = env.qpos[:, 0], env.step(np.ones((2, 1)))
    np.testing.assert_allclose(after[1], 2.0 * (env.qpos[:, 0] - before) / (3 * 0.01))


BROKEN = {
    "if d.qpos[0, 0] > 9: pass": r"`if d.qpos\[0, 0\] > 9: pass`.*torch's tensors",
    "import numpy; numpy.cos(d.qpos)": r":14: SwingUp.observe: `import numpy; numpy.cos\(d.qpos\)`.*torch's tensors",
    "import math; math.cos(d.qpos)": r"arrays of numpy",
    "d.qposs": r":14: SwingUp.observe: `d.qposs`: .*did you mean qpos\?",
    'd.joint("hing")': r"Valid names: \['hinge', 'slide'\]",
    "return d.qvel": r"SwingUp.observe: returns d.qvel itself: return a new array, as d.qvel \+ 0",
    "return d.qpos[:, 0] * 1": r"SwingUp.observe: returns shape \(3,\) for 3 environments: expected \(3, numbers\)",
    "return d.qpos[:1] * 1": r"SwingUp.observe: returns shape \(1, 2\) for 3 environments",
    "return d.qpos / 0": r"SwingUp.observe: returns .*inf.* at the start: expected finite numbers",
}
"""Of a line at the beginning of `observe` what the message says."""


@pytest.fixture
def file(tmp_path):
    """Writes the example with a change, and returns its id."""
    shutil.copy(FOLDER / "cartpole.xml", tmp_path)

    def write(old, new, name="bad.py"):
        text = (FOLDER / "swing_up.py").read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1))
        return f"{tmp_path / name}:SwingUp"

    return write


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value|divide by zero")
def test_what_is_no_array_code_is_refused_with_file_and_line(line, file):
    first = '        angle = d.qpos[:, d.joint("hinge")]\n'
    with pytest.raises(UsageError, match=BROKEN[line]) as raised:
        sim.make(file(first, f"        {line}\n{first}"), 1)
    assert "\n" not in str(raised.value)


def test_a_reward_of_another_shape_or_an_end_that_is_no_truth_is_refused(file):
    end = "return reward, never(reward)"
    with pytest.raises(UsageError, match=r"SwingUp.reward: returns reward of shape \(3, 1\)"):
        sim.make(file(end, "return reward[:, None], never(reward)"), 1)
    with pytest.raises(UsageError, match=r"terminated of float64: expected true or false"):
        sim.make(file(end, "return reward, reward", "end.py"), 1)
    with pytest.raises(UsageError, match=r"returns ndarray: expected reward and terminated"):
        sim.make(file(end, "return reward", "one.py"), 1)


def test_a_start_that_is_not_finite_or_of_another_shape_is_refused(file):
    start = "return start, qvel"
    with pytest.raises(UsageError, match=r"SwingUp.reset_noise: returns qpos .*nan.*: expected finite numbers"):
        sim.make(file(start, 'return start * float("nan"), qvel'), 1)
    with pytest.raises(UsageError, match=r"SwingUp.reset_noise: returns qvel of shape \(1,\): expected \(2,\)"):
        sim.make(file(start, "return start, qvel[:1]", "short.py"), 1)


def test_a_model_that_is_missing_broken_or_without_bounds_is_refused(file, tmp_path):
    model = tmp_path / "cartpole.xml"
    with pytest.raises(UsageError, match=r"bad.py:SwingUp: there is no file .*cart.xml"):
        sim.make(file("cartpole.xml", "cart.xml"), 1)
    whole = model.read_text()
    model.write_text(whole.replace(' ctrlrange="-1 1"', ""))
    with pytest.raises(UsageError, match='actuator push of its model has no ctrlrange: give it one, as ctrlrange="-1'):
        sim.make(file("", "", "a.py"), 1)
    model.write_text(whole.replace('type="hinge"', 'type="hingy"'))
    with pytest.raises(EnvironmentFailure, match="cannot read its model: XML Error: invalid keyword: 'hingy'"):
        sim.make(file("", "", "b.py"), 1)
    model.write_text(whole.replace('type="box"', 'type="mesh" mesh="m"').replace("<worldbody>", MESH + "<worldbody>"))
    with pytest.raises(EnvironmentFailure, match=r"cannot read its model: .*arm.stl"):
        sim.make(file("", "", "c.py"), 1)


MESH = '<asset><mesh name="m" file="arm.stl"/></asset>'


def test_a_file_that_cannot_be_imported_says_what_it_raised(file):
    with pytest.raises(EnvironmentFailure, match="No module named 'numpyy'"):
        sim.make(file('"""A pole', 'import numpyy\n"""A pole'), 1)


def test_the_page_shows_the_example_as_it_is():
    page = (FOLDER.parents[1] / "docs" / "your-own-robot.md").read_text()
    assert f"```python\n{(FOLDER / 'swing_up.py').read_text()}```" in page


# A robot of another package


def test_the_quadruped_moves_as_that_of_dm_control():
    model = mujoco.MjModel.from_xml_string(quadruped.make_model(floor_size=15).decode(), common.ASSETS)
    data = mujoco.MjData(model)
    env = sim.make(QUADRUPED, 2)
    env.reset(seed=[3, 4])
    data.qpos[:] = env.qpos[1]
    mujoco.mj_forward(model, data)
    torso = model.body("torso").id
    for action in np.random.default_rng(1).uniform(-0.8, 0.8, (60, 2, 12)):
        obs, reward, *_ = env.step(action)
        data.ctrl[:] = action[1]
        mujoco.mj_step(model, data, 4)
        np.testing.assert_allclose(env.qpos[1], data.qpos, rtol=0, atol=1e-6)
        velocity = data.sensor("velocimeter").data
        np.testing.assert_allclose(obs[1, :6], [*data.xmat[torso, 6:], *velocity], rtol=0, atol=1e-5)
        expected = data.xmat[torso, 8] * np.clip(velocity[0] / 3, -1, 1) - 0.01 * np.square(action[1]).sum()
        assert reward[1] == pytest.approx(expected, abs=1e-5)


def test_its_ground_has_hills_if_that_is_wanted():
    flat, hills = (sim.make(Environment(QUADRUPED, {"bumps": height}), 1) for height in (0.0, 0.5))
    for env in (flat, hills):
        env.reset(seed=0)
    rest = [[env.step(np.zeros((1, 12)))[0] for _ in range(150)][-1] for env in (flat, hills)]
    assert np.abs(rest[0] - rest[1]).max() > 1e-3
    names = {mujoco.mjtGeom.mjGEOM_PLANE: 0.0, mujoco.mjtGeom.mjGEOM_HFIELD: 0.5}
    for kind, bumps in names.items():
        model = load_model(load_object(QUADRUPED)(bumps=bumps))
        assert kind in model.geom_type
        assert len(set(names) & {mujoco.mjtGeom(x) for x in model.geom_type}) == 1
