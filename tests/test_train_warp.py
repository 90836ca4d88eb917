"""`rlsparse train` with simulator warp, on Warp's CPU device: what it says, what it writes, how it goes on."""

import json
from pathlib import Path

import pytest
import torch

from rlsparse import device, loop, train
from rlsparse.device import Machine

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")

# Warp compiles its kernels, once: in one worker.
pytestmark = pytest.mark.xdist_group("warp")

TINY = [
    *("--env", "InvertedPendulum", "--agent", "ppo-gpu", "--num-envs", "4", "--total-steps", "128", "--num-seeds", "2"),
    *("--policy.actor-hidden", "8", "--policy.critic-hidden", "8", "--eval-episodes", "2", "--run-dir", "run"),
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
    def fails(recipe, device):
        raise RuntimeError("Failed to allocate 99 bytes on device 'cuda:0'")

    monkeypatch.setattr(loop, "begin", fails)
    code, _, err = run(*TINY, "--device", "cpu", "--quiet")
    assert code == 1
    assert "cpu:0 has not enough memory for 2 seeds of 4 environments" in err
    assert "Traceback" not in err
