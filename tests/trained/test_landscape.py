"""`rlsparse landscape`: what is measured around an update, against evaluations of its policies; what is written."""

import csv
import json
import os
import re
import shutil
import signal
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.spaces import Box
from PIL import Image

from rlsparse import sim
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.sim.episodes import ProbeEpisodes, evaluate
from rlsparse.trained import landscape, landscape_account
from rlsparse.trained.survey import FRESH, survey
from rlsparse.trained.update import next_update

EPOCHS, CANDIDATES = 4, 16


class Hill(gymnasium.Env):
    """Three steps, paid for actions close to 0.3 and for luck of the start; what is observed says nothing."""

    observation_space, action_space = Box(-1, 1, (1,), np.float64), Box(-1, 1, (1,), np.float32)
    steps = 0
    stop_at = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.luck, self.left = self.np_random.standard_normal(), 3
        return np.ones(1), {}

    def step(self, action):
        Hill.steps += 1
        if Hill.steps == Hill.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        self.left -= 1
        return np.ones(1), self.luck + self.height(action[0]), False, self.left == 0, {}

    @staticmethod
    def height(action):
        return -((float(action) - 0.3) ** 2)


RECIPE = tiny.recipe(
    env="Hill-v0",
    seed=5,
    num_seeds=2,
    policy=ActorCritic((4,), (4,), normalise_observations=False),
    algorithm=replace(tiny.RECIPE.algorithm, epochs=EPOCHS, learning_rate=3e-3, learning_rate_decay=False),
)


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("Hill-v0", Hill, disable_env_checker=True)
    yield
    del gymnasium.registry["Hill-v0"]


@pytest.fixture(scope="module")
def trained(registered, tmp_path_factory):
    """A finished run of two seeds, six updates each."""
    return tiny.train(tmp_path_factory.mktemp("hill") / "run", RECIPE)


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        capsys.readouterr()
        landscape.main([str(argument) for argument in ("--samples", 12, "--episodes", 3, *arguments)])
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def fails(capsys):
    """The exit code, and the line of the error, that a command ends with."""

    def fail(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            landscape.main([str(argument) for argument in arguments])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rlsparse: ")]
        assert len(errors) == 1
        return stop.value.code, errors[0]

    return fail


def points(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_picture_and_a_table_are_all_that_is_written(run, run_dir):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    out = run(run_dir, "--iteration", 5)
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert out.splitlines()[-1] == str(run_dir / "landscape-5.png")
    assert set(after) - set(before) == {run_dir / "landscape-5.png", run_dir / "landscape-5.csv"}
    assert {path: after[path] for path in before} == before
    with Image.open(run_dir / "landscape-5.png") as picture:
        assert picture.width > 1000
        inside = json.loads(picture.text["Description"])
    assert inside["iteration"] == 5


def test_the_table_has_every_point(run, run_dir):
    run(run_dir, "--iteration", 5, "--seed", 6)
    rows = points(run_dir / "landscape-5.csv")
    kinds = [row["kind"] for row in rows]
    expected = {"before": 1, "anchor": EPOCHS, "incumbent": 1, "sample": 12, "candidate": CANDIDATES}
    expected |= {"incumbent, fresh": 1, "best sample, fresh": 1}
    assert {kind: kinds.count(kind) for kind in set(kinds)} == expected
    assert {row["episodes"] for row in rows[:-2]} == {"3"}
    assert {row["episodes"] for row in rows[-2:]} == {str(FRESH)}
    update = next_update(run_dir, 6, 5)
    place = {row["kind"]: np.array([float(row["along"]), float(row["across"])]) for row in rows}
    length = np.linalg.norm(update.after - update.before)
    np.testing.assert_allclose(place["incumbent"] - place["before"], [length, 0], atol=1e-9)


def test_returns_are_those_of_the_policies_on_seeds_that_nothing_else_uses(run, run_dir):
    result = json.loads(run(run_dir, "--seed", 6, "--json"))
    seeds = env_seeds(6, "landscape_env", 3 + FRESH, 5)
    actors = next_update(run_dir, 6).learner.actors().only(1)
    scores = evaluate(sim.make("Hill-v0", 3 + FRESH, autoreset=False), actors, seeds).returns[0]
    assert result["incumbent"]["mean"] == pytest.approx(scores[3:].mean())
    assert result["incumbent"]["standard_error"] == pytest.approx(scores[3:].std(ddof=1) / np.sqrt(FRESH))
    (row,) = [row for row in points(result["table"]) if row["kind"] == "incumbent"]
    assert float(row["mean"]) == pytest.approx(scores[:3].mean())
    assert float(row["standard_error"]) == pytest.approx(scores[:3].std(ddof=1) / np.sqrt(3))
    for purpose in ("train_env", "eval_env", "probe_env", "play"):
        assert not set(seeds) & set(env_seeds(6, purpose, 1000))


def test_steps_are_counted_where_they_are_taken(run, run_dir):
    result = json.loads(run(run_dir, "--json"))
    measured = 1 + EPOCHS + 1 + 12 + CANDIDATES
    assert result["steps"] == 3 * (3 * measured + 2 * FRESH)
    assert (result["iteration"], result["total_steps"], result["made_by_run"]) == (5, 80, True)


def test_luck_of_the_start_is_not_taken_for_a_difference(run, run_dir):
    """All policies are paid for the same luck, so differences between them are exact, and so is the comparison."""
    result = json.loads(run(run_dir, "--json"))
    assert result["incumbent"]["standard_error"] > 0.1, "of the return itself"
    assert result["spread"]["explained"] < 1e-6
    assert result["spread"]["p_value"] < 1e-6
    assert result["gain"]["standard_error"] < 1e-6
    means = [float(row["mean"]) for row in points(result["table"]) if row["kind"] == "sample"]
    (incumbent,) = [float(row["mean"]) for row in points(result["table"]) if row["kind"] == "incumbent"]
    assert result["share_above_incumbent"] == np.mean(np.array(means) > incumbent)
    assert result["gain"]["mean"] == pytest.approx(max(means) - incumbent, abs=1e-6)


def test_samples_are_normal_around_the_anchors_and_scale_with_the_reach(run_dir):
    update = next_update(run_dir, 5)
    anchors = update.anchors - update.anchors.mean(0)
    spread = np.sqrt((anchors**2).sum(1).mean())
    for reach in (0.5, 2.0):
        found = survey(update, 1000, 2, reach)
        samples = found.coordinates[found.where("sample")] - found.coordinates[found.where("anchor")].mean(0)
        assert np.sqrt((samples**2).sum(1).mean()) == pytest.approx(reach * spread, rel=0.05)
        assert np.linalg.norm(samples.mean(0)) < 0.1 * reach * spread


def test_the_same_command_measures_the_same(run, run_dir, tmp_path):
    for name in ("a.png", "b.svg"):
        run(run_dir, "--out", tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    run(run_dir, "--seed", 6, "--out", tmp_path / "b.svg")
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "b.csv").read_bytes()
    assert not list(run_dir.glob("landscape*"))


def test_the_text_says_where_it_is_and_what_was_found(run, run_dir):
    title, remark, belief, picture = run(run_dir).splitlines()
    assert title == "Returns around update 5: Hill-v0, seed 5, 80 steps"
    assert remark.startswith("12 samples, 3 episodes each: they differ (p < 0.001); on 50 fresh episodes: incumbent ")
    assert belief.startswith("clipped surrogate against returns of the samples, rank correlation: ")
    assert picture == str(run_dir / "landscape-5.png")


def test_a_name_with_dollars_is_drawn_as_it_is(run, run_dir, monkeypatch):
    monkeypatch.setattr(landscape_account, "title", lambda update: "Returns of my$x_{$:Env-v0")
    assert run(run_dir).startswith("Returns of my$x_{$:Env-v0\n")


def test_the_update_that_is_drawn_instead_of_another_is_named(run, run_dir, capsys):
    landscape.main([str(run_dir), "--iteration", "6", "--samples", "3", "--episodes", "2"])
    assert "no checkpoint is kept there: drawing update 5 instead\n" in capsys.readouterr().err


def test_a_proposal_of_several_rounds_is_asked_as_often(run, tmp_path):
    exploring = ExploRLer(Consensus(particles=5, rounds=3), Episodes(2), anchors="iterations", num_anchors=3)
    tiny.train(tmp_path / "run", replace(RECIPE, num_seeds=1, explore=exploring))
    result = json.loads(run(tmp_path / "run", "--json"))
    assert (result["proposal"], result["anchors"]) == ("consensus", 3)
    assert [row["kind"] for row in points(result["table"])].count("candidate") == 15


def test_a_candidate_that_fails_is_marked_and_not_drawn_into_the_surface(run, run_dir, monkeypatch):
    measure = ProbeEpisodes.__call__

    def fail_some(self, candidates, first, count):
        returns = measure(self, candidates, first, count)
        if candidates.shape[1] == CANDIDATES:
            returns[0, 2, 1] = -np.inf
        return returns

    monkeypatch.setattr(ProbeEpisodes, "__call__", fail_some)
    result = json.loads(run(run_dir, "--json"))
    assert result["samples"]["finite"] == 12
    scores = [float(row["mean"]) for row in points(result["table"]) if row["kind"] == "candidate"]
    assert np.isneginf(scores).tolist() == [i == 2 for i in range(CANDIDATES)]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--iteration", "4"], 2, "--iteration 4: .* lead to the updates 5; rlsparse train --keep-checkpoints N keeps"),
        (["--seed", "7"], 2, "--seed 7: .* holds seeds 5 to 6"),
        (["--samples", "1"], 2, "--samples is 1: expected a whole number from 2 on"),
        (["--episodes", "1"], 2, "--episodes is 1: expected"),
        (["--reach", "0"], 2, "--reach is 0.0: expected a positive number"),
        (["--out", "a.jpg"], 2, "--out a.jpg should end in .png, .pdf or .svg"),
        (["--out", "nowhere/a.png"], 2, "there is no folder nowhere"),
        (["--iteratoin", "3"], 2, r"unknown flag --iteratoin: did you mean --iteration\?"),
    ],
)
def test_bad_flags(fails, run_dir, flags, code, message):
    got, line = fails(run_dir, *flags)
    assert got == code
    assert re.search(message, line)


def test_what_is_no_run(fails, tmp_path):
    assert fails(tmp_path)[0] == 4
    code, line = fails(tmp_path / "absent")
    assert (code, line) == (4, f"rlsparse: there is no run directory {tmp_path / 'absent'}")


def test_a_single_anchor_makes_no_landscape(fails, tmp_path):
    exploring = ExploRLer(Consensus(particles=5), Episodes(2), anchors="iterations", num_anchors=9)
    tiny.train(tmp_path / "run", replace(RECIPE, num_seeds=1, eval_every=16, total_steps=16, explore=exploring))
    code, line = fails(tmp_path / "run")
    assert code == 2
    assert "update 1 has one anchor" in line


@pytest.mark.parametrize("late", [False, True], ids=["updating", "measuring"])
def test_ctrl_c_ends_it_and_leaves_nothing_behind(late, fails, run_dir, monkeypatch):
    files = set(run_dir.rglob("*"))
    monkeypatch.setattr(Hill, "stop_at", Hill.steps + (200 if late else 5))
    assert fails(run_dir, "--samples", "12", "--episodes", "3") == (130, "rlsparse: interrupted")
    assert set(run_dir.rglob("*")) == files


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [(1234.5678, 12.345, "1,235 ± 12"), (-3.14159, 0.0123, "-3.142 ± 0.012"), (7, 0, "7 ± 0")],
)
def test_numbers_end_with_the_second_digit_of_their_error(mean, error, text):
    returns = np.array([mean - error, mean + error])  # two values, whose mean has just this standard error
    assert landscape_account.with_error(returns).replace("\N{NO-BREAK SPACE}", " ") == text
