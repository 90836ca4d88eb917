"""A task whose factors are fields has another model in every environment and at every start, from its seed alone."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from rlsparse import sim
from rlsparse.errors import UsageError
from rlsparse.sim.environment import Environment
from rlsparse.sim.task import Factor, Task, concatenate, never
from rlsparse.sim.varied import PUSHED

MODEL = str(Path(__file__).resolve().parents[2] / "examples" / "swing_up" / "cartpole.xml")


class Heavy(Task):
    """A cart-pole whose masses and dampings vary."""

    xml_file = MODEL
    frame_skip = 2
    horizon = 20
    mass: Factor = (0.5, 2.0)
    damping: Factor = (0.0, 3.0)
    gain: Factor = (0.8, 1.2)

    def observe(self, d):
        return concatenate(d.qpos, d.qvel)

    def reward(self, d, velocity, action):
        return velocity, never(velocity)

    def reset_noise(self, rng, qpos, qvel):
        return qpos + rng.uniform(-0.1, 0.1, 2), qvel


class Pushed(Heavy):
    """One that is pushed, and nothing else."""

    mass = (1.0, 1.0)
    damping = (1.0, 1.0)
    gain = (1.0, 1.0)
    push: Factor = (20.0, 20.0)
    horizon = 100_000


HEAVY, PUSHED_TASK = (f"{__name__}:{name}" for name in ("Heavy", "Pushed"))


def model_of(factors, i):
    """The model with the factors of environment i, by MuJoCo's own fields."""
    model = mujoco.MjModel.from_xml_path(MODEL)
    model.body_mass *= factors["mass"][i]
    model.body_inertia *= factors["mass"][i]
    model.dof_damping *= factors["damping"][i]
    model.actuator_gainprm *= factors["gain"][i]
    return model


def test_every_environment_moves_as_a_model_with_its_factors():
    env = sim.make(HEAVY, 3)
    obs, _ = env.reset(seed=4)
    factors = env.factors
    assert all(len(set(x.tolist())) == 3 for x in factors.values())
    action = np.ones((3, 1))
    seen = [env.step(action)[0] for _ in range(5)][-1]
    for i in range(3):
        model = model_of(factors, i)
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.ctrl[:] = obs[i, :2], 1.0
        mujoco.mj_step(model, data, 10)
        np.testing.assert_allclose(seen[i], [*data.qpos, *data.qvel], rtol=1e-10)


def test_factors_are_drawn_anew_at_every_start_within_their_bounds():
    env = sim.make(HEAVY, 50)
    env.reset(seed=0)
    drawn = [env.factors]
    for _ in range(20):
        env.step(np.zeros((50, 1)))
    drawn.append(env.factors)
    for name, (low, high) in {"mass": (0.5, 2.0), "damping": (0.0, 3.0), "gain": (0.8, 1.2)}.items():
        both = np.array([x[name] for x in drawn])
        assert (both[0] != both[1]).all()
        assert low <= both.min() < low + 0.1 * (high - low) < high - 0.1 * (high - low) < both.max() <= high


def test_an_environment_has_the_same_models_alone_as_among_others():
    alone, among = sim.make(HEAVY, 1), sim.make(HEAVY, 3)
    alone.reset(seed=8)
    among.reset(seed=7)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 3, 1))
    for action in actions:  # over two ends of episodes
        a, b = alone.step(action[1:2]), among.step(action)
        np.testing.assert_array_equal(a[0][0], b[0][1])
        np.testing.assert_array_equal(a[1][0], b[1][1])


@pytest.mark.parametrize("name", [HEAVY, PUSHED_TASK])
def test_it_continues_exactly_from_its_state(name):
    first, second = sim.make(name, 4), sim.make(name, 4)
    first.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 4, 1))
    for action in actions[:30]:
        first.step(action)
    second.reset(seed=9)
    second.set_state(first.get_state())
    for action in actions[30:]:
        for a, b in zip(first.step(action)[:4], second.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_environment_goes_on_from_another_s_snapshot_with_its_model():
    env = sim.make(HEAVY, 2)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 2, 1))
    for action in actions:
        env.step(action)
    env.restore(0, env.snapshots()[1], actions[:, 1])
    assert all(x[0] == x[1] for x in env.factors.values())
    obs, *_ = env.step(np.ones((2, 1)))
    np.testing.assert_array_equal(obs[0], obs[1])


def test_a_robot_is_pushed_for_one_action_of_a_hundred_in_any_direction():
    env = sim.make(PUSHED_TASK, 100)
    env.reset(seed=0)
    forces = []
    for _ in range(100):
        env.step(np.zeros((100, 1)))
        forces.append(env._force[:, 1].copy())
    x, y = np.array(forces)[..., 0], np.array(forces)[..., 1]
    pushed = np.hypot(x, y) > 0
    assert abs(pushed.mean() - PUSHED) < 4 * (PUSHED / pushed.size) ** 0.5
    np.testing.assert_allclose(np.hypot(x, y)[pushed], 20.0)
    assert abs(x[pushed].mean()) < 6
    assert abs(y[pushed].mean()) < 6


def test_bounds_are_arguments_and_those_below_zero_are_refused():
    env = sim.make(Environment(HEAVY, {"mass": [3.0, 3.0]}), 2)
    env.reset(seed=0)
    assert env.factors["mass"].tolist() == [3.0, 3.0]
    with pytest.raises(UsageError, match=r"mass is \[-1.0, 1.0\]: expected two numbers from zero on"):
        sim.make(Environment(HEAVY, {"mass": [-1.0, 1.0]}), 2)


class Misnamed(Heavy):
    """A factor of nothing."""

    frictoin: Factor = (1.0, 1.0)


class Negative(Heavy):
    """A factor below zero in the file itself."""

    mass = (-1.0, 1.0)


def test_a_factor_of_nothing_and_one_below_zero_in_the_file_are_refused():
    with pytest.raises(UsageError, match="Misnamed.frictoin is a factor of nothing in a model: did you mean friction"):
        sim.make(f"{__name__}:Misnamed", 1)
    with pytest.raises(UsageError, match=r"mass is \(-1.0, 1.0\): expected two numbers from zero on"):
        sim.make(f"{__name__}:Negative", 1)


def on_gpu(name, num_envs):
    """Environments of the GPU's simulator, on Warp's CPU device."""
    pytest.importorskip("mujoco_warp")
    env = sim.make(name, num_envs, simulator="warp", device="cpu")
    env.reset(seed=0)
    return env


def test_on_a_gpu_every_world_has_its_own_model_too():
    env = on_gpu(HEAVY, 3)
    factors = {name: x.numpy() for name, x in env.factors.items()}
    start, usual = env.qpos.numpy(), mujoco.MjModel.from_xml_path(MODEL)
    own = env._physics.own
    np.testing.assert_allclose(own["body_mass"], factors["mass"][:, None] * usual.body_mass, rtol=1e-6)
    np.testing.assert_allclose(own["dof_damping"], factors["damping"][:, None] * usual.dof_damping, rtol=1e-6)
    for _ in range(5):
        obs, *_ = env.step(torch.ones(3, 1))
    for i in range(3):
        model = model_of(factors, i)
        data = mujoco.MjData(model)
        data.qpos[:], data.ctrl[:] = start[i], 1.0
        mujoco.mj_step(model, data, 10)
        np.testing.assert_allclose(obs[i], [*data.qpos, *data.qvel], rtol=2e-4, atol=2e-4)


def test_on_a_gpu_factors_change_with_the_episode_and_come_from_the_seed():
    env, other = on_gpu(HEAVY, 4), on_gpu(HEAVY, 2)
    first = env.factors
    for name in first:
        np.testing.assert_array_equal(first[name][:2], other.factors[name])
    for _ in range(20):
        env.step(torch.zeros(4, 1))
    assert all((env.factors[name] != first[name]).all() for name in first)
    assert ((env.factors["mass"] >= 0.5) & (env.factors["mass"] <= 2.0)).all()


def test_on_a_gpu_robots_are_pushed_as_often():
    env = on_gpu(PUSHED_TASK, 100)
    pushed = []
    for _ in range(40):
        env.step(torch.zeros(100, 1))
        pushed.append(torch.linalg.vector_norm(env._physics.force[:, 1, :2], dim=1))
    force = torch.stack(pushed)
    assert abs((force > 0).double().mean() - PUSHED) < 4 * (PUSHED / force.numel()) ** 0.5
    np.testing.assert_allclose(force[force > 0], 20.0, rtol=1e-5)
