"""What `rlsparse train` prints, writes and returns, when all goes well and when something goes wrong."""

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fake_envs
import numpy as np
import pytest
import safetensors.numpy
import tiny

from rlsparse import loop, train
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import Interrupted, StorageError
from rlsparse.explore.explorler import ExploRLer, Proposal
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run import cards, checkpoint, choose, device, policy_file
from rlsparse.run import directory as runs
from rlsparse.run.recipe import from_dict, from_toml
from rlsparse.sim.episodes import ProbeEpisodes


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    """Work in a folder of the test's own, with environments counted from zero, without waiting for the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fake_envs, "made", 0)
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def run(capsys):
    """Run the command in this process, in run directory "run" unless told; returns exit code, stdout and stderr."""

    def call(*arguments):
        where = [] if {"--run-dir", "--resume", "--out", "--dry-run"} & set(arguments) else ["--run-dir", "run"]
        if arguments[0] == "--resume":  # the fake environments come from a module, which is to be named
            where = ["--env", runs.read_recipe(Path(arguments[1])).env]
        try:
            train.main([*where, *map(str, arguments)])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def status():
    return json.loads(Path("run/status.json").read_text())


def rows(name="progress"):
    with open(f"run/{name}.csv") as file:
        return list(csv.DictReader(file))


# When all goes well


def test_a_run_leaves_what_a_run_directory_holds(run):
    assert run(*tiny.FLAGS)[0] == 0
    files = "recipe.toml versions.json status.json progress.csv policy.safetensors checkpoint tb summary.json curve.png"
    assert sorted(path.name for path in Path("run").iterdir()) == sorted([".lock", *files.split()])
    assert (status()["state"], status()["total_steps"]) == ("finished", 96)


def test_it_is_filed_under_runs_and_its_name_is_the_last_line(run):
    code, out, _ = run(*tiny.FLAGS, "--out", "results")
    last = out.splitlines()[-1]
    assert code == 0
    assert re.fullmatch(r"results/fake_envs:Point-v0/ppo/[0-9-]+-[0-9a-f]{4}", last)
    assert (Path(last) / "summary.json").is_file()


def test_the_table_has_every_seed_and_names_the_curve(run):
    _, out, err = run(*tiny.FLAGS, "--num-seeds", "3", "--seed", "5")
    final = {row["seed"]: float(row["return_mean"]) for row in rows() if row["total_steps"] == "96"}
    for seed in ("5", "6", "7"):
        assert re.search(rf"^ +{seed} +96 +{re.escape(f'{final[seed]:,.1f}')} ", out, re.MULTILINE)
    assert re.search(rf"^mean +{re.escape(f'{np.mean(list(final.values())):,.1f}')} ", out, re.MULTILINE)
    assert "95 % interval" in out
    assert "reward curve: run/curve.png" in out
    assert out.splitlines()[-1] == "run"
    assert err.startswith("ppo on fake_envs:Point-v0, seeds 5 to 7, 96 steps each: run\n")


def test_progress_is_a_row_per_evaluation_and_seed(run):
    run(*tiny.FLAGS, "--num-seeds", "2")
    assert [(row["seed"], row["total_steps"]) for row in rows()] == [
        (seed, steps) for steps in ("0", "32", "64", "96") for seed in ("0", "1")
    ]
    assert list(rows()[0])[:12] == [
        *("seed", "total_steps", "train_steps", "probe_steps", "eval_steps", "seconds"),
        *("return_mean", "return_std", "episodes", "length_mean", "train_return_mean", "action_std"),
    ]
    seconds = [float(row["seconds"]) for row in rows()]
    assert seconds == sorted(seconds)


def test_away_from_a_terminal_progress_is_plain_lines(run):
    _, _, err = run(*tiny.FLAGS)
    assert "\r" not in err
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1 + 4  # what is trained, and four evaluations


@pytest.mark.parametrize("quiet", [(), ("--quiet",)], ids=["", "quiet"])
def test_json_is_one_object_the_summary_with_the_run_directory(quiet, run):
    code, out, _ = run(*tiny.FLAGS, "--json", *quiet)
    assert code == 0
    (line,) = out.splitlines()
    assert json.loads(line) == {**json.loads(Path("run/summary.json").read_text()), "run_dir": "run"}


def test_quiet_prints_the_run_directory_alone(run):
    assert run(*tiny.FLAGS, "--quiet") == (0, "run\n", "")


def test_equal_recipes_and_seeds_give_equal_runs(run):
    for run_dir in ("one", "two"):
        run(*tiny.FLAGS, "--run-dir", run_dir)
    assert tiny.outcome(Path("one")) == tiny.outcome(Path("two"))


def test_without_tensorboard_only_its_files_are_missing(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "rlsparse.run.tensorboard", raising=False)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # importing it raises ImportError
    assert run(*tiny.FLAGS)[0] == 0
    assert not Path("run/tb").exists()


# The plan

PROBING = f"--env fake_envs:Steady-v0 --explore {shlex.quote(str(tiny.PROBING))}"
"""Episodes are five steps long, always: a probe takes 2 x 5 x 5 = 50 steps."""

SHAPES = [
    "--total-steps 96 --eval-every 32",
    "--total-steps 97 --eval-every 32",  # the last rollout overruns the budget
    "--total-steps 96 --eval-every 30",  # an interval that rollouts do not hit
    "--total-steps 96 --eval-every 1",  # more often than once per rollout
    "--total-steps 96 --eval-every 1000",  # at the start and the end alone
    "--total-steps 1 --eval-every 1",
    "--total-steps 100 --eval-every 16 --num-seeds 2 --rollout-length 6 --algorithm.minibatches 3",
    "--total-steps 400 --eval-every None --algorithm.epochs 1",
    f"{PROBING} --total-steps 400 --eval-every 30",
    f"{PROBING} --total-steps 400 --eval-every 10 --explore.budget-fraction 1",
    f"{PROBING} --total-steps 400 --eval-every 1000 --num-seeds 2 --explore.budget-fraction 0.5 --explore.every 3",
    f"{PROBING} --total-steps 397 --eval-every 64 --explore.start 0.6 --explore.budget-fraction 0.9",
    f"{PROBING} --total-steps 400 --explore.num-anchors 9 --explore.budget-fraction 0.7 --algorithm.target-kl 1e-6",
    f"{PROBING} --total-steps 400 --explore.anchors iterations --explore.budget-fraction 0.6",
    f"{PROBING} --total-steps 400 --explore.anchors iterations --explore.anchor-span 0.4 --explore.budget-fraction 0.6",
    f"{PROBING} --total-steps 900 --explore.proposal consensus --explore.budget-fraction 0.9",
    f"{PROBING} --total-steps 410 --explore.probe surrogate --explore.every 3 --explore.start 0.4",
    f"{PROBING} --total-steps 400 --explore.probe in-rollout --explore.every 4 --explore.start 0.5",
    f"{PROBING} --total-steps 400 --explore.probe surrogate --explore.num-anchors 7 --algorithm.target-kl 0.0001",
    f"{PROBING} --total-steps 250 --explore.budget-fraction 1 --explore.probe.accept always",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dry_run_predicts_the_real_one_and_makes_nothing(shape, run, monkeypatch):
    flags = [*tiny.FLAGS, *shlex.split(shape)]
    code, plan, err = run(*flags, "--dry-run")
    assert (code, err) == (0, "")
    assert list(Path().iterdir()) == []

    def predicted(what):
        return int(re.search(rf"^{what} +([\d,]+) ", plan, re.MULTILINE)[1].replace(",", ""))

    updates, collected = count_calls(monkeypatch)
    assert run(*flags, "--quiet")[0] == 0
    assert plan.startswith(Path("run/recipe.toml").read_text())
    assert {int(row["train_steps"]) for row in rows()[-1:]} == {predicted("training steps")}
    probe_steps = re.search(r"\(probe steps: ([\d,]+)(?: per seed)?\)", plan)[1].replace(",", "")
    assert [row["probe_steps"] for row in rows()[-1:]] == [probe_steps]
    assert len(collected) == predicted("rollouts")
    assert 0 < len(updates) <= predicted("updates")
    assert len(updates) == predicted("updates") or "fewer where --algorithm.target-kl ends one early" in plan
    seeds = {row["seed"] for row in rows()}
    assert len(rows()) / len(seeds) == predicted("evaluations")
    if "--explore" in shape:
        assert len(rows("probe")) / len(seeds) == predicted("probes") > 0
    else:
        assert not Path("run/probe.csv").exists()


def test_the_plan_tells_what_a_probe_costs_and_how_much_may_be_spent(run):
    """HalfCheetah's episodes are 1,000 steps."""
    _, plan, _ = run("--env", "HalfCheetah", "--explore", tiny.PROBING, "--total-steps", "1000000", "--dry-run")
    probes, limit = (line for line in plan.splitlines() if line.startswith("probe") and "=" not in line)
    pattern = r"probes +(\d+) per seed of 4 candidates: at most 10 episodes, 10,000 steps if all last 1,000"
    made = int(re.fullmatch(pattern, probes)[1])
    assert limit.startswith("probe steps      at most 300,000 per seed, 0.3 of the budget; ")
    assert f"(probe steps: {made * 10_000:,} per seed)" in plan
    assert 25 <= made <= 30


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            "--total-steps 96",
            "there will be no probe: one may take 50 steps (10 episodes of 5), which --explore.budget-fraction 0.3 of "
            "--total-steps 96 cannot pay: raise one of them, or probe fewer candidates",
        ),
        (
            "--total-steps 400 --explore.every 30",
            "there will be no probe: --total-steps 400 are over before --explore.num-anchors, --explore.anchor-span, "
            "--explore.every and --explore.start let the first one be",
        ),
        ("--total-steps 400 --explore.num-anchors 60", "there will be no probe: --total-steps 400 are over before"),
    ],
)
def test_probes_that_will_never_be_are_warned_of_before_training(flags, reason, run, caplog):
    for dry_run in (["--dry-run"], []):
        caplog.clear()
        assert run(*tiny.FLAGS, *shlex.split(PROBING), *flags.split(), *dry_run)[0] == 0
        (warning,) = caplog.messages
        assert warning.startswith(reason)
    assert not Path("run/probe.csv").exists()


def count_calls(monkeypatch):
    """Lists that grow with every gradient step and every rollout."""
    from rlsparse.learner.adam import Adam
    from rlsparse.sim.collect import Collector

    counts = []
    for owner, name in ((Adam, "step"), (Collector, "collect")):
        calls, real = [], getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, calls=calls, real=real: (calls.append(1), real(*a))[1])
        counts.append(calls)
    return counts


# Algorithms


def planned(run, *flags):
    """The recipe of a dry run on Pendulum, and what is said of its updates."""
    code, plan, _ = run("--env", "Pendulum-v1", *flags, "--dry-run")
    assert code == 0
    return from_toml(plan.partition("rollouts  ")[0], "plan"), plan.partition("updates ")[2].splitlines()[0].strip()


def test_the_algorithm_brings_the_card_of_its_name_unless_an_agent_is_chosen(run):
    trpo, updates = planned(run, "--algorithm", "trpo", "--total-steps", "10240")
    assert trpo == planned(run, "--agent", "trpo", "--total-steps", "10240")[0]
    assert trpo == planned(run, "--agent", "trpo", "--algorithm", "trpo", "--total-steps", "10240")[0]
    rollouts, critic = trpo.iterations, trpo.algorithm.critic_epochs * trpo.algorithm.critic_minibatches
    assert updates == (
        f"{rollouts} natural gradient steps of the policy, {rollouts * critic:,} gradient steps of the critic per seed"
    )
    mixed, _ = planned(run, "--agent", "sb3-defaults", "--algorithm", "trpo")
    assert mixed == replace(planned(run, "--agent", "sb3-defaults")[0], algorithm=TRPO())
    assert planned(run, "--algorithm", "ppo") == planned(run)
    for name in choose.ALGORITHMS.keys() - cards.agents().keys():
        own, _ = planned(run, "--algorithm", name)
        assert own == replace(planned(run)[0], algorithm=choose.ALGORITHMS[name]())


def test_probing_is_that_of_the_card_made_for_the_algorithm(run):
    for flags in (("--algorithm", "trpo"), ("--agent", "trpo"), ("--agent", "ppo", "--algorithm", "trpo")):
        recipe, _ = planned(run, *flags, "--explore", "explorler")
        assert recipe.explore == planned(run, "--agent", "explorler-trpo")[0].explore
        assert kind_of(type(recipe.algorithm)) == "trpo"


def test_trpo_trains_sparse_probing_populations(run):
    flags = tiny.FLAGS[: tiny.FLAGS.index("--algorithm.epochs")]
    probing = f"--explore {tiny.PROBING} --explore.anchors iterations --explore.num-anchors 2"
    more = f"--agent ppo --algorithm trpo {probing} --sparse rigl --num-seeds 2 --total-steps 400"
    code, _, err = run(*flags, *more.split())
    assert code == 0
    assert err.startswith("ppo+trpo+probing+rigl on fake_envs:Point-v0, seeds 0 to 1, 400 steps each: run\n")
    assert len(rows("probe")) > 1
    last = rows()[-1]
    assert last["clip_fraction"] == "nan"
    assert 0 <= float(last["step_fraction"]) <= 1
    assert float(last["approx_kl"]) <= 0.01


# Probing


def explored(run, *flags):
    """The probing of a dry run's recipe."""
    code, plan, _ = run(*tiny.FLAGS, *flags, "--dry-run")
    assert code == 0
    return from_toml(plan.partition("rollouts  ")[0], "plan").explore


def test_probing_comes_from_the_agent_card_or_from_another(run):
    assert explored(run) is None
    assert explored(run, "--explore", "none") is None
    assert explored(run, "--agent", "explorler-ppo", "--explore", "none") is None
    for name in ("explorler-ppo", "explorler-ppo-paper"):
        shipped = from_dict({"env": "E", **cards.agent(name).recipe}, name).explore
        assert shipped is not None
        assert explored(run, "--explore", name) == explored(run, "--agent", name) == shipped
        other = "explorler-ppo" if name.endswith("paper") else "explorler-ppo-paper"
        assert explored(run, "--agent", other, "--explore", name) == shipped
    assert explored(run, "--explore", "explorler") == explored(run, "--explore", "explorler-ppo")


def test_probing_comes_from_a_card_of_ones_own_as_it_is_on_the_environment(run):
    card = """
name = "mine"
description = "My probing."
[recipe]
num_envs = 5
[recipe.explore.probe]
kind = "racing"
duel = 7
[environments."fake_envs:Point-v0".explore]
every = 9
"""
    Path("mine").mkdir()
    Path("mine/card.toml").write_text(card)
    for path in ("mine", "mine/card.toml"):
        assert explored(run, "--explore", path) == ExploRLer(probe=Racing(duel=7), every=9)
        assert explored(run, "--explore", path, "--env", "Pendulum-v1") == ExploRLer(probe=Racing(duel=7))
        # the kind that the card has keeps the card's values, another begins with its defaults
        assert explored(run, "--explore", path, "--explore.probe", "racing").probe == Racing(duel=7)
        assert explored(run, "--explore", path, "--explore.probe", "surrogate").probe == Surrogate()


@pytest.mark.parametrize("proposal", kinds(Proposal))
@pytest.mark.parametrize("probe", ["episodes", "racing", "surrogate"])
def test_any_proposal_goes_with_any_probe_by_name(probe, proposal, run):
    flags = f"--explore {tiny.PROBING} --explore.proposal {proposal} --explore.probe {probe} --explore.every 5"
    explore = explored(run, *flags.split())
    assert (kind_of(type(explore.proposal)), kind_of(type(explore.probe))) == (proposal, probe)
    assert explore.every == 5


def test_a_run_that_probes_tells_its_steps_and_its_probes_apart(run):
    code, out, err = run(*tiny.FLAGS, *shlex.split(PROBING), "--total-steps", "400", "--num-seeds", "2")
    assert code == 0
    assert err.startswith("ppo+probing on fake_envs:Steady-v0, seeds 0 to 1, 400 steps each: run\n")
    assert re.search(r"probe: 50 steps per seed, \d of 2 policies replaced\n", err)
    assert out.splitlines()[1].split()[:6] == ["seed", "train", "steps", "probe", "steps", "return"]
    summary = json.loads(Path("run/summary.json").read_text())
    for row in summary["seeds"]:
        probes = [int(probe["accepted"]) for probe in rows("probe") if probe["seed"] == str(row["seed"])]
        assert (row["probes"], row["accepted"], row["probe_steps"]) == (len(probes), sum(probes), 50 * len(probes))
        steps = f"{row['seed']} +{row['train_steps']} +{row['probe_steps']} "
        assert re.search(rf"^ +{steps}.* {sum(probes)} of {len(probes)} probes accepted$", out, re.MULTILINE)
    assert "training and probe steps/s over all seeds" in out


def test_a_run_that_is_stopped_while_it_probes_goes_on_as_if_it_had_not_been(run, monkeypatch):
    flags = [*tiny.FLAGS, *shlex.split(PROBING), "--total-steps", "400", "--quiet"]
    assert run(*flags, "--run-dir", "whole")[0] == 0
    assert Path("whole/probe.csv").read_text().count("\n") > 2
    begun, probe = [], ProbeEpisodes.__call__

    def asked(stop):
        if begun and fake_envs.steps > begun[0]:
            stop.received = 15
        return stop.received != 0

    with monkeypatch.context() as patch:
        patch.setattr(ProbeEpisodes, "__call__", lambda *a: (begun.append(fake_envs.steps), probe(*a))[1])
        patch.setattr(train.StopSignal, "__call__", asked)
        assert run(*flags)[0] == 143
    assert not Path("run/probe.csv").exists()
    assert run("--resume", "run", "--quiet")[0] == 0
    assert tiny.outcome(Path("run")) == tiny.outcome(Path("whole"))


# Numbers that are not finite

BAD = ["nan", "inf", "-inf", "1e200"]


def sound_twin():
    """The recipe of the run, in an environment where nothing goes wrong."""
    return replace(runs.read_recipe(Path("run")), env="fake_envs:Point-v0")


def policy_after(iterations):
    """The arrays of the policy that the sound twin has after so many iterations."""
    session = tiny.begin(Path("sound"), sound_twin())
    with pytest.raises(Interrupted):
        tiny.go_on(session, lambda: session.learner.counters.train[0] >= iterations * 16)
    return safetensors.numpy.load_file("sound/policy.safetensors")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("what", ["Observation", "LastObservation", "Reward"])
def test_a_bad_number_stops_the_run_says_where_and_keeps_the_last_good_policy(what, bad, run):
    env = f"fake_envs:Bad{what}-{float(bad)}-v0".replace("+", "")
    code, out, err = run(*tiny.FLAGS, "--env", env, "--quiet")
    assert (code, out) == (5, "")
    thing = "a reward" if what == "Reward" else "an observation"
    assert err == (
        f"rlsparse: {env.partition(':')[2]} gave {thing} that is not finite: seed 0, environment 1, step 4 of the "
        "rollout after 64 training steps; the policy of the last complete iteration is kept\n"
    )
    assert status()["state"] == "failed"
    assert status()["reason"] in err
    assert policy_file.load(Path("run/policy.safetensors"))
    kept = safetensors.numpy.load_file("run/policy.safetensors")
    for name, array in policy_after(4).items():
        np.testing.assert_array_equal(kept[name], array)
    saved = checkpoint.load_latest(Path("run/checkpoint"))
    assert saved.arrays["learner"]["counters.train"] == [64]
    assert np.isfinite(saved.arrays["learner"]["params"]).all()


def test_a_bad_number_in_an_evaluation_stops_the_run_too(run):
    code, _, err = run(*tiny.FLAGS, "--env", "fake_envs:BadInEvaluation-v0", "--quiet")
    assert code == 5
    assert "gave a reward that is not finite: seed 0, environment 1, step 2 of an evaluation episode" in err
    assert err.count("\n") == 1
    assert [row["total_steps"] for row in rows()] == ["0", "32"]
    assert np.isfinite(safetensors.numpy.load_file("run/policy.safetensors")["params"]).all()


def test_the_seed_of_a_bad_number_is_that_of_its_environment(run):
    _, _, err = run(*tiny.FLAGS, "--env", "fake_envs:BadReward-nan-v0", "--num-seeds", "2", "--num-envs", "1")
    assert "seed 1, environment 0, step 4 of the rollout after 32 training steps" in err


@pytest.mark.parametrize("rate", ["1e30", "1e38"])
def test_a_huge_learning_rate_never_leaves_a_policy_that_is_not_finite(rate, run, recwarn):
    code, _, err = run(*tiny.FLAGS, "--algorithm.learning-rate", rate, "--quiet")
    assert code == 5
    assert "seed 0 is not finite" in err
    assert "try a smaller --algorithm.learning-rate" in err
    assert err.count("\n") == 1
    assert recwarn.list == []
    assert np.isfinite(safetensors.numpy.load_file("run/policy.safetensors")["params"]).all()
    assert np.isfinite(checkpoint.load_latest(Path("run/checkpoint")).arrays["learner"]["params"]).all()


# Environments that fail


def test_an_environment_that_raises_ends_the_run_with_its_own_words(run):
    code, _, err = run(*tiny.FLAGS, "--env", "fake_envs:Raises-v0", "--quiet")
    assert code == 3
    message = "environment 1 failed in step with RuntimeError: the motor burned out"
    assert err.endswith(f"{message}\n")
    assert err.count("\n") == 1
    assert status()["state"] == "failed"
    assert message in status()["reason"]
    assert checkpoint.load_latest(Path("run/checkpoint")).arrays["learner"]["counters.train"] == [64]


def test_a_failed_run_can_be_resumed_once_its_cause_is_gone(run, monkeypatch):
    run(*tiny.FLAGS, "--env", "fake_envs:Raises-v0", "--quiet")
    monkeypatch.setattr(fake_envs.Raises, "step", fake_envs.Point.step)
    assert run("--resume", "run", "--quiet") == (0, "run\n", "")
    assert status()["state"] == "finished"


# Resuming


def interrupt(monkeypatch, at=60):
    """Make the first run stop after `at` steps, evaluations included, as if by SIGTERM: in the third rollout."""

    def asked(stop):
        if fake_envs.steps - before >= at:
            stop.received = 15
        return stop.received != 0

    before = fake_envs.steps
    monkeypatch.setattr(train.StopSignal, "__call__", asked)


def test_an_interrupted_run_says_how_to_go_on_and_its_directory_last(run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch)
        code, out, err = run(*tiny.FLAGS, "--run-dir", "my run")
    assert code == 143
    assert out.splitlines()[-1] == "my run"
    assert (
        err.splitlines()[-1]
        == "stopped at 48 steps; go on with: rlsparse train --resume 'my run' --env fake_envs:Point-v0"
    )
    code, out, err = run("--resume", "my run")
    assert (code, out.splitlines()[-1]) == (0, "my run")
    assert err.splitlines()[0] == "resuming my run at 48 steps"


def test_a_resumed_process_is_prepared_as_the_first_was(run, monkeypatch):
    prepared = []
    monkeypatch.setattr(device, "prepare", prepared.append)
    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS, "--run-dir", "run")
    run("--resume", "run")
    assert prepared == ["cpu", "cpu"]


def test_an_interrupted_run_says_so_in_json(run, monkeypatch):
    interrupt(monkeypatch)
    _, out, _ = run(*tiny.FLAGS, "--json")
    assert json.loads(out) == {"state": "interrupted", "total_steps": 48, "run_dir": "run"}


def test_a_run_begun_on_a_gpu_goes_on_elsewhere_only_if_told_to(run, monkeypatch):
    import torch

    with monkeypatch.context() as patch:
        interrupt(patch)
        run(*tiny.FLAGS)
    versions = Path("run/versions.json")
    versions.write_text(versions.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, error = run("--resume", "run")
    assert (code, out) == (2, "")
    assert re.fullmatch("rlsparse: --device cuda: torch .*; or use --device cpu\n", error)
    assert run("--resume", "run", "--device", "cpu", "--quiet") == (0, "run\n", "")


def test_a_finished_run_is_not_resumed(run):
    run(*tiny.FLAGS)
    before = tiny.outcome(Path("run"))
    expected = "rlsparse: run is finished, at 96 steps: nothing is left to resume\n"
    assert run("--resume", "run") == (4, "", expected)
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
    assert "run/checkpoint/48/collector.safetensors is damaged" in err
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


@pytest.mark.parametrize("command", [tiny.FLAGS, ("--resume", "run")], ids=["new", "resumed"])
def test_fewer_checkpoints_than_two_are_refused(command, run):
    run(*tiny.FLAGS, "--quiet")
    where = () if "--resume" in command else ("--run-dir", "other")
    code, _, err = run(*command, *where, "--keep-checkpoints", 1)
    assert (code, err) == (2, "rlsparse: --keep-checkpoints is 1: expected 2 or more, for the newest may be damaged\n")


# Disks that are full


def failing_saves(monkeypatch, failures):
    """Let the saves whose numbers are in `failures` fail."""
    save, calls = checkpoint.save, []

    def sometimes(*arguments):
        calls.append(1)
        if len(calls) in failures:
            raise StorageError("cannot write run/checkpoint/x: No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", sometimes)


def test_a_checkpoint_that_cannot_be_written_is_warned_of_and_training_goes_on(run, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        failing_saves(patch, {1, 2})
        assert run(*tiny.FLAGS)[0] == 0
    tiny.train(Path("sound"), sound_twin())
    assert len(caplog.messages) == 2
    assert "No space left on device; the checkpoint before is kept, training goes on" in caplog.messages[0]
    final, sound = (safetensors.numpy.load_file(f"{name}/policy.safetensors") for name in ("run", "sound"))
    np.testing.assert_array_equal(final["params"], sound["params"])


def test_the_third_failure_in_a_row_ends_the_run(run, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_INTERVAL", -1)
    failing_saves(monkeypatch, {2, 4, 5, 6})
    code, _, err = run(*tiny.FLAGS, "--quiet")
    assert code == 6
    assert err.splitlines()[-1] == "rlsparse: cannot write run/checkpoint/x: No space left on device"
    assert status()["state"] == "failed"
    assert checkpoint.load_latest(Path("run/checkpoint"))


@pytest.mark.parametrize("stop", [False, True], ids=["finished", "interrupted"])
def test_a_last_checkpoint_that_cannot_be_written_is_an_error_at_once(stop, run, monkeypatch):
    if stop:
        interrupt(monkeypatch)
    failing_saves(monkeypatch, {3 if stop else 4})
    code, out, _ = run(*tiny.FLAGS, "--quiet")
    assert (code, out) == (6, "")
    assert status()["state"] == "failed"


def test_a_disk_that_is_really_full_leaves_one_line_and_exit_code_6(tmp_path):
    """Files may not grow beyond 16 kB here; the checkpoint of these networks is larger."""
    arguments = [*tiny.FLAGS, "--policy.actor-hidden", "64", "64", "--run-dir", "run", "--quiet"]
    shell = f"ulimit -f 16; exec {shlex.join([sys.executable, '-m', 'rlsparse.train', *arguments])}"
    command = ["bash", "-c", shell]
    done = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].endswith("learner.safetensors: File too large")
    assert "Traceback" not in done.stderr
