"""What a dry run says of a run, and that the run is so."""

import re
import shlex
from pathlib import Path

import pytest
import tiny
from train_runs import PROBING, rows

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
            "there will be no probe: one may take 50 steps (10 episodes of 5), and probing has 29 of --total-steps 96: "
            "use --total-steps 180, or fewer candidates",
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


def test_a_probe_that_a_time_limit_would_make_cheaper_is_told_of_it(run, caplog):
    flags = (
        f"--env fake_envs:Endless-v0 --explore {shlex.quote(str(tiny.PROBING))} --total-steps 400 --rollout-length 64"
    )
    code, plan, _ = run(*tiny.FLAGS, *shlex.split(flags), "--dry-run")
    (warning,) = caplog.messages
    assert "one may take 100,000 steps (10 episodes of 10,000)" in warning
    assert warning.endswith("an environment that is registered with a max_episode_steps, or fewer candidates")
    assert "evaluations      5, every 32 steps (--eval-every), of 2 episodes per seed, at most 10,000 steps" in plan


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
