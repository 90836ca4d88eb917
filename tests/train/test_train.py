"""What `rlsparse train` prints, writes and returns when all goes well, by algorithm and with probing."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import fake_envs
import numpy as np
import pytest
import tiny
from train_runs import PROBING, rows, status

from rlsparse.algorithms.trpo import TRPO
from rlsparse.explore.explorler import ExploRLer, Proposal
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run import cards, choose
from rlsparse.run import directory as runs
from rlsparse.run.reading import read_json
from rlsparse.run.recipe import from_dict, from_toml
from rlsparse.run.stop import StopSignal
from rlsparse.sim.episodes import ProbeEpisodes

# When all goes well


def test_a_run_leaves_what_a_run_directory_holds(run, pictures):
    assert run(*tiny.FLAGS)[0] == 0
    files = "recipe.toml versions.json status.json progress.csv policy.safetensors policy-best.safetensors"
    files += " checkpoint tb summary.json curve.png"
    assert sorted(path.name for path in Path("run").iterdir()) == sorted([".lock", *files.split()])
    assert (status()["state"], status()["total_steps"]) == ("finished", 96)


def test_it_is_filed_under_runs_and_its_name_is_the_last_line(run):
    code, out, _ = run(*tiny.FLAGS, "--out", "results")
    last = out.splitlines()[-1]
    assert code == 0
    assert re.fullmatch(r"results/fake_envs:Point-v0/ppo/[0-9-]+-[0-9a-f]{4}", last)
    assert (Path(last) / "summary.json").is_file()


def test_a_run_is_announced_and_filed_by_the_kinds_that_are_not_its_agent_s(run):
    _, out, err = run(*tiny.FLAGS, "--advantage", "nstep", "--out", "results")
    assert err.startswith("ppo+nstep on fake_envs:Point-v0")
    assert out.splitlines()[-1].startswith("results/fake_envs:Point-v0/ppo+nstep/")


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
    assert json.loads(line) == {**read_json(Path("run/summary.json")), "run_dir": "run"}


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
    code, _, err = run(*tiny.FLAGS)
    assert code == 0
    told = "no TensorBoard events: they need 'rlsparse[tb]', and rlsparse tensorboard writes them later"
    assert err.splitlines().count(told) == 1
    assert not Path("run/tb").exists()


@pytest.mark.parametrize("error", [TypeError("descriptors cannot be created"), SystemExit(1), ImportError("protobuf")])
def test_a_tensorboard_that_fails_at_its_import_is_warned_of(error, run, monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "rlsparse.run.tensorboard", raising=False)

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "rlsparse.run.tensorboard":
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert run(*tiny.FLAGS, "--quiet") == (0, "run\n", "")
    assert caplog.messages == [
        f"TensorBoard fails and is left out from now on: {type(error).__name__}: {error}; training goes on"
    ]


@pytest.mark.parametrize("what", ["iteration", "evaluation", "close"])
def test_a_reporter_that_fails_is_left_out_and_training_goes_on(what, run, monkeypatch, caplog):
    from rlsparse.run.tensorboard import TensorBoard

    calls = []

    def fail(*_):
        calls.append(what)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoard, what, fail)
    assert run(*tiny.FLAGS, "--quiet") == (0, "run\n", "")
    assert calls == [what]
    assert [x.partition(":")[0] for x in caplog.messages] == ["TensorBoard fails and is left out from now on"]
    assert tiny.outcome(Path("run")) == tiny.outcome(tiny.train(Path("sound"), runs.read_recipe(Path("run"))))


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
    assert " training and probe steps/s" in out


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
        patch.setattr(StopSignal, "__call__", asked)
        assert run(*flags)[0] == 143
    assert not Path("run/probe.csv").exists()
    assert run("--resume", "run", "--quiet")[0] == 0
    assert tiny.outcome(Path("run")) == tiny.outcome(Path("whole"))
