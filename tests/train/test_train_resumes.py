"""Runs that are stopped, and go on."""

import json
import re
import shutil
from pathlib import Path

import pytest
import tiny
from train_runs import interrupt

from rlsparse import loop
from rlsparse.run import device
from rlsparse.run.reading import read_json, seal


def test_an_interrupted_run_says_how_to_go_on_and_its_directory_last(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        code, out, err = run(*tiny.FLAGS, "--run-dir", "my run")
    assert code == 143
    assert out.splitlines()[-1] == "my run"
    assert (
        err.splitlines()[-1]
        == "stopped at 32 steps; go on with: rlsparse train --resume 'my run' --env fake_envs:Point-v0"
    )
    code, out, err = run("--resume", "my run")
    assert (code, out.splitlines()[-1]) == (0, "my run")
    assert err.splitlines()[0] == "resuming my run at 32 steps"


def test_a_resumed_process_is_prepared_as_the_first_was(run, monkeypatch):
    prepared, prepare = [], device.prepare
    monkeypatch.setattr(device, "prepare", lambda where: prepared.append(where) or prepare(where))
    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS, "--run-dir", "run")
    run("--resume", "run")
    assert prepared == ["cpu", "cpu"]


def test_an_interrupted_run_says_so_in_json(run, monkeypatch):
    interrupt(monkeypatch)
    _, out, _ = run(*tiny.FLAGS, "--json")
    assert json.loads(out) == {"state": "interrupted", "total_steps": 32, "run_dir": "run"}


def test_a_run_begun_on_a_gpu_goes_on_elsewhere_only_if_told_to(run, monkeypatch):
    import torch

    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS)
    versions = Path("run/versions.json")
    versions.write_text(seal({**read_json(versions), "device": "cuda"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, error = run("--resume", "run")
    assert (code, out) == (2, "")
    assert re.fullmatch("rlsparse: --device cuda: torch .*; or use --device cpu\n", error)
    assert run("--resume", "run", "--device", "cpu", "--quiet") == (0, "run\n", "")


def test_a_finished_run_says_so_and_is_no_error(run):
    run(*tiny.FLAGS)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert run("--resume", "run") == (0, "run\n", "run is finished: nothing is left to do\n")
    _, out, _ = run("--resume", "run", "--json", "--quiet")
    assert json.loads(out)["run_dir"] == "run"
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_of_runs_goes_on_with_the_newest_and_one_that_is_finished_names_another(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS, "--run-dir", "runs/stopped")
    run(*tiny.FLAGS, "--run-dir", "runs/later", "--quiet")
    for name, begun in (("stopped", "2026-11-20T12:00:00"), ("later", "2026-11-20T12:00:01")):
        versions = Path("runs", name, "versions.json")
        versions.write_text(seal({**read_json(versions), "started": begun}))
    code, out, err = run("--resume", "runs", env="fake_envs:Point-v0")
    assert (code, out) == (0, "runs/later\n")
    assert err.splitlines() == [
        "runs: taking its newest run, runs/later",
        "runs/later is finished: nothing is left to do; the newest run in runs that is not: runs/stopped",
    ]
    shutil.rmtree("runs/later")
    assert run("--resume", "runs", "--quiet", env="fake_envs:Point-v0")[:2] == (0, "runs/stopped\n")


def test_what_a_finished_run_lacks_is_made_good(run, pictures):
    run(*tiny.FLAGS)
    for name in ("policy.safetensors", "progress.csv", "curve.png", "summary.json"):
        before = Path("run", name).read_bytes()
        Path("run", name).unlink()
        assert run("--resume", "run", "--quiet") == (0, "run\n", ""), name
        assert Path("run", name).exists()
        if name != "summary.json":  # which tells the seconds
            assert Path("run", name).read_bytes() == before, name


def test_a_run_that_stopped_before_its_first_checkpoint_begins_anew(run):
    run(*tiny.FLAGS, "--quiet")
    before = tiny.outcome(Path("run"))
    shutil.rmtree("run/checkpoint")
    Path("run/status.json").write_text('{"state": "running"}')
    code, _, err = run("--resume", "run", "--quiet")
    assert (code, err) == (
        4,
        "rlsparse: run has a policy but no checkpoint any more: there is nothing to go on from\n",
    )
    Path("run/policy.safetensors").unlink()  # the checkpoint is written before it
    assert run("--resume", "run", "--quiet") == (0, "run\n", "")
    assert tiny.outcome(Path("run")) == before


def test_a_run_killed_while_finishing_is_finished_by_resume(run):
    run(*tiny.FLAGS)
    before = tiny.outcome(Path("run"))
    Path("run/status.json").write_text('{"state": "running", "total_steps": 96}')
    Path("run/curve.png").unlink()
    code, out, _ = run("--resume", "run", "--quiet")
    assert (code, out) == (0, "run\n")
    assert Path("run/curve.png").is_file()
    assert tiny.outcome(Path("run")) == before


def test_a_run_with_no_whole_checkpoint_says_which_file_is_damaged(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS)
    for file in Path("run/checkpoint").rglob("collector.safetensors"):
        file.write_bytes(b"cut")
    code, out, err = run("--resume", "run")
    assert (code, out) == (4, "")
    assert "run/checkpoint/32/collector.safetensors is damaged" in err
    assert err.count("\n") == 1


def test_a_resumed_run_keeps_as_many_checkpoints_as_it_began_with_or_as_it_is_told(run, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_INTERVAL", -1)
    with monkeypatch.context() as patch:
        interrupt(patch)
        assert run(*tiny.FLAGS, "--quiet", "--keep-checkpoints", 4)[0] == 143

    def kept():
        return sorted(int(path.name) for path in Path("run/checkpoint").iterdir())

    shutil.copytree("run", "other")
    assert run("--resume", "run", "--quiet")[0] == 0
    assert kept() == [32, 64, 80, 96]
    assert run("--resume", "other", "--quiet", "--keep-checkpoints", 2)[0] == 0
    assert len(list(Path("other/checkpoint").iterdir())) == 2


def test_checkpoints_at_every_so_many_steps_stay_however_the_run_is_stopped_and_change_nothing(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS, "--quiet", "--checkpoint-every", 20)
    assert run("--resume", "run", "--quiet")[0] == 0
    run(*tiny.FLAGS, "--quiet", "--run-dir", "whole", "--checkpoint-every", 20)
    run(*tiny.FLAGS, "--quiet", "--run-dir", "plain")
    found = [
        sorted(int(path.name) for path in Path(name, "checkpoint").iterdir()) for name in ("run", "whole", "plain")
    ]
    assert found == [[32, 48, 64, 80, 96], [32, 48, 64, 80, 96], [64, 96]]
    assert tiny.outcome(Path("run")) == tiny.outcome(Path("whole")) == tiny.outcome(Path("plain"))


def test_checkpoints_that_would_fill_the_disk_are_told_before_the_run(run, caplog):
    wide = ("--policy.actor-hidden", 4000, 4000, "--algorithm.minibatches", 4)
    run(*tiny.FLAGS, *wide, "--dry-run", "--total-steps", 960, "--checkpoint-every", 100)
    told = re.search(r"up to 11 checkpoints of about (\S+) MB each stay, (\S+) GB on the disk", caplog.text)
    weights = 2 * 4000 + 4000 * 4000 + 4000  # four times four bytes each: its value, two moments, the best so far
    assert float(told[1]) == pytest.approx(16 * weights / 1e6, rel=0.002)
    assert float(told[2]) == round(11 * float(told[1]) / 1000, 1)
    assert run(*tiny.FLAGS, "--dry-run", "--checkpoint-every", 0)[0] == 2


@pytest.mark.parametrize("command", [tiny.FLAGS, ("--resume", "run")], ids=["new", "resumed"])
def test_fewer_checkpoints_than_two_and_very_many_are_refused(command, run):
    run(*tiny.FLAGS, "--quiet")
    where = () if "--resume" in command else ("--run-dir", "other")
    for number in (1, 10_001):
        code, _, err = run(*command, *where, "--keep-checkpoints", number)
        assert (code, err) == (2, f"rlsparse: --keep-checkpoints is {number}: expected a number from 2 to 10,000\n")
