"""Environments in processes of their own: results, states and errors of one process, and processes that end badly."""

import logging
import os
import select
import signal
import subprocess
import sys

import fake_envs
import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.error import ResetNeeded

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, UnsupportedEnvironment, UsageError
from rlsparse.sim import workers
from rlsparse.sim.environment import Environment
from rlsparse.sim.processes import Processes, ProcessLost, how_it_ended
from rlsparse.sim.restarts import Restarts
from rlsparse.sim.workers import WorkerVectorEnv, fitting

NUM_ENVS, STEPS = 5, 12
POINT = Environment("fake_envs:Point-v0")
ACTIONS = np.random.default_rng(0).uniform(-2, 2, (STEPS, NUM_ENVS, 1))


@pytest.fixture(scope="module")
def three():
    """Three processes, which begin once."""
    restarts = Restarts(10**6)
    processes = Processes(3, None, restarts.spend)
    processes.restarts = restarts
    WorkerVectorEnv(processes, "fake_envs:Point-v0", 3)
    yield processes
    processes.end()
    assert [process.returncode for process in processes._running] == [0, 0, 0]  # they end by themselves


@pytest.fixture(params=[1, 2, 3])
def processes(request, three):
    """So many of them."""
    three.count = request.param
    yield three
    three.count = 3


def usual(env, **options):
    return sim.make(f"fake_envs:{env}-v0", NUM_ENVS, **options)


def parallel(processes, env, **options):
    return WorkerVectorEnv(processes, f"fake_envs:{env}-v0", NUM_ENVS, **options)


def steps(env, first=0, last=STEPS):
    return [env.step(ACTIONS[t]) for t in range(first, last)]


def assert_equal(one, other):
    """Results of environments, nested in any way, are the same bits and types."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for x, y in zip(one, other, strict=True):
            assert_equal(x, y)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_equal(one.tolist(), other.tolist())
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert one == other


def training(env):
    """All that a batch which resets itself gives."""
    mask = np.array([True, False, False, False, True])
    results = [env.reset(seed=[3, 1, 4, 1, 5]), steps(env), env.reset(options={"reset_mask": mask})]
    results += [env.reset(), steps(env, 3, 6), env.snapshots(), env.get_state()]
    results += [env.restore(4, env.snapshots()[1], ACTIONS[:2, 1]), steps(env, 6), env.reset(seed=8)]
    return results


def scoring(env):
    """All that a batch which stands still at the end of episodes gives."""
    results = [env.reset(seed=7), steps(env, 0, 2)]
    env.halt(np.array([False, True, False, False, True]))
    results += [steps(env, 2), env.reset(options={"reset_mask": np.arange(5) == 2}), steps(env, 2, 4), env.get_state()]
    results += [env.restore(4, env.snapshots()[0], ACTIONS[:2, 0]), steps(env, 0, 2)]
    return results


# Results


def test_training_is_the_same_in_any_number_of_processes(processes):
    assert_equal(training(parallel(processes, "Point")), training(usual("Point")))


def test_scored_episodes_are_the_same_in_any_number_of_processes(processes):
    assert_equal(scoring(parallel(processes, "Point", autoreset=False)), scoring(usual("Point", autoreset=False)))


def test_they_are_what_one_process_says_they_are(processes):
    ours, theirs = parallel(processes, "Point"), usual("Point")
    assert ours.spec.id == theirs.spec.id
    assert ours.spec.max_episode_steps == 5
    for name in ("metadata", "single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_a_saved_state_goes_on_in_another_number_of_processes(processes):
    env, alone = parallel(processes, "Point"), usual("Point")
    env.reset(seed=2)
    steps(env, 0, 7)
    state, expected = env.get_state(), steps(env, 7)
    alone.set_state(state)
    assert_equal(steps(alone, 7), expected)
    processes.count = 4 - processes.count
    fresh = parallel(processes, "Point")
    fresh.set_state(state)
    assert_equal(fresh.get_state(), state)
    assert_equal(steps(fresh, 7), expected)


def test_numbers_of_the_task_change_as_in_one_process(three):
    """From each environment's next episode on; a state goes from processes to one process and back."""
    env = WorkerVectorEnv(three, "Pendulum-v1", NUM_ENVS)
    one = sim.make("Pendulum-v1", NUM_ENVS)
    values = {"max_torque": np.linspace(0.5, 1.5, NUM_ENVS)[:, None]}
    for each in (env, one):
        each.reset(seed=3)
        each.set_task(values)
        steps(each)
        each.reset(options={"reset_mask": np.arange(NUM_ENVS) % 2 == 0})
    assert env.task_numbers() == one.task_numbers()
    assert_equal(env.get_state(), one.get_state())
    assert_equal(steps(env), steps(one))
    again = WorkerVectorEnv(three, "Pendulum-v1", NUM_ENVS)
    again.set_state(one.get_state())
    assert_equal(steps(again), steps(one))


def test_a_state_of_other_environments_is_refused(three):
    env = usual("Point")
    env.reset(seed=0)
    with pytest.raises(UsageError, match=r"observations of shape \(5, 2\), but 3 environments of .* have \(3, 2\)"):
        WorkerVectorEnv(three, "fake_envs:Point-v0", 3).set_state(env.get_state())


def test_arrays_belong_to_the_caller(three):
    env = parallel(three, "Point", autoreset=False)
    env.reset(seed=0)[0][:] = np.nan
    for array in env.step(ACTIONS[0])[:4]:
        array[:] = 1
    assert np.isfinite(env.reset(options={"reset_mask": np.arange(5) == 0})[0]).all()
    assert not env.step(ACTIONS[1])[3].any()


def test_misuse_is_told_as_usual(three):
    env = parallel(three, "Point")
    with pytest.raises(ResetNeeded):
        env.step(ACTIONS[0])
    with pytest.raises(ResetNeeded):
        env.reset(options={"reset_mask": np.arange(5) < 4})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected \(5, 1\)"):
        env.step(ACTIONS[0, :3])


# Errors


def error_of(call):
    with pytest.raises((EnvironmentFailure, UsageError)) as caught:
        call()
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("env", ["Flaky", "Panics", "Nothing", "Unbuildable", "Discrete", "Picture", "BadReward"])
def test_errors_are_those_of_one_process(env, processes):
    def run(make, **options):
        batch = make(seeds=(7,), **options)
        batch.reset(seed=3)
        steps(batch)

    one = error_of(lambda: run(lambda **o: usual(env, **o)))
    assert error_of(lambda: run(lambda **o: parallel(processes, env, **o))) == one
    assert one[0] in (EnvironmentFailure, UnsupportedEnvironment, UsageError)
    assert_equal(training(parallel(processes, "Point")), training(usual("Point")))  # and they go on


def test_restarts_are_those_of_one_process(processes, caplog):
    """All processes share them."""
    make = sim.maker("fake_envs:Flaky-v0", "mujoco", "cpu", 10**6)
    one = make(NUM_ENVS, seeds=(7,))
    expected, expected_log = training(one), caplog.messages
    caplog.clear()
    processes.restarts.used = 0
    env = parallel(processes, "Flaky", seeds=(7,), restarts=processes.restarts)
    assert_equal(training(env), expected)
    assert caplog.messages == expected_log
    assert_equal(env.metrics(), one.metrics())
    assert env.metrics()["env_restarts"] > 1


def test_the_last_restart_is_spent_once(three, monkeypatch):
    used = []
    for make in (usual, lambda env, **o: parallel(three, env, restarts=three.restarts, **o)):
        monkeypatch.setattr(three.restarts, "most", 1)
        monkeypatch.setattr(three.restarts, "used", 0)
        env = sim.maker("fake_envs:Flaky-v0", "mujoco", "cpu", 1)(NUM_ENVS) if make is usual else make("Flaky")
        env.reset(seed=3)
        used.append(error_of(lambda env=env: steps(env)))
    assert used[0] == used[1]
    assert used[0][1].endswith("--env-restarts 1 are used up")


def test_what_environments_log_and_warn_of_reaches_the_parent_once(three, caplog, recwarn):
    env = parallel(three, "Talking")
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.arange(NUM_ENVS) == 4})
    assert caplog.record_tuples == [("a.robot", logging.WARNING, "the battery is low")] * 2
    assert [str(w.message) for w in recwarn] == ["the arm is old"]


# Processes


def test_a_process_holds_no_torch_and_one_thread_for_blas(three):
    found = three.call(three.new_key(), fake_envs.surroundings, {0: ()}, str)[0]
    assert "torch" not in found["modules"]
    assert found["flags"] == tuple(sys.flags)
    assert found["threads"] == os.environ.get("OMP_NUM_THREADS", "1")


def test_signals_for_the_whole_run_do_not_end_a_process(three):
    """Ctrl-C and a scheduler's signals go to all; programs that an environment starts can still be ended by them."""
    key, signals = three.new_key(), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
    for _ in range(2):
        assert not any(*three.call(key, fake_envs.signalled, {1: signals}, str))


def test_a_process_that_is_killed_is_told_and_nothing_goes_on(monkeypatch):
    monkeypatch.setenv("SIGNALS", "SIGKILL@2")
    make = sim.maker("fake_envs:Signalled-v0", "mujoco", "cpu", workers=2)
    env, other = make(4, seeds=(5, 6)), make(2)
    env.reset(seed=0)
    env.step(ACTIONS[0, :4])
    how = "was killed by SIGKILL, as for want of memory, in step"
    told = rf"^fake_envs:Signalled-v0: the process of seed 5, environment 0 to 1 {how}$"
    with pytest.raises(ProcessLost, match=told):
        env.step(ACTIONS[1, :4])
    with pytest.raises(ProcessLost, match=told):
        other.reset(seed=0)
    env.close()
    assert ProcessLost.exit_code == 3


@pytest.mark.parametrize("timeout", [None, 0.1])
def test_one_that_is_killed_is_told_though_a_process_of_its_environment_lives_on(timeout, tmp_path, monkeypatch):
    monkeypatch.setenv("LEFT", str(tmp_path / "left"))
    monkeypatch.setattr("rlsparse.sim.processes.PATIENCE", 0.2)
    env = alone("Forking", timeout, 1)
    try:
        with pytest.raises(ProcessLost, match="of seed 3, environment 0 was killed by SIGKILL"):
            env.step(np.zeros((1, 1)))
    finally:
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


def test_what_an_environment_has_registered_for_the_end_of_the_interpreter_is_called(tmp_path, monkeypatch):
    monkeypatch.setenv("LEFT", str(tmp_path / "left"))
    env = alone("Leaving", None, 1)
    env._processes.end()
    assert (tmp_path / "left").exists()


@pytest.mark.parametrize(
    ("command", "told"), [("exit 7", "ended with exit code 7"), ("kill -SEGV $$", "was killed by SIGSEGV")]
)
def test_how_a_process_ended_is_told(command, told):
    assert how_it_ended(subprocess.Popen(["sh", "-c", command])) == told


def alone(env, timeout, num_envs):
    """So many environments in a process of their own, after their reset."""
    env = WorkerVectorEnv(Processes(1, timeout, print), f"fake_envs:{env}-v0", num_envs, seeds=(3,))
    env.reset(seed=0)
    return env


def test_a_call_that_takes_too_long_is_told_as_in_one_process():
    env = alone("Hanging", 0.2, 4)
    with pytest.raises(ProcessLost, match=r"^fake_envs:Hanging-v0: seed 3, environment 3 hangs in step 3 after reset"):
        [env.step(np.zeros((4, 1))) for _ in range(3)]


def test_compiled_code_that_never_comes_back_is_told_too():
    env = alone("Frozen", 0.1, 2)
    with pytest.raises(ProcessLost, match="of seed 3, environment 0 to 1 hangs in step: in compiled code, far longer"):
        env.step(np.zeros((2, 1)))


SCRIPT = """
import os, sys, numpy as np, gymnasium
from rlsparse import sim
from rlsparse.sim.user_classes import entry_of
from rlsparse.sim.workers import WorkerVectorEnv

class Mine(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    def reset(self, *, seed=None, options=None):
        print("hello")
        return np.array([FIRST], np.float32), {}
    def step(self, action):
        return np.zeros(1, np.float32), float(os.getpid()), False, False, {}

FIRST = 0.5
gymnasium.register("Mine-v0", Mine)
make = sim.maker("Mine-v0", "mujoco", "cpu", workers=2)
env, processes = make(2), make.args[0]
gymnasium.register("Again-v0", "__main__:Mine")
for each in (env, *(WorkerVectorEnv(processes, env_id, 2) for env_id in (entry_of(Mine), "Again-v0"))):
    assert each.reset(seed=0)[0].tolist() == [[0.5], [0.5]]
print(*map(int, env.step(np.zeros((2, 1)))[1]), flush=True)
sys.stdin.read()
"""


def test_a_script_with_its_own_class_needs_no_main_guard_and_killed_leaves_no_process_behind(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    script = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=tiny.environment(), **pipes)
    pids = [int(pid) for pid in script.stdout.readline().split()]
    assert len({script.pid, *pids}) == 3
    handles = [os.pidfd_open(pid) for pid in pids]
    script.kill()
    for handle in handles:
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)
    assert script.communicate()[1] == "hello\n" * 6  # which is what they print, too


def test_what_cannot_travel_is_told(register, monkeypatch):
    env_id = register(gymnasium.Env, lock=select.epoll())
    with pytest.raises(EnvironmentFailure, match=f"^{env_id} cannot be given to other processes, for TypeError: .*"):
        sim.maker(env_id, "mujoco", "cpu", workers=2)(2)


def test_processes_that_cannot_be_started_are_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EnvironmentFailure, match="2 processes for environments cannot be started: .*nowhere"):
        sim.maker("fake_envs:Point-v0", "mujoco", "cpu", workers=2)(2)


# Their number


@pytest.mark.parametrize(
    ("step_seconds", "num_envs", "cores", "expected"),
    [
        (1e-5, 16, 64, 1),  # all steps together take less than two messages
        (1e-3, 1, 64, 1),  # one environment is in one process
        (1e-3, 16, 2, 2),
        (1e-2, 16, 64, 16),
        (1e-2, 10, 8, 5),  # eight would wait for those that hold two
        (1.0, 3, 64, 3),
    ],
)
def test_so_many_processes_as_step_fastest(step_seconds, num_envs, cores, expected):
    assert fitting(step_seconds, num_envs, cores) == expected


def test_the_number_is_measured_and_told(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 4)
    monkeypatch.setattr(workers, "step_seconds", lambda *_: (0.0031, 0.1))
    told = "environments step in 4 processes (3.10 ms a step here); --env-workers changes that"
    assert workers.measured(POINT, 8) == (4, told)
    assert sim.workers_for(POINT, 8, 3) == (3, "")
    assert sim.workers_for(Environment("HalfCheetah-v5"), 8, None) == (1, "")


def test_cores_that_others_keep_busy_are_left_to_them(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    for waited, expected in ((0.0, 8), (0.5, 4), (0.99, 1)):
        monkeypatch.setattr(workers, "step_seconds", lambda *_, waited=waited: (0.0031, waited))
        assert workers.measured(POINT, 8)[0] == expected


def test_the_time_of_a_step_is_without_that_of_others(aim, monkeypatch):
    """Half of the time, here, others had the core."""
    seconds = iter(np.arange(0.0, 10.0, 0.02))
    monkeypatch.setattr(workers.time, "perf_counter", lambda: next(seconds))
    waits = iter((5.0, 5.13))
    monkeypatch.setattr(workers, "_waited_for_a_core", lambda: next(waits))
    assert workers.step_seconds(Environment(aim), 8) == pytest.approx((0.01, 0.5))


def test_cheap_environments_stay_where_they_are_after_few_steps(aim, monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 64)
    monkeypatch.setattr(workers, "MESSAGE_SECONDS", 1.0)
    assert workers.measured(Environment(aim), 8) == (1, "")
    assert gymnasium.spec(aim).entry_point.steps == workers.MEASURED_STEPS + 1


def test_measuring_moves_no_random_stream_and_fails_nothing(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 64)
    np.random.seed(0)  # noqa: NPY002 - the stream of others
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    for env in ("Point", "Unbuildable", "Flaky"):
        assert workers.measured(Environment(f"fake_envs:{env}-v0"), 8)[0] >= 1
    assert np.random.random() == expected  # noqa: NPY002


def test_the_class_of_a_file_is_made_though_this_process_has_not_imported_it(tmp_path):
    (tmp_path / "own.py").write_text("import fake_envs\n\nclass Own(fake_envs.Point):\n    pass\n")
    env = WorkerVectorEnv(ended := Processes(1, None, print), f"{tmp_path / 'own.py'}:Own", 2)
    assert env.reset(seed=0)[0].shape == (2, 2)
    ended.end()
