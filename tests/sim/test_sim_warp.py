"""The GPU simulator's rules for episodes, seeds and resets, on Warp's CPU device."""

import subprocess
import sys

import mujoco
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from scipy.stats import ks_2samp
from tape import memory
from tensors import never_waiting
from warp_envs import in_one_worker, make, make_recorded, random_actions, run

from rlsparse.errors import UnsupportedEnvironment, UsageError
from rlsparse.sim import warp as warp_module
from rlsparse.sim.tasks import TASKS
from rlsparse.sim.warp import WarpVectorEnv
from rlsparse.sim.warp_physics import DETERMINISTIC

pytestmark = in_one_worker


def assert_equal_results(some, others):
    for result, other in zip(some, others, strict=True):
        for tensor, other_tensor in zip(result[:4], other[:4], strict=True):
            torch.testing.assert_close(tensor, other_tensor, rtol=0, atol=0)
        torch.testing.assert_close(result[4], other[4], rtol=0, atol=0)


def restored(state, env):
    env.set_state(state)
    return env


def with_elapsed(env, elapsed):
    """`env` with so many steps taken in each environment's episode."""
    return restored(env.get_state() | {"elapsed": np.array(elapsed)}, env)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5", "Reacher-v5", "Pusher-v5"])
def test_starts_are_distributed_as_on_the_cpu(env_id):
    count, rng = 500, np.random.default_rng(0)
    env = make(env_id, count)
    env.reset(seed=1)
    state, pose = env.get_state(), env._start_pose[0].numpy()
    starts = [env.task.reset_noise(rng, pose, np.zeros(state["qvel"].shape[1])) for _ in range(count)]
    for ours, theirs in zip((state["qpos"], state["qvel"]), zip(*starts, strict=True), strict=True):
        for column, other in zip(ours.T, np.array(theirs, np.float32).T, strict=True):
            assert ks_2samp(column, other).pvalue > 1e-3


def test_goals_and_objects_start_where_they_may():
    goals = make("Reacher-v5", 2000).reset(seed=0)[0][:, 4:6]
    assert goals.norm(dim=1).max() < 0.2
    assert goals.norm(dim=1).square().mean() == pytest.approx(0.2**2 / 2, rel=0.05)  # uniform on a disc
    pusher = make("Pusher-v5", 2000)
    pusher.reset(seed=0)
    x, y = pusher.qpos[:, -4:-2].T
    assert torch.hypot(x, y).min() > 0.17
    assert x.min() > -0.3 and x.max() < 0 and y.abs().max() < 0.2


def test_an_environment_starts_where_its_seed_and_episode_say():
    few, many = make("Hopper-v5", 2), make("Hopper-v5", 5)
    first = few.reset(seed=8)[0]
    assert torch.equal(many.reset(seed=6)[0][2:4], first)
    second = few.reset()[0]
    assert not torch.isclose(first, second).all(1).any()
    many.reset(options={"reset_mask": torch.tensor([True, False, False, False, False])})
    again = many.reset(options={"reset_mask": torch.tensor([False, False, True, True, False])})[0]
    assert torch.equal(again[2:4], second)
    assert torch.equal(few.reset(seed=[8, None])[0][0], first[0])
    assert torch.equal(few.reset(seed=2**63 + 5)[0], few.reset(seed=2**63 + 5)[0])


def test_without_a_seed_every_environment_differs():
    obs = torch.cat([make("Hopper-v5", 2).reset()[0] for _ in range(2)])
    assert len(obs.unique(dim=0)) == 4


def test_an_environment_does_not_depend_on_the_others():
    few, many = make("Walker2d-v5", 2), make("Walker2d-v5", 4)
    few.reset(seed=3)
    many.reset(seed=3)
    with_elapsed(few, [995, 0])
    with_elapsed(many, [995, 0, 993, 0])
    for action in random_actions(many, 10):
        result, other = few.step(action[:2]), many.step(action)
        for tensor, other_tensor in zip(result[:4], other[:4], strict=True):
            assert torch.equal(tensor, other_tensor[:2])


def test_a_finished_environment_starts_its_next_episode_within_the_step():
    env = make("HalfCheetah-v5", 3)
    env.reset(seed=0)
    with_elapsed(env, [999, 998, 0])
    other = restored(env.get_state(), make("HalfCheetah-v5", 3, autoreset=False))
    actions = random_actions(env, 2)
    obs, _, terminated, truncated, info = env.step(actions[0])
    last = other.step(actions[0])[0]
    assert truncated.tolist() == [True, False, False] and not terminated.any()
    assert torch.equal(info["final_obs"], last)
    assert torch.equal(obs[1:], last[1:])
    assert not torch.isclose(obs[0], last[0]).all()
    assert torch.equal(info["final_qpos"][0, 1:], last[0, :8])
    assert env.get_state()["elapsed"].tolist() == [0, 999, 1]
    assert env.step(actions[1])[3].tolist() == [False, True, False]

    start = make("HalfCheetah-v5", 3)
    start.reset(seed=0)
    assert torch.equal(start.reset()[0][0], obs[0])


def test_velocity_is_measured_within_one_episode():
    env = make("HalfCheetah-v5", 2)
    env.reset(seed=0)
    far = env.get_state()
    far["qpos"][:, 0] += 500
    far["progress"][:] += 500
    with_elapsed(restored(far, env), [999, 0])
    rewards = [result[1] for result in run(env, 3)]
    assert torch.stack(rewards).abs().max() < 10


def test_without_autoreset_a_finished_environment_stands_still_until_reset():
    env = make("Walker2d-v5", 3, autoreset=False)
    env.reset(seed=0)
    with_elapsed(env, [998, 999, 0])
    env.halt(torch.tensor([False, False, True]))
    actions = random_actions(env, 4)
    start = env.qpos
    first = env.step(actions[0])
    assert first[3].tolist() == [False, True, False]
    assert torch.equal(env.qpos[2], start[2])
    frozen, moving = env.step(actions[1]), env.qpos
    assert frozen[3].tolist() == [True, True, False]
    assert torch.equal(frozen[0][1:], first[0][1:])
    assert frozen[1][1:].tolist() == [0, 0] and frozen[1][0] != 0
    obs, _ = env.reset(options={"reset_mask": torch.tensor([False, True, True])})
    assert torch.equal(env.qpos[0], moving[0]) and torch.equal(obs[0], frozen[0][0])
    again = env.step(actions[2])
    assert again[3].tolist() == [True, False, False]
    assert again[1].ne(0).tolist() == [False, True, True]


@pytest.mark.parametrize("env_id", ["Ant-v5", "Pusher-v5"])
def test_a_partial_reset_leaves_the_others_as_they_are(env_id):
    env = make(env_id)
    env.reset(seed=0)
    before = run(env, 10)[-1][0]
    obs, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert torch.equal(obs[[0, 2]], before[[0, 2]])
    assert not torch.isclose(obs[1], before[1]).all()


@pytest.mark.parametrize("env_id", ["Ant-v5", "Hopper-v5", "Humanoid-v5", "Pusher-v5"])
def test_a_restored_simulator_continues_exactly(env_id):
    env = make(env_id)
    env.reset(seed=5)
    run(env, 5)
    with_elapsed(env, [0, env.spec.max_episode_steps - 2, 0])
    state = env.get_state()
    expected = run(env, 5, seed=1)
    fresh = restored(state, make(env_id))
    assert_equal_results(run(fresh, 5, seed=1), expected)
    for name, array in env.get_state().items():
        np.testing.assert_array_equal(fresh.get_state()[name], array)


@pytest.mark.parametrize("env_id", ["Ant-v5", "Hopper-v5"])
def test_what_recorded_steps_change_stays_where_it_is(env_id):
    env = make_recorded(env_id)

    def places():
        return {name: memory(x) for name, x in env._state().items()}

    before = places()
    for seed in range(2):
        env.reset(seed=seed)
        run(env, 3)
        env.set_state(env.get_state())
        env.reset(options={"reset_mask": torch.tensor([True, False, False])})
        assert places() == before


@pytest.mark.parametrize(
    ("env_id", "autoreset"), [*((task, True) for task in TASKS), ("Ant-v5", False), ("Hopper-v5", False)]
)
def test_recorded_steps_are_plain_ones(env_id, autoreset, caplog):
    plain, recorded = make(env_id, autoreset=autoreset), make_recorded(env_id, autoreset=autoreset)
    limit = plain.spec.max_episode_steps
    results = []
    for env in (plain, recorded):
        env.reset(seed=3)
        steps = run(env, 3, seed=1)
        with_elapsed(env, [limit - 1, 0, limit - 2])
        if not autoreset:
            env.halt(torch.tensor([False, True, False]))
        steps += run(env, 3, seed=2)
        env.reset(seed=[None, 9, None], options={"reset_mask": torch.tensor([False, True, True])})
        steps += run(env, 2, seed=3)
        results.append(steps)
    assert_equal_results(*reversed(results))
    for name, array in plain.get_state().items():
        np.testing.assert_array_equal(recorded.get_state()[name], array, err_msg=name)
    assert not caplog.messages  # of recordings that failed
    with never_waiting():
        recorded.step(random_actions(recorded, 1)[0])
        recorded.reset(options={"reset_mask": recorded._over})


@pytest.mark.parametrize("make", [make, make_recorded])
def test_every_array_returned_belongs_to_the_caller(make):
    env, twin = make("Reacher-v5"), make("Reacher-v5")
    env.reset(seed=0)[0].zero_()
    twin.reset(seed=0)
    for actions in random_actions(env, 3):
        result, expected = env.step(actions), twin.step(actions)
        assert_equal_results([result], [expected])
        for tensor in (*result[:4], *result[4].values()):
            tensor.zero_()


@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("env_id", TASKS)
def test_a_step_never_waits_for_the_device(env_id, autoreset):
    env = make(env_id, autoreset=autoreset)
    env.reset(seed=0)
    (actions,) = random_actions(env, 1)
    with never_waiting():
        env.step(actions)


@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize(("value", "make"), [(torch.nan, make), (1e30, make), (torch.nan, make_recorded)])
def test_an_unstable_simulation_ends_its_episode_alone(value, make, autoreset, monkeypatch):
    env, sound = make("Ant-v5", autoreset=autoreset), make("Ant-v5", autoreset=autoreset)
    env.reset(seed=0)
    sound.reset(seed=0)
    actions = random_actions(env, 3)
    for simulator in (env, sound):
        last = simulator.step(actions[0])[0]
    advance = env._physics.advance

    def blow_up():
        advance()
        env._physics.qvel[1] = value

    monkeypatch.setattr(env._physics, "advance", blow_up)
    obs, reward, terminated, truncated, info = env.step(actions[1])
    assert terminated.tolist() == [False, True, False] and not truncated.any()
    assert env.unstable.tolist() == [0, 1, 0]
    assert reward[1] == 0
    assert torch.equal(info["final_obs"][1], last[1])
    assert obs[1].isfinite().all()
    others = [0, 2]
    result = sound.step(actions[1])
    assert torch.equal(obs[others], result[0][others]) and torch.equal(reward[others], result[1][others])
    monkeypatch.undo()
    if not autoreset:
        torch.testing.assert_close(env.qpos[1], env._start_pose[1].float())  # where it does not blow up again
        assert env._physics.qvel[1].eq(0).all()
        env.reset(options={"reset_mask": terminated})
    following = env.step(actions[2])
    assert all(tensor.isfinite().all() for tensor in following[:2])
    assert env.unstable.tolist() == [0, 1, 0]


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", pytest.param("HumanoidStandup-v5", marks=pytest.mark.long)])
def test_the_solver_s_limit_changes_no_bit(env_id, monkeypatch):
    limited = make(env_id)
    monkeypatch.setattr(warp_module, "MOST_ITERATIONS", 100)
    free = make(env_id)
    for env in (limited, free):
        env.reset(seed=0)
    assert_equal_results(run(limited, 30), run(free, 30))


def test_contacts_can_be_summed_in_one_order(monkeypatch):
    env = make("Hopper-v5", 2)
    monkeypatch.setenv(DETERMINISTIC, "1")
    ordered = make("Hopper-v5", 2)
    assert (env._physics._model.opt.deterministic, ordered._physics._model.opt.deterministic) == (0, 7)
    for simulator in (env, ordered):
        simulator.reset(seed=0)
    torch.testing.assert_close(run(ordered, 5)[-1][0], run(env, 5)[-1][0], rtol=1e-4, atol=1e-4)


WITH_BOUNDS_CHECKED = """
import sys, torch, warp
warp.config.mode = "debug"
from rlsparse import sim
env = sim.make(sys.argv[1], 3, simulator="warp", device="cpu")
env.reset(seed=0)
high = torch.tensor(env.single_action_space.high)
for _ in range(3):
    env.step((2 * torch.rand(3, len(high)) - 1) * high)
"""


@pytest.mark.long
@pytest.mark.parametrize("env_id", TASKS)
def test_no_kernel_leaves_its_arrays(env_id):
    subprocess.run([sys.executable, "-c", WITH_BOUNDS_CHECKED, env_id], check=True)


def test_what_it_cannot_do_is_refused_in_one_line(monkeypatch):
    with pytest.raises(UnsupportedEnvironment, match=r"CartPole-v1 is not simulated on a GPU, only Ant-v5"):
        make("CartPole-v1")
    with pytest.raises(UsageError, match="Hopper-v5 has no argument gravity"):
        make("Hopper-v5", gravity=1)
    with pytest.raises(UsageError, match="device mps: torch has no such GPU"):
        WarpVectorEnv("Hopper-v5", 1, device="mps")
    with pytest.raises(ResetNeeded):
        make("Hopper-v5").step(torch.zeros(3, 3))
    env = make("Hopper-v5")
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(3, 3\)"):
        env.step(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="must be bool"):
        env.reset(options={"reset_mask": torch.ones(3)})
    with pytest.raises(UsageError, match="3 environments of Hopper-v5 on MuJoCo Warp need"):
        env.set_state(make("Hopper-v5", 2).get_state())


def test_a_model_with_an_unknown_feature_is_refused_by_name(monkeypatch):
    load_model = warp_module.load_model

    def load(task):
        model = load_model(task)
        model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_FWDINV
        return model

    monkeypatch.setattr(warp_module, "load_model", load)
    with pytest.raises(UnsupportedEnvironment, match="MuJoCo Warp cannot simulate Hopper-v5: mjENBL_FWDINV"):
        make("Hopper-v5")


def test_without_the_packages_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    with pytest.raises(UsageError, match=r"needs mujoco_warp: pip install 'rlsparse\[gpu\]'"):
        make("Hopper-v5")
