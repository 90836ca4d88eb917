"""A run that was stopped, however and whenever, and resumed equals the run that was not, bit for bit."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse import loop, train
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.errors import Interrupted, RunDirectoryError
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.run import checkpoint, policy_file
from rlsparse.run import directory as runs
from rlsparse.run.reading import read_json, seal
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import RigL

HOPPER = tiny.recipe(env="Hopper-v5", num_seeds=2, total_steps=320, num_envs=2, rollout_length=32, eval_every=128)
"""The batched simulator, with episodes that end in every rollout."""

SPARSE = replace(HOPPER, sparse=Sparse(0.5, rule=RigL(every=1, end=1.0), max_kl=1e-3))
NESTED = replace(HOPPER, sparse=Sparse(0.5, rule=AST(start=0.0, end=1.0)))
DUAL_PATH = replace(HOPPER, sparse=Sparse(0.5, rule=DCIL(start=0.0, end=1.0)))

TRUST = replace(SPARSE, algorithm=TRPO(critic_epochs=2, critic_minibatches=4, fisher_subsample=2))

AHEAD = replace(SPARSE, algorithm=NPGIGT(critic_epochs=2, critic_minibatches=4))
BETWEEN = replace(SPARSE, algorithm=NHARPG(critic_epochs=2, critic_minibatches=4, second_length=7))

DIFFGRAD = replace(SPARSE, algorithm=replace(SPARSE.algorithm, optimiser="diffgrad"))

PENDULUM = tiny.recipe(env="Pendulum-v1", num_seeds=2, total_steps=640, num_envs=2, rollout_length=64, eval_every=256)
"""One Gymnasium environment after the other, with episodes of 200 steps."""


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def point_run(tmp_path_factory):
    """The uninterrupted run that tiny.RECIPE gives."""
    return tiny.outcome(tiny.train(tmp_path_factory.mktemp("reference") / "run"))


def keep_every_checkpoint(monkeypatch, folder):
    """Save after every iteration, and keep the run directory as it is then, as folder/<number>."""
    monkeypatch.setattr(loop, "SAVE_INTERVAL", -1)
    save = checkpoint.save

    def save_and_copy(path, total_steps, contents, *keep):
        save(path, total_steps, contents, *keep)
        shutil.copytree(path.parent, folder / str(len(list(folder.iterdir()))))

    monkeypatch.setattr(checkpoint, "save", save_and_copy)


@pytest.mark.parametrize(
    "recipe",
    [HOPPER, PENDULUM, SPARSE, DUAL_PATH, TRUST, DIFFGRAD, AHEAD, BETWEEN],
    ids=["Hopper", "Pendulum", "sparse", "dual path", "trpo", "diffgrad", "n-pg-igt", "n-harpg"],
)
def test_resumed_at_any_checkpoint_the_run_ends_as_the_uninterrupted_one(recipe, tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    copies.mkdir()
    with monkeypatch.context() as patch:
        keep_every_checkpoint(patch, copies)
        expected = tiny.outcome(tiny.train(tmp_path / "run", recipe))
    assert len(list(copies.iterdir())) == recipe.iterations + 1 + 3  # evaluations save as well, before 128 again
    for copy in copies.iterdir():
        assert tiny.outcome(tiny.resume(copy)) == expected


def test_that_run_had_what_is_hard_to_restore(tmp_path):
    """Ended and running episodes, several seeds, moments, statistics: the comparison above is not of empty things."""
    session = tiny.begin(tmp_path / "run", HOPPER)
    tiny.go_on(session)
    assert np.isfinite(session.collector.recent_returns).sum(1).min() > 3
    assert session.collector.episode_length.min() > 0
    assert (session.learner.obs_moments.count == HOPPER.total_steps).all()
    assert (session.learner.optimiser.steps == HOPPER.iterations * 8).all()
    names = set(tiny.outcome(tmp_path / "run"))
    assert {"random", "learner/params", "learner/optimiser.second", "learner/return_moments.var"} <= names
    assert {"collector/discounted_return", "collector/env.physics", "collector/env.generators"} <= names


def stop_at(poll):
    """Say stop when asked for the `poll`-th time, and ever after."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= poll


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_stopped_whenever_the_loop_asks_and_resumed_it_ends_the_same(every, point_run, tmp_path):
    """Before the first evaluation, at steps of evaluations and rollouts, between minibatches."""
    for poll in range(1, 1000, every):
        session = tiny.begin(tmp_path / str(poll))
        try:
            tiny.go_on(session, stop_at(poll))
        except Interrupted:
            assert tiny.outcome(tiny.resume(tmp_path / str(poll))) == point_run, f"stopped at {poll}"
        else:
            assert tiny.outcome(tmp_path / str(poll)) == point_run
            break  # the run ended before it was asked that often
    assert poll > 6 * (8 + 8)  # every step and minibatch of six rollouts, and five steps of four evaluations


PROBING = ExploRLer(Line((0.0, 2.0)), Episodes(2, "always"), num_anchors=2, budget_fraction=0.6)
PROBES = {
    "episodes": replace(PROBING, moments="reset"),
    "a race with noise": replace(PROBING, probe=Racing((1, 1), 0.5, 2, "always", stochastic=True), search_log_std=True),
    "at the end": replace(PROBING, start=0.5, finish=True, budget_fraction=1.0),
    "rounds": replace(PROBING, proposal=Consensus(particles=2, rounds=2), probe=Episodes(1, "always")),
    "a surrogate": replace(PROBING, probe=Surrogate(4, "always"), moments="transport", anchors="iterations"),
    "in the rollout": replace(PROBING, probe=InRollout(share=1.0, move="evolution")),
}


@pytest.mark.parametrize(
    "case, every",
    [*zip(PROBES, (3, 7, 7, 7, 7, 7), strict=True), *(pytest.param(x, 1, marks=pytest.mark.long) for x in PROBES)],
)
def test_stopped_whenever_a_probing_loop_asks_it_ends_the_same(case, every, tmp_path):
    """Also at every step of a probe, which is then begun again, and between one member's probe and the other's."""
    recipe = tiny.recipe(total_steps=110, num_seeds=2, eval_every=10**6, explore=PROBES[case])
    whole = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    assert whole["probe"].count("accepted") > 2
    for poll in range(1, 1000, every):
        session = tiny.begin(tmp_path / str(poll), recipe)
        try:
            tiny.go_on(session, stop_at(poll))
        except Interrupted:
            assert tiny.outcome(tiny.resume(tmp_path / str(poll))) == whole, f"stopped at {poll}"
        else:
            break
    by_episodes = isinstance(recipe.explore.probe, Episodes | Racing)
    assert poll > 2 * 5 + by_episodes * 4 * 5  # two evaluations, two probes or more, of two runs of five steps each


def test_stopped_in_probe_after_probe_it_ends_the_same(tmp_path):
    recipe = tiny.recipe(total_steps=110, num_seeds=2, eval_every=10**6, explore=PROBES["a race with noise"])
    whole = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run", recipe), stop_at(1))
    for poll in (9, 4, 12, 7, 1, 2, 16):
        with pytest.raises(Interrupted):
            tiny.resume(tmp_path / "run", stop_at(poll))
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == whole


def test_stopped_again_and_again_it_ends_the_same(point_run, tmp_path):
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run"), stop_at(1))
    for poll in (1, 1, 3, 12, 1, 1, 4, 2, 13, 2):
        with pytest.raises(Interrupted):
            tiny.resume(tmp_path / "run", stop_at(poll))
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == point_run


def test_on_torch_tensors_too_it_goes_on_where_it_was(tmp_path):
    """As on a GPU: "cpu:0" is torch's processor, "cpu" is numpy's."""
    for name in ("whole", "stopped"):
        session = tiny.begin(tmp_path / name, device="cpu:0")
        try:
            tiny.go_on(session, stop_at(20) if name == "stopped" else tiny.never)
        except Interrupted:
            tiny.resume(tmp_path / name)
    assert not isinstance(session.learner.params, np.ndarray)
    assert tiny.outcome(tmp_path / "stopped") == tiny.outcome(tmp_path / "whole")


def test_resumed_from_the_checkpoint_before_a_damaged_one_it_ends_the_same(point_run, tmp_path):
    tiny.train(tmp_path / "run")
    (tmp_path / "run" / "checkpoint" / "96" / "learner.safetensors").write_bytes(b"")
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == point_run


def test_told_to_be_strict_it_does_not_pass_over_a_damaged_one(tmp_path, capsys):
    tiny.train(tmp_path / "run")
    (tmp_path / "run" / "checkpoint" / "96" / "learner.safetensors").write_bytes(b"")
    with pytest.raises(SystemExit, match="4"):
        train.main(["--resume", str(tmp_path / "run"), "--env", tiny.RECIPE.env, "--strict"])
    assert "96/learner.safetensors is damaged" in capsys.readouterr().err


def test_a_save_that_was_cut_before_the_policy_file_is_made_good(point_run, tmp_path, monkeypatch):
    """The last checkpoint is whole and says that nothing is left to train: the policy must be its own all the same."""
    with monkeypatch.context() as patch:
        save, saved = policy_file.save, []

        def killed_at_the_last(path, recipe, learner):
            saved.append(learner.counters.total.max())
            if saved[-1] >= recipe.total_steps:
                raise KeyboardInterrupt
            save(path, recipe, learner)

        patch.setattr(policy_file, "save", killed_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            tiny.train(tmp_path / "run")
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == point_run


def test_whatever_became_of_progress_csv_it_is_whole_again(point_run, tmp_path):
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run"), stop_at(20))
    progress = tmp_path / "run" / "progress.csv"
    whole = progress.read_bytes()
    last_two_lines = len(whole) - sum(map(len, whole.splitlines(keepends=True)[-2:]))
    for size in (*range(last_two_lines, len(whole), 12), None):
        shutil.copytree(tmp_path / "run", copy := tmp_path / f"cut at {size}")
        if size is None:
            (copy / "progress.csv").unlink()
        else:
            (copy / "progress.csv").write_bytes(whole[:size])
        assert tiny.outcome(tiny.resume(copy)) == point_run


def test_rows_after_the_checkpoint_are_not_written_twice(point_run, tmp_path):
    """Killed between an evaluation and its checkpoint."""
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run"), stop_at(20))
    with open(tmp_path / "run" / "progress.csv", "a") as progress:
        progress.write("0,64,64,0,999,1.5,-3,1,2,10.0,nan,1,0,0,0,0,0,0\n0,80,")
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == point_run


@pytest.mark.parametrize(
    "old, new",
    [
        ("actor_hidden = [\n    8,\n]", "actor_hidden = [\n    9,\n]"),
        ("Point-v0", "Raises-v0"),
        ("total_steps = 96", "total_steps = 192"),
        ("learning_rate = 0.0003", "learning_rate = 0.001"),
    ],
)
def test_a_run_whose_recipe_was_changed_is_refused(old, new, tmp_path):
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run"), stop_at(20))
    recipe = tmp_path / "run" / "recipe.toml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(RunDirectoryError, match=r"recipe.toml was changed after the run began"):
        tiny.reopen(tmp_path / "run")


def test_other_versions_are_warned_of_by_name(tmp_path, caplog):
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run"), stop_at(20))
    versions = tmp_path / "run" / "versions.json"
    begun = read_json(versions)
    now = begun["packages"]["mujoco"]
    versions.write_text(seal(begun | {"packages": begun["packages"] | {"mujoco": "3.1.4"}}))
    runs.reopen(tmp_path / "run")[0].release()
    (warning,) = caplog.messages
    assert warning.endswith(f"may go on differently than without the stop: mujoco 3.1.4 then, {now} now")


# Signals, to the real command


@pytest.fixture(autouse=True)
def heeded_signals():
    """What nohup and & have the tests ignore, their children would ignore too."""
    heeded = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in heeded if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, heeded[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def reference(tmp_path):
    """The uninterrupted run of the same flags, in this process."""
    recipe = runs.read_recipe(tmp_path / "run")
    return tiny.outcome(tiny.train(tmp_path / "reference", recipe))


def signalled(tmp_path, signals):
    """Train in a process that gets signals at given steps, in `tmp_path / "run"`."""
    flags = ["--run-dir", "run", *tiny.FLAGS, "--env", "fake_envs:Signalled-v0"]
    return tiny.command(*flags, cwd=tmp_path, SIGNALS=signals)


def state(tmp_path):
    return json.loads((tmp_path / "run" / "status.json").read_text())["state"]


@pytest.mark.parametrize(
    "signals, code",
    [("SIGTERM@70", 143), ("SIGINT@5", 130), ("SIGHUP@70", 129), ("SIGUSR1@70", 138), ("SIGXCPU@70,SIGXCPU@71", 152)],
    ids=["SIGTERM in a rollout", "SIGINT in an evaluation", "the terminal closes", "SLURM", "its time is over"],
)
def test_a_signal_saves_and_exits_with_its_code(signals, code, tmp_path, monkeypatch):
    stopped = signalled(tmp_path, signals)
    assert stopped.returncode == code
    assert stopped.stdout.splitlines()[-1] == "run"
    assert (
        f"stopped at {0 if '@5' in signals else 48} steps" in stopped.stderr
    )  # the rollout that had begun is left out
    assert "go on with: rlsparse train --resume run" in stopped.stderr
    assert state(tmp_path) == "interrupted"
    monkeypatch.setenv("SIGNALS", "SIGTERM@-1")
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == reference(tmp_path)


def test_under_nohup_a_run_outlives_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does, and a child inherits
    try:
        finished = signalled(tmp_path, "SIGHUP@70")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (finished.returncode, state(tmp_path)) == (0, "finished"), finished.stderr


def test_the_second_signal_exits_at_once_and_loses_no_checkpoint(tmp_path, monkeypatch):
    stopped = signalled(tmp_path, "SIGINT@70,SIGINT@71")
    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert state(tmp_path) == "running"
    monkeypatch.setenv("SIGNALS", "SIGTERM@-1")
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == reference(tmp_path)


def test_killed_it_goes_on_from_the_last_checkpoint(tmp_path, monkeypatch):
    killed = signalled(tmp_path, "SIGKILL@110")
    assert killed.returncode == -9
    assert state(tmp_path) == "running"
    monkeypatch.setenv("SIGNALS", "SIGTERM@-1")
    resumed = tiny.command(
        "--resume", "run", "--env", "fake_envs:Signalled-v0", "--quiet", cwd=tmp_path, SIGNALS="SIGTERM@-1"
    )
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == "run\n"
    assert state(tmp_path) == "finished"
    assert tiny.outcome(tmp_path / "run") == reference(tmp_path)


def test_seconds_of_evaluations_add_up_over_sessions(tmp_path):
    before = tiny.begin(tmp_path / "run")
    tiny.go_on(before)
    assert 0 < before.eval_seconds < before.seconds
    after = tiny.reopen(tmp_path / "run")
    after.run.release()
    assert after.eval_seconds == before.eval_seconds
