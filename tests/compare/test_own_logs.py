"""Run directories: what they say, and what is made of them when they are cut, damaged or not yet there."""

import hashlib
import json
import os
import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import write_run

from rlsparse.compare.own_logs import read_progress_file, read_run
from rlsparse.compare.record import EVALUATION, PROBES_COUNTED, TRAINING, UnreadableLog
from rlsparse.errors import RunDirectoryError
from rlsparse.run.digests import stamp

CURVES = [[1.0, 2.5, 1234.5], [2.0, 3.5, 2345.5]]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "ppo" / "run", CURVES)


def test_every_seed_has_its_curve_on_every_axis(run):
    log = read_run(run)
    assert (log.agent, log.env, log.state) == ("ppo", "Pendulum-v1", "finished")
    assert (log.measure, log.accounting, log.episodes) == (EVALUATION, PROBES_COUNTED, (10,))
    assert [curve.seed for curve in log.curves] == [0, 1]
    assert [curve.returns.tolist() for curve in log.curves] == CURVES
    axes = log.curves[0].axes
    assert axes["steps"].tolist() == axes["train-steps"].tolist() == [0, 1000, 2000]
    assert axes["seconds"].tolist() == [0, 0.5, 1]
    assert axes["updates"].tolist() == [0, 1000 / (8 * 256), 2000 / (8 * 256)]
    assert log.versions == {"gymnasium": "1.4.0", "mujoco": "4.0.0"}
    assert log.settings["algorithm.learning_rate"] == 3e-4


def test_probe_steps_count(tmp_path):
    curve = read_run(write_run(tmp_path / "run", CURVES, probe_share=0.25)).curves[0]
    assert curve.axes["steps"].tolist() == [0, 1000, 2000]
    assert curve.axes["train-steps"].tolist() == [0, 750, 1500]
    assert curve.spent == {"train": 1500, "probe": 500, "eval": 6000}


def test_training_returns_lie_beside_evaluation_returns(run):
    log = read_run(run, training=True)
    assert log.measure == TRAINING
    assert log.curves[0].returns.tolist() == [-4.0, -2.5, 1229.5]


def test_a_run_that_was_killed_says_it_is_running_but_its_process_is_gone(run):
    status = json.loads((run / "status.json").read_text())
    process = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(process, 0)
    for pid, state in ((os.getpid(), "running"), (process, "killed")):
        here = {"state": "running", "pid": pid, "host": os.uname().nodename}
        (run / "status.json").write_text(json.dumps(status | here))
        assert read_run(run).state == state


def test_seeds_without_a_row_are_missing(tmp_path):
    assert read_run(write_run(tmp_path / "a", CURVES, num_seeds=4)).missing == (2, 3)
    assert read_run(write_run(tmp_path / "b", [], num_seeds=2, state="failed")).missing == (0, 1)


def test_a_curve_ends_where_its_returns_are_no_longer_finite(tmp_path):
    log = read_run(write_run(tmp_path / "run", [[1, 2, np.nan, 4], [1, 2, 3, 4]]))
    assert [curve.returns.tolist() for curve in log.curves] == [[1, 2], [1, 2, 3, 4]]
    assert log.curves[0].broken == "its return is not finite at 2,000 steps"


def test_progress_cut_anywhere_gives_points_that_were_there(run):
    whole = (run / "progress.csv").read_bytes()
    lines = [[float(cell) for cell in line.split(b",")] for line in whole.split(b"\n")[1:-1]]
    known = {(int(line[0]), line[1]): line[6] for line in lines}
    for length in range(len(whole)):
        (run / "progress.csv").write_bytes(whole[:length])
        for curve in read_run(run).curves:
            for steps, y in zip(curve.axes["steps"], curve.returns, strict=True):
                assert known[curve.seed, steps] == y


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("progress.csv", "seed,total_steps\n0,1\n", "no column train_steps"),
        ("progress.csv", "a;b\n1;2\n", "no column seed"),
        ("recipe.toml", "env = ", r"recipe\.toml: not a TOML file"),
        ("versions.json", "{", "versions.json"),
        ("status.json", "[]", "status.json"),
    ],
)
def test_damaged_files_are_refused_by_name(run, name, content, message):
    (run / name).write_text(content)
    with pytest.raises(RunDirectoryError, match=message):
        read_run(run)


def test_a_damaged_line_is_never_skipped_in_our_own_files(run):
    text = (run / "progress.csv").read_text().replace("2.5", "2.5.5", 1)
    (run / "progress.csv").write_text(text)
    with pytest.raises(UnreadableLog, match="damaged at line 4"):
        read_run(run)


def test_a_digit_that_has_changed_since_is_named(run):
    lines = stamp((run / "progress.csv").read_text().splitlines())
    (run / "progress.csv").write_text("\n".join(lines) + "\n")
    assert [curve.returns.tolist() for curve in read_run(run).curves] == CURVES
    (run / "progress.csv").write_text("\n".join(lines).replace("1234.5", "1734.5") + "\n")
    with pytest.raises(UnreadableLog, match=r"progress\.csv is not as it was written, by the digest of line 6"):
        read_run(run)


def test_rows_that_are_missing_at_the_end_of_a_finished_run_are_named(run):
    summary = {"seeds": [{"seed": seed, "train_steps": 2000} for seed in (0, 1)]}
    (run / "summary.json").write_text(json.dumps(summary))
    assert [curve.returns.tolist() for curve in read_run(run).curves] == CURVES
    whole = (run / "progress.csv").read_bytes()
    for cut in (whole[:-1], whole[: whole.rindex(b"\n", 0, -1) + 1]):
        (run / "progress.csv").write_bytes(cut)
        with pytest.raises(UnreadableLog, match="does not end where summary.json says, at step 2000 of seed 1"):
            read_run(run)
    (run / "status.json").write_text('{"state": "running"}')
    assert len(read_run(run).curves[1].returns) == 2


def test_a_recipe_that_has_changed_since_is_named(run):
    versions = json.loads((run / "versions.json").read_text())
    recipe = (run / "recipe.toml").read_bytes()
    versions["recipe_sha256"] = hashlib.sha256(recipe).hexdigest()
    (run / "versions.json").write_text(json.dumps(versions))
    assert read_run(run).settings["algorithm.learning_rate"] == 3e-4
    (run / "recipe.toml").write_bytes(recipe.replace(b"0.0003", b"0.0001"))
    with pytest.raises(UnreadableLog, match=r"recipe\.toml is not as it was written, by its digest in versions\.json"):
        read_run(run)


def test_seeds_and_steps_must_be_counts(run):
    text = (run / "progress.csv").read_text()
    (run / "progress.csv").write_text(text.replace("\n1,", "\n-1,"))
    with pytest.raises(UnreadableLog, match="not a count"):
        read_run(run)


def test_a_progress_file_alone_is_a_curve(run, tmp_path):
    shutil.copy(run / "progress.csv", tmp_path / "curve.csv")
    log = read_progress_file(tmp_path / "curve.csv", "ppo (shipped)", "Pendulum-v1")
    assert [curve.returns.tolist() for curve in log.curves] == CURVES


@given(st.data())
def test_no_damage_crashes_the_reader(tmp_path_factory, data):
    run = write_run(tmp_path_factory.mktemp("damage") / "run", CURVES)
    path = run / data.draw(st.sampled_from(["progress.csv", "recipe.toml", "versions.json", "status.json"]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(bytes(content))
    with suppress(RunDirectoryError):
        read_run(run)
