"""Probes whose episodes Ray's workers run: the same run, though workers are lost; refusals; and Ray itself (long)."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
from dataclasses import replace

import pytest
import tiny
from fake_ray import FakeRay

import rlsparse
from rlsparse.errors import DivergenceError, Interrupted, UsageError
from rlsparse.explore import ray_connection, ray_workers
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.parts import PartedEpisodes
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian
from rlsparse.explore.racing import Racing
from rlsparse.explore.ray_workers import WorkersLost, on_ray
from rlsparse.explore.surrogate import Surrogate
from rlsparse.run import directory
from rlsparse.run.status import Settings

RACE = ExploRLer(
    Gaussian(candidates=5), Racing((1, 2), 0.4, 3, accept="always"), num_anchors=2, budget_fraction=0.75, finish=False
)
RECIPE = tiny.recipe(env="fake_envs:Steady-v0", total_steps=600, num_seeds=2, explore=RACE, algorithm=tiny.fast())
"""Probes of three calls each."""


@pytest.fixture
def use(monkeypatch):
    """Let Ray be another one."""

    def use(ray):
        monkeypatch.setattr(ray_connection, "check", lambda: ray)
        monkeypatch.setattr(ray_connection, "connect", lambda: ray)
        return ray

    return use


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What the run comes to in one process."""
    return tiny.outcome(tiny.train(tmp_path_factory.mktemp("here") / "run", RECIPE))


def on_workers(run_dir, recipe=RECIPE, stop=tiny.never):
    session = tiny.begin(run_dir, recipe)
    session.explorer.run_episodes = on_ray(recipe, "cpu", None)
    tiny.go_on(session, stop)
    return run_dir


# The same run


@pytest.mark.parametrize("cores", [1, 2, 5, 64])
def test_a_run_is_the_same_whoever_runs_its_probes(use, here, cores, tmp_path):
    ray = use(FakeRay(cores))
    assert tiny.outcome(on_workers(tmp_path / "run")) == here
    episodes = RECIPE.num_seeds * RACE.width  # no more workers than episodes at once
    assert len(ray.made) == min(cores, episodes) and {worker for worker, _ in ray.ran} == {*range(len(ray.made))}


def test_a_probe_with_noise_is_the_same(use, tmp_path):
    use(FakeRay(3))
    noisy = replace(RACE, probe=Episodes(2, "always", stochastic=True), search_log_std=True)
    recipe = replace(RECIPE, explore=noisy)
    theirs = tiny.outcome(tiny.train(tmp_path / "here", recipe))
    assert tiny.outcome(on_workers(tmp_path / "there", recipe)) == theirs


def test_what_a_lost_worker_had_to_do_is_done_again_and_counted_once(use, here, tmp_path, caplog):
    """Each of the first workers is lost with its third part; what takes their place stays."""
    done = dict.fromkeys(range(4), 0)

    def loses(worker, part):
        if part is None or worker not in done:
            return False
        done[worker] += 1
        return done[worker] == 3

    ray = use(FakeRay(4, loses))
    assert tiny.outcome(on_workers(tmp_path / "run")) == here
    assert len(ray.made) == 8 and [worker.number for worker in ray.killed][:4] == [0, 1, 2, 3]
    assert (
        caplog.messages[0]
        == "a worker of Ray was lost (OSError: it has no memory left); what it had to do is done again"
    )


def test_workers_that_were_lost_while_nobody_asked_them_are_replaced(use, here, tmp_path):
    lost = {1, 2}
    use(FakeRay(3, lambda worker, part: part is None and worker in lost and not lost.discard(worker)))
    assert tiny.outcome(on_workers(tmp_path / "run")) == here


def test_a_run_goes_on_here_and_there(use, here, tmp_path):
    """It stops in its third probe, on workers, and goes on in this process."""
    ray = use(FakeRay(2))
    with pytest.raises(Interrupted):
        on_workers(tmp_path / "run", stop=lambda: len(ray.ran) > 15)
    assert ray.killed  # what they were busy with is of no use to anybody
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == here


# What cannot go on


def test_episodes_that_end_every_worker_end_the_run(use, tmp_path):
    ray = use(FakeRay(2, lambda worker, part: part is not None and part.first == 0))
    with pytest.raises(WorkersLost, match="4 workers were lost with the same episodes.*--explore.workers here"):
        on_workers(tmp_path / "run")
    assert len(ray.made) == 6 and WorkersLost.exit_code == 3


def test_workers_that_cannot_begin_any_more_are_not_replaced_for_ever(use, tmp_path):
    begun = []
    use(FakeRay(3, lambda worker, part: part is None and (begun.append(worker) or len(begun) > 1)))
    with pytest.raises(WorkersLost, match="no worker is left"):
        on_workers(tmp_path / "run")
    assert len(begun) < 20


def test_what_a_worker_raises_is_raised_here(use, tmp_path):
    for raised, error, told in (
        (DivergenceError("too large"), DivergenceError, "^too large$"),
        (KeyError("a"), WorkersLost, "a worker fails with KeyError: 'a'"),
    ):
        use(FakeRay(2, raises=raised))
        with pytest.raises(error, match=told):
            on_workers(tmp_path / type(raised).__name__)


OTHER = {"mujoco": "2.0"}


def test_workers_that_compute_otherwise_are_left_out(use, here, tmp_path, caplog):
    ray = use(FakeRay(3, kinds=[{}, OTHER, {}]))
    assert tiny.outcome(on_workers(tmp_path / "run")) == here
    assert {worker for worker, _ in ray.ran} == {0, 2}
    assert len(caplog.messages) == 1 and "a worker's mujoco is 2.0, and " in caplog.text


def test_no_run_begins_with_workers_that_cannot_serve_it(use):
    cases = {
        "a worker's mujoco is 2.0": FakeRay(kinds=[OTHER]),
        "no worker can begin: OSError: it has no memory left": FakeRay(loses=lambda *_: True),
    }
    for told, ray in cases.items():
        use(ray)
        with pytest.raises(UsageError, match=told):
            on_ray(RECIPE, "cpu", None)


REFUSED = {
    "--simulator warp does not give: use --simulator mujoco": (replace(RECIPE, simulator="warp"), "cpu"),
    "--explore.probe surrogate runs none": (replace(RECIPE, explore=replace(RACE, probe=Surrogate())), "cpu"),
    "it needs --explore": (replace(RECIPE, explore=None), "cpu"),
    "--device cuda:0 has other last digits": (RECIPE, "cuda:0"),
    "--env-restarts are counted in one process": (replace(RECIPE, env_restarts=3), "cpu"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_workers_cannot_do_is_refused_with_the_reason(told, use):
    use(FakeRay())
    with pytest.raises(UsageError, match=f"--explore.workers ray.*{told}"):
        ray_workers.check(*REFUSED[told])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_told_at_once(address, monkeypatch):
    monkeypatch.setattr(ray_connection, "import_extra", lambda *_: FakeRay)
    monkeypatch.setattr(FakeRay, "init", None, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=f"no Ray answers at RAY_ADDRESS {address}.*refused"):
        ray_connection.check()


def test_without_ray_it_says_what_to_install(monkeypatch):
    """A folder of that name, which Python takes for a package, is none."""
    for name, found in (("a folder", types.ModuleType("ray")), ("nothing", None)):
        monkeypatch.setitem(sys.modules, "ray", found)
        with pytest.raises(UsageError, match=r"^--explore.workers ray needs ray: pip install 'rlsparse\[ray\]'$"):
            ray_connection.check()
            pytest.fail(name)


def test_workers_end_with_their_run_but_never_begin_ray_anew_for_that(use):
    for begun in (True, False):
        ray = use(FakeRay(2))
        runner = on_ray(RECIPE, "cpu", None)
        assert len(ray.made) == 1 and not ray.killed
        ray.begun = begun
        del runner
        gc.collect()
        assert len(ray.killed) == begun


# As a setting of a run


def test_it_is_no_part_of_the_recipe_and_a_resumed_run_keeps_it(tmp_path):
    run = directory.create(RECIPE, "ppo", tmp_path, tmp_path / "run", "cpu", Settings(explore_workers="ray"))
    run.write_status("interrupted", 0)
    run.release()
    assert "workers" not in (tmp_path / "run" / "recipe.toml").read_text()
    again, recipe, _, _ = directory.reopen(tmp_path / "run")
    again.release()
    assert recipe == RECIPE and again.settings.explore_workers == "ray"


def test_without_ray_a_run_goes_on_here_if_it_is_told_to(here, tmp_path, monkeypatch):
    """Else it is refused, and stays as it is."""
    run = directory.create(RECIPE, "ppo", tmp_path, tmp_path / "run", "cpu", Settings(explore_workers="ray"))
    run.write_status("interrupted", 0)
    run.release()
    monkeypatch.setitem(sys.modules, "ray", None)
    before = (tmp_path / "run" / "status.json").read_bytes()
    with pytest.raises(UsageError, match="pip install"):
        rlsparse.train(resume=tmp_path / "run", trust=True)
    assert (tmp_path / "run" / "status.json").read_bytes() == before
    rlsparse.train(resume=tmp_path / "run", trust=True, explore_workers="here")
    assert tiny.outcome(tmp_path / "run") == here


def test_python_code_says_it_as_the_command_does(tmp_path, use):
    with pytest.raises(UsageError, match="explore_workers is 'rya': expected one of here, ray"):
        rlsparse.train("Hopper", explore_workers="rya")
    use(FakeRay(2))
    small = {"total_steps": 3000, "rollout_length": 32, "num_envs": 2, "eval_episodes": 1, "eval_every": 3000}
    explore = {"start": 0.5, "num_anchors": 2}
    run = rlsparse.train(
        "Pendulum", agent="explorler-ppo", run_dir=tmp_path / "run", explore_workers="ray", explore=explore, **small
    )
    assert json.loads((run.path / "status.json").read_text())["explore_workers"] == "ray"


# Ray itself


@pytest.fixture
def ray(monkeypatch):
    """A Ray of this test's own."""
    ray = pytest.importorskip("ray", reason="needs pip install 'rlsparse[ray]'")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    yield ray
    ray.shutdown()


SHORT = tiny.recipe(
    total_steps=20_000, num_seeds=2, explore=RACE, eval_every=10_000, env_kwargs={"max_episode_steps": 50}
)


@pytest.mark.long
@pytest.mark.parametrize("env", ["Pendulum-v1", "Hopper-v5"])
def test_on_ray_a_run_is_the_same_though_a_worker_is_killed(ray, env, tmp_path, caplog):
    recipe = replace(SHORT, env=env)
    theirs = tiny.outcome(tiny.train(tmp_path / "here", recipe))
    session = tiny.begin(tmp_path / "there", recipe)
    made = on_ray(recipe, "cpu", None)
    workers, killed = made.args[0], []

    def kill():
        while len(workers._actors) < 2:
            time.sleep(0.1)
        process = ray.get(workers._actors[1].__ray_call__.remote(lambda self: os.getpid()))
        os.kill(process, signal.SIGKILL)
        killed.append(process)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()

    def run_episodes(*arguments):
        if len(workers._actors) > 1:  # else the last probe may be over before a worker is there to be killed
            killer.join(60)
        return made(*arguments)

    session.explorer.run_episodes = run_episodes
    assert isinstance(made(*[None] * 2, [[1]], session.learner.counters.train[:1]), PartedEpisodes)
    tiny.go_on(session)
    assert killed and "a worker of Ray was lost" in caplog.text
    assert tiny.outcome(tmp_path / "there") == theirs


@pytest.mark.long
def test_on_ray_the_command_stops_and_goes_on(ray, tmp_path):
    flags = ["--env", "Hopper", "--agent", "explorler-ppo", "--total-steps", "12000", "--explore.start", "0.5"]
    flags += [
        "--num-envs",
        "2",
        "--eval-every",
        "1000",
        "--eval-episodes",
        "2",
        "--env-kwargs.max-episode-steps",
        "100",
    ]
    flags += ["--explore.workers", "ray", "--num-seeds", "2", "--quiet"]
    whole = tiny.command(*flags, "--run-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "rlsparse.train", *flags, "--run-dir", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, env=tiny.environment(), stderr=subprocess.PIPE)
    while not (tmp_path / "run" / "probe.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    again = tiny.command("--resume", "run", "--quiet", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert tiny.outcome(tmp_path / "run") == tiny.outcome(tmp_path / "whole")
