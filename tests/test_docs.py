"""What README and docs show runs: training as --dry-run, other commands and snippets on tiny runs with few steps.

A block that nobody here knows how to run is a failure, with its place. What docs/reliability.md promises is tested.
"""

import argparse
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import doc_pages
import numpy as np
import pytest
import synthetic_runs
import torch
from doc_pages import PAGES, ROOT
from stable_baselines3 import PPO

from rlsparse import __main__, train
from rlsparse.run import device
from rlsparse.sim.arguments import model_path

SHOWN = {"", "text"}
"""Languages of blocks that show what is printed or written."""

ELSEWHERE = {"docs/extending.md": "tests/test_extending.py"}
"""Whose snippets other tests run."""

STORIES = (
    *("README.md", "docs/going-on.md", "docs/first-steps.md", "docs/python.md", "docs/callbacks.md"),
    "docs/sweep.md",
)
"""Whose snippets go on from each other."""


ON_FROM_RUNS = {"--resume", "--like", "--init"}
"""Flags of `rlsparse train` that name runs."""


def worker(code):
    """Those that share runs are for one worker, those that load Warp for the one that has it."""
    plans, warp = code.words[1:2] in (["train"], ["sweep"]) and not ON_FROM_RUNS & set(code.words), "cuda" in code.words
    return [pytest.mark.xdist_group("warp" if warp else "docs")] if warp or not plans else []


COMMANDS = [
    pytest.param(code, id=f"{code.place} {' '.join(code.words)}", marks=worker(code)) for code in doc_pages.commands()
]
SNIPPETS = [
    pytest.param(block, id=block.place, marks=pytest.mark.xdist_group("docs"))
    for block in doc_pages.blocks()
    if block.language == "python" and block.place.partition(":")[0] not in (*ELSEWHERE, *STORIES)
]

TINY = (
    "--total-steps 128 --num-envs 2 --rollout-length 16 --eval-every 64 --eval-episodes 1 --algorithm.epochs 1 "
    "--algorithm.minibatches 4 --policy.actor-hidden 16 16 --policy.critic-hidden 16 16 --quiet"
)

TRAINED = {
    "runs/HalfCheetah-v5/ppo": "--env HalfCheetah",
    "runs/HalfCheetah-v5/ppo+rigl": "--env HalfCheetah --sparse rigl --sparsity 0.5",
    "runs/Hopper-v5/ppo": "--env Hopper",
    "runs/InvertedPendulum-v5": "--env InvertedPendulum",
    "runs/swing_up.py:SwingUp": f"--env {ROOT}/examples/swing_up/swing_up.py:SwingUp",
    "RUN": "--env Pendulum --num-seeds 4 --sparse ast --sparsity 0.8 --sparse.rule.sparser 0.9 0.95",
}
"""Runs that the pages name, or whose folder they name, and how to train the like of them."""

CUT = re.compile(r" --video \S+| --iteration \d+| --total-steps \d+")
"""Flags that cost much time, or are about a longer run."""

FEW = {"play": "--episodes 1", "landscape": "--episodes 2 --samples 2"}
"""Flags that take little time."""

SLOW = ("os.fsync", "matplotlib.figure.Figure.savefig")
"""What is left out: other tests look at pictures."""


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    """Work in a folder of the test's own, with the files that pages show, without waiting for the disk."""
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(next(x.text for x in doc_pages.blocks() if x.text.startswith("# study.toml: ")))
    Path("reach.py").write_text(next(x.text for x in doc_pages.blocks() if x.text.startswith('"""reach.py: ')))
    shutil.copytree(ROOT / "examples", "examples")
    shutil.copy(model_path("ant.xml"), "my_ant.xml")
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one short run at every path that the pages name."""
    folder = tmp_path_factory.mktemp("trained")
    words = [word for code in doc_pages.commands() for word in code.words]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for slow in SLOW:
            patch.setattr(slow, lambda *_, **__: None)
        for place, flags in TRAINED.items():
            train.main(["--run-dir", "made", *flags.split(), *TINY.split()])
            named = {word for word in words if re.fullmatch(rf"{re.escape(place)}/[\w<>-]+", word)}
            for path in named or {place}:
                shutil.copytree("made", path)
            shutil.rmtree("made")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with finished runs of two environments and agents, and with logs of Stable-Baselines3."""
    folder, rng = tmp_path_factory.mktemp("compared"), np.random.default_rng(0)
    for env in ("HalfCheetah-v5", "Hopper-v5"):
        for agent in ("ppo", "sb3-defaults"):
            for number, start in enumerate(("20261120-201348-3059", "20261203-201348-3059")):
                curves = {3 * number + i: y for i, y in enumerate(synthetic_runs.rising(rng, 3))}
                synthetic_runs.write_run(folder / "runs" / env / agent / start, curves, agent=agent, env=env)
    for seed in range(3):
        logs = folder / "logs" / "sb3" / "a2c" / f"Hopper-v5_{seed + 1}"
        logs.mkdir(parents=True)
        rows = [f"{1000 * i},{0.5 * i},{5.0 * i + seed}" for i in range(21)]
        (logs / "progress.csv").write_text(
            "\n".join(["time/total_timesteps,time/time_elapsed,eval/mean_reward", *rows])
        )
    return folder


# Commands


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `rlsparse` with these words in this process; fails with what it says if it fails."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rlsparse", *words])
        try:
            __main__.main()
        except SystemExit as stop:
            assert not stop.code, capsys.readouterr().err
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("code", COMMANDS)
def test_a_command_runs(code, request, monkeypatch):
    program, *words = code.words
    runs = {"rlsparse": rlsparse_runs, "python": script_takes}
    if program in runs:
        runs[program](words, request, monkeypatch)
    else:
        exists(code)


def rlsparse_runs(words, request, monkeypatch):
    """Plan a training; run any other command on tiny runs."""
    command, run = words[0], request.getfixturevalue("run")
    if command == "sweep":
        assert "to do " in run(*words, *["--dry-run"] * ("--dry-run" not in words))
        return
    if command == "envs":
        monkeypatch.setattr("rlsparse.run.environment_check.STEPS", 5)
        assert run(*words)
        return
    if command == "compile":  # which takes minutes
        monkeypatch.setattr("rlsparse.sim.warp_kernels.compile_ahead", lambda *_: ())
        assert run(*words)
        return
    if command == "train" and "--resume" not in words:
        if ON_FROM_RUNS & set(words):
            shutil.copytree(request.getfixturevalue("trained"), "here")
            monkeypatch.chdir("here")
            request.getfixturevalue("caplog").clear()
        monkeypatch.setattr(device, "look", lambda: device.Machine(("a GPU",)))  # so that the plan is made without one
        assert "total_steps = " in run(*words, "--dry-run")
        assert request.getfixturevalue("caplog").messages == []  # what a page shows is worth no warning
        return
    shutil.copytree(request.getfixturevalue("compared" if command == "compare" else "trained"), "here")
    monkeypatch.chdir("here")
    monkeypatch.setattr(SLOW[1], lambda *_, **__: None)
    monkeypatch.setattr("rlsparse.trained.survey.FRESH", 2)
    few = CUT.sub("", shlex.join(words))
    assert run(*shlex.split(few), *FEW.get(command, "").split())


BEGINS = [
    x
    for x in COMMANDS
    if x.values[0].words[:2] == ["rlsparse", "train"]
    and not {*ON_FROM_RUNS, "--dry-run", "--callbacks", "cuda"} & set(x.values[0].words)
]


@pytest.mark.long
@pytest.mark.parametrize("code", BEGINS)
def test_a_training_begins(code, run):
    text = re.sub(r" --(num-seeds|total-steps) \d+", "", shlex.join(code.words[1:]))
    run(*shlex.split(text), "--total-steps", "1", "--eval-every", "1", "--eval-episodes", "1", "--quiet")


@pytest.mark.long
def test_a_video_is_written(run, trained):
    run("play", str(trained / "runs/HalfCheetah-v5/ppo/20261120-201348-3059"), "--video", "run.mp4", "--episodes", "1")
    assert Path("run.mp4").stat().st_size > 10_000


@pytest.mark.long
def test_the_example_of_coverage_draws_both_arms(monkeypatch, capfd):
    example = ROOT / "examples" / "ant_coverage.py"
    monkeypatch.setattr(sys, "argv", [str(example), *["--total-steps", "2048", "--num-seeds", "1", "--out", "ant"]])
    runpy.run_path(str(example), run_name="__main__")
    printed = capfd.readouterr()
    assert printed.out.splitlines()[-1] == "ant/covered.png"
    assert "steps" in printed.err  # progress, long before the end


def script_takes(words, request, monkeypatch):
    """Check that a script has these flags, up to where it would begin to work."""

    class Parsed(Exception):
        pass

    def stop(*given):
        parse(*given)
        raise Parsed

    parse = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")


def exists(code):
    """Check what can be checked of a command without running it: the thing that it names is there."""
    program, *words = code.words
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    ours = {f"rlsparse[{name}]" for name in extras}
    others = {re.split(r"[^\w-]", package)[0] for package in extras["dev"]}
    found = {
        "pip": lambda: words[0] == "install" and words[1] in ours | others,
        "make": lambda: re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE),
        "source": lambda: words == [".venv/bin/activate"],
        "tensorboard": lambda: words == ["--logdir", "runs"],
        "python": lambda: (ROOT / words[0]).is_file(),
        "rlsparse": lambda: words[0] in __main__.COMMANDS,
    }
    assert program in found, f"{code.place}: nobody knows how to run {program}"
    assert found[program](), f"{code.place}: {code.text} names what is not there"


def test_commands_within_sentences_name_what_is_there():
    inline = doc_pages.inline_commands()
    assert len(inline) > 30
    for code in inline:
        exists(code)


# Snippets


CHANGED = {"1_000_000": "64", "8192": "2", 'device="cuda"': 'device="cpu"', "num_envs=64": "num_envs=2"}
"""What takes long, or a GPU, and what is put in its place."""

BRIEF = {
    r"resume=run\.path, total_steps=[\d_]+": "resume=run.path, total_steps = 64",
    r"total_steps=[\d_]+": "total_steps=32, num_envs=2, rollout_length=16, eval_episodes=1",
    r"eval_every=[\d_]+": "eval_every=32",
    r"\bepisodes=10": "episodes=2",
}
"""What `rlsparse` is asked for in a story, and less of it."""


@pytest.fixture
def beforehand(request, monkeypatch, run):
    """What a snippet expects to be there, by its page: names, and a folder with the files that it reads."""
    monkeypatch.setattr(PPO, "__init__", partialmethod(PPO.__init__, n_steps=32, batch_size=32, n_epochs=1))

    def prepare(text):
        names = {}
        if "numpy_policy" in text:
            run("export", str(request.getfixturevalue("trained") / "RUN"), "--format", "numpy", "--out", ".")
            monkeypatch.syspath_prepend(".")
            names["observation"] = np.zeros(3)
        if "[8192, 6]" in text:
            names["actions"] = torch.zeros(2, 6)
        return names

    return prepare


@pytest.mark.parametrize("block", SNIPPETS)
def test_a_snippet_runs(block, beforehand):
    names, text = beforehand(block.text), block.text
    for written, instead in CHANGED.items():
        text = text.replace(written, instead)
    exec(compile(text, block.place, "exec"), names)


class Optuna:
    """In the place of Optuna: a study of two trials, the second of which is pruned."""

    class TrialPruned(Exception):
        pass

    def __init__(self, reported=()):
        self.reported = list(reported)

    def suggest_float(self, name, low, high, log):
        return high

    def report(self, value, step):
        self.reported.append(step)

    def should_prune(self):
        return self.reported[0] == -1

    @staticmethod
    def create_study(direction):
        def optimize(objective, n_trials):
            assert np.isfinite(objective(Optuna()))
            with pytest.raises(Optuna.TrialPruned):
                objective(Optuna([-1]))

        return SimpleNamespace(optimize=optimize)


@pytest.mark.parametrize("page", STORIES)
def test_a_story_runs_from_first_to_last(page, beforehand, monkeypatch):
    """A snippet that defines an environment is the file that the sentence before it names."""
    monkeypatch.setattr(SLOW[1], lambda *_, **__: None)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setitem(sys.modules, "optuna", Optuna)
    names = beforehand("")
    told = [x for x in doc_pages.blocks() if x.language == "python" and x.place.startswith(f"{page}:")]
    for block in told:
        text = block.text
        for written, instead in CHANGED.items():
            text = text.replace(written, instead)
        for long, brief in BRIEF.items():
            text = re.sub(long, brief, text)
        if "(gymnasium.Env)" in text:
            Path("point.py").write_text(text)
        else:
            exec(compile(text, block.place, "exec"), names)


def test_no_block_is_left_out():
    known = {"sh", "python", *SHOWN}
    assert {block.place: block.language for block in doc_pages.blocks() if block.language not in known} == {}
    for page, test in ELSEWHERE.items():
        assert page.rpartition("/")[2] in (ROOT / test).read_text()
    fences = sum(len(re.findall(r"^ *```", text, re.MULTILINE)) for text in PAGES.values())
    assert fences == 2 * len(doc_pages.blocks())


# Promises


def test_every_test_that_a_promise_names_exists():
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGES["docs/reliability.md"])
    assert len(named) > 80
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []


def test_every_promise_has_a_test_or_a_reason():
    held, reasons = PAGES["docs/reliability.md"].split("## Not promised")
    rows = [line.split("|")[1:-1] for line in held.splitlines() if re.match(r"\| [\d, ]*\|", line)]
    assert all("::" in tests for _, _, tests in rows)
    numbers = [int(number) for row in rows for number in row[0].split(",") if number.strip()]
    numbers += [int(n) for n in re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, ]+) \|", reasons, re.MULTILINE)))]
    assert sorted(numbers) == list(range(1, max(numbers) + 1))
