"""`rlsparse train` with simulator warp, on Warp's CPU device: what it says, what it writes, how it goes on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tape import tape

from rlsparse import loop, train
from rlsparse.advantage.group_relative import RLOO, GroupRelative
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.explore.explorer import MemberExplorer
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.propose import Gaussian
from rlsparse.explore.racing import Racing
from rlsparse.learner.network import ActorCritic
from rlsparse.run import device
from rlsparse.run import session as sessions
from rlsparse.run.device import Machine
from rlsparse.run.recipe import Recipe
from rlsparse.run.stop import StopSignal
from rlsparse.trained import landscape, play

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")

# Warp compiles its kernels, once: in one worker.
pytestmark = pytest.mark.xdist_group("warp")

TINY = [
    *("--env", "InvertedPendulum", "--agent", "ppo-gpu", "--num-envs", "4", "--total-steps", "128", "--num-seeds", "2"),
    *("--policy.actor-hidden", "8", "--policy.critic-hidden", "8", "--eval-episodes", "2", "--run-dir", "run"),
    *("--eval-every", "6"),
]
SLOW = "simulating on the CPU, which takes long with MuJoCo Warp: "


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run `rlsparse train <arguments>`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            train.main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def outcome(folder):
    """All that a run recorded, but how long it took."""
    kept = [
        {name: x for name, x in row.items() if name not in ("seconds", "digest")}
        for row in rows(f"{folder}/progress.csv")
    ]
    return kept, Path(folder, "policy.safetensors").read_bytes()


def versions():
    return json.loads(Path("run/versions.json").read_text())


def test_a_run_without_a_gpu_says_that_it_is_slow_and_notes_where_it_was(run, monkeypatch):
    monkeypatch.setattr(device, "look", lambda: Machine((), "torch 2.10.0+cpu is built without CUDA"))
    code, _, err = run(*TINY)
    assert code == 0
    assert err.splitlines()[0] == f"{SLOW}torch 2.10.0+cpu is built without CUDA"
    noted = versions()
    assert (noted["device"], noted["device_name"], noted["simulator"]) == ("cpu:0", None, "warp")
    assert {"mujoco-warp", "warp-lang"} <= set(noted["packages"])
    assert json.loads(Path("run/status.json").read_text())["state"] == "finished"
    assert all(float(row["return_mean"]) >= 1 for row in rows("run/progress.csv"))


def test_what_was_trained_on_warp_is_played_on_mujoco(run, capsys):
    run(*TINY, "--quiet")
    play.main(["run", "--episodes", "1", "--json"])
    assert json.loads(capsys.readouterr().out)


def test_the_landscape_around_an_update_is_measured_where_it_was_simulated(run, capsys):
    run(*TINY, "--quiet")
    landscape.main(["run", "--episodes", "2", "--samples", "3", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Path("run/landscape-2.png").is_file()


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(run, monkeypatch):
    assert run(*TINY, "--quiet") == (0, "run\n", "")
    asked = []

    def stopped(stop):
        asked.append(1)
        stop.received = 15 * (len(asked) > 60)
        return stop.received != 0

    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "__call__", stopped)
        run(*TINY, "--quiet", "--run-dir", "halves")
    assert rows("halves/progress.csv") != rows("run/progress.csv")
    assert run("--resume", "halves", "--quiet") == (0, "halves\n", "")
    assert outcome("halves") == outcome("run")


SMALL = PPO(epochs=2, minibatches=4)
RECORDED = {
    "ppo": {"algorithm": SMALL},
    "trpo": {"algorithm": TRPO(critic_epochs=2, critic_minibatches=4)},
    "groups": {"algorithm": SMALL, "advantage": GroupRelative(gamma=0.9, group_size=2, unseen=1.0)},
    "gains": {"algorithm": SMALL, "advantage": Submodular()},
}


@pytest.mark.parametrize("parts", RECORDED.values(), ids=RECORDED)
def test_a_run_of_recorded_steps_is_the_plain_one_and_goes_on_exactly_where_it_was(parts, monkeypatch, caplog):
    shape = {"num_seeds": 2, "num_envs": 4, "rollout_length": 12, "total_steps": 480}
    recipe = Recipe(
        env="InvertedPendulum-v5",
        simulator="warp",
        policy=ActorCritic((8,), (8,), log_std_init=1.0),
        **parts,
        **shape,
    )
    plain = sessions.begin(recipe, device.TENSORS_ON_CPU)
    for module in ("learner.learner", "sim.warp"):
        monkeypatch.setattr(f"rlsparse.{module}.recorder", lambda device: tape)
    recorded, resumed = (sessions.begin(recipe, device.TENSORS_ON_CPU) for _ in range(2))

    def both_iterate(runs):
        each = [vars(loop.iterate(recipe, *one).stats) for one in runs]
        for name, x in each[0].items():
            np.testing.assert_array_equal(each[1][name], x, err_msg=name)
        assert_equal(*runs)

    both_iterate([plain, recorded])
    kept = state(*plain)
    for _ in range(2):
        both_iterate([plain, recorded])
    assert (np.isfinite(plain[1].recent_returns).sum(1) > 4).all()  # episodes ended
    for late in (recorded, resumed):  # one that has recorded its steps, and one that has not
        late[0].load_state_dict(kept[0])
        late[0].load_random_state(kept[1])
        late[1].load_state_dict(kept[2])
        for _ in range(2):
            loop.iterate(recipe, *late)
        assert_equal(plain, late)
    assert not caplog.messages  # of recordings that failed
    assert len(recorded[0].recordings) == 2 + isinstance(recipe.algorithm, TRPO)


def test_environments_of_a_group_begin_in_one_state():
    recipe = Recipe("InvertedPendulum-v5", simulator="warp", num_envs=6, advantage=RLOO(group_size=3))
    learner, collector, _ = sessions.begin(recipe, device.TENSORS_ON_CPU)
    starts = []
    for _ in range(2):
        starts += [*collector.obs.reshape(2, 3, -1)]
        collector.restart(learner)
    assert all((start == start[0]).all() for start in starts)
    assert len({start[0].tolist()[0] for start in starts}) == 4


def state(learner, collector, _):
    """All that a run goes on from, copied."""
    copied = ({name: x.copy() for name, x in one.state_dict().items()} for one in (learner, collector))
    arrays, steps = copied
    return arrays, learner.random_state(), steps


def assert_equal(run, other):
    for of_one, of_other in zip(run, other, strict=True):
        for name, x in of_one.state_dict().items():
            np.testing.assert_array_equal(of_other.state_dict()[name], x, err_msg=name)


def test_probing_on_warp_counts_its_steps():
    explore = ExploRLer(num_anchors=2, budget_fraction=1.0, proposal=Gaussian(candidates=3), probe=Racing(duel=2))
    small = {"policy": ActorCritic((8,), (8,)), "algorithm": PPO(epochs=2, minibatches=4)}
    shape = {"num_seeds": 2, "num_envs": 4, "rollout_length": 8}
    recipe = Recipe(env="InvertedPendulum-v5", simulator="warp", explore=explore, **shape, **small)
    learner, collector, explorer = sessions.begin(recipe, device.TENSORS_ON_CPU)
    envs = sessions.single_episodes(recipe, device.TENSORS_ON_CPU)
    explorer = MemberExplorer(explore, learner, envs, 4, recipe.total_steps)
    loop.iterate(recipe, learner, collector, explorer)
    choice = explorer.probe(explorer.due(), lambda: False)
    assert np.isfinite(choice.score).any(1).all()
    assert (choice.steps >= 3 * 4).all()
    np.testing.assert_array_equal(learner.counters.probe, choice.steps)
    np.testing.assert_array_equal(learner.counters.train, [32, 32])


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("Failed to allocate 99 bytes on device 'cuda:0'")],
    ids=["torch", "warp"],
)
def test_memory_that_runs_out_in_training_is_one_line_and_the_run_can_go_on(error, run, monkeypatch):
    iterate = loop.iterate

    def fails(recipe, learner, collector, explorer=None):
        if learner.counters.train[0] >= 64:
            raise error
        return iterate(recipe, learner, collector, explorer)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "iterate", fails)
        code, out, err = run(*TINY, "--device", "cpu", "--quiet")
    message = (
        "cpu:0 has not enough memory for 2 seeds of 4 environments with rollouts of 16 steps: use fewer --num-envs or "
        "--num-seeds, or a shorter --rollout-length; if another program filled it, go on with: rlsparse train "
        "--resume run"
    )
    assert (code, out, err) == (1, "", f"rlsparse: {message}\n")
    status = json.loads(Path("run/status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", message)
    assert run("--resume", "run", "--quiet") == (0, "run\n", "")


def test_memory_that_runs_out_when_environments_are_made_is_told_too(run, monkeypatch):
    def fails(*_):
        raise RuntimeError("Failed to allocate 99 bytes on device 'cuda:0'")

    monkeypatch.setattr(sessions, "begin", fails)
    code, _, err = run(*TINY, "--device", "cpu", "--quiet")
    assert code == 1
    assert "cpu:0 has not enough memory for 2 seeds of 4 environments" in err
    assert "Traceback" not in err
