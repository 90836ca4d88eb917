"""Logs made to do harm: each costs itself one line, never the comparison, and little time and memory."""

import os
import shutil
import tracemalloc
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from foreign_runs import write_monitor
from synthetic_runs import write_run

from rlsparse.compare import __main__ as command
from rlsparse.compare import comparison
from rlsparse.compare.account import account
from rlsparse.compare.arms import arrange
from rlsparse.compare.find import read_list
from rlsparse.compare.logs import read_logs
from rlsparse.errors import UsageError

MOST_MEMORY = 300e6
CURVES = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]


def npy(header, data=b""):
    """An array whose header says what it likes."""
    text = (header + " " * (-(len(header) + 11) % 64)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def header(shape, kind="<f8"):
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


def archive(folder, timesteps, results, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(folder / "evaluations.npz", "w", compression) as file:
        file.writestr("timesteps.npy", timesteps)
        file.writestr("results.npy", results)


def npz_bomb(folder):
    archive(folder, npy(header("(2,)"), bytes(16)), npy(header("(12000000, 1)"), bytes(96_000_000)))


def npz_bomb_of_bz2(folder):
    archive(folder, npy(header("(2,)"), bytes(16)), npy(header("(2, 1)"), bytes(40_000_000)), zipfile.ZIP_BZIP2)


def npz_that_lies_about_its_size(folder):
    npz_bomb(folder)
    path = folder / "evaluations.npz"
    size = len(npy(header("(12000000, 1)"))) + 96_000_000
    path.write_bytes(path.read_bytes().replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little")))


def npz_header_of_a_huge_shape(folder):
    archive(folder, npy(header("(1099511627776, 5)")), npy(header("(1099511627776, 5)")))


def npz_header_of_brackets(folder):
    archive(folder, npy("(((" * 100), npy("(((" * 100))


def npz_of_objects(folder):
    np.savez(folder / "evaluations.npz", timesteps=np.arange(2), results=np.array([[1], ["a"]], object))


def steps_beyond_counting(folder):
    (folder / "progress.csv").write_text("time/total_timesteps,eval/mean_reward\n1e301,1\n" + "9" * 400 + ",2\n")


def returns_beyond_reckoning(folder):
    write_monitor(folder / "monitor.csv", [(1e200, 10, 1.0), ("1e308", 10, 2.0)])


def header_of_one_long_cell(folder):
    (folder / "progress.csv").write_text('"' + "x" * 200_000 + '",b\n1,2\n')


def head_nested_without_end(folder):
    (folder / "monitor.csv").write_text("#" + "[" * 100_000 + "\nr,l,t\n1,1,1\n")


def lines_without_end(folder):
    (folder / "progress.csv").write_bytes(b"\n" * (2**21 + 2))


def events_that_are_none(folder):
    (folder / "events.out.tfevents.1").write_bytes(b"\xff" * 4096)


FOREIGN = [
    npz_bomb,
    npz_bomb_of_bz2,
    npz_that_lies_about_its_size,
    npz_header_of_a_huge_shape,
    npz_header_of_brackets,
    npz_of_objects,
    steps_beyond_counting,
    returns_beyond_reckoning,
    header_of_one_long_cell,
    head_nested_without_end,
    lines_without_end,
    events_that_are_none,
]

OURS = {
    "recipe.toml": [
        "a = " + "[" * 100_000,
        ".".join("a" * 30_000) + " = 1",
        "a = " + "9" * 5000,
        f'env = "{"x" * 500}"',
        "[a]\nb = '" + "x" * 1000 + "'",
    ],
    "versions.json": ['{"a": ' + "[" * 100_000, '{"packages": ' + '{"a":' * 5000, "[]"],
    "status.json": ["[" * 100_000, '{"reason": ' + "[" * 5000],
    "progress.csv": [
        "seed,total_steps,train_steps,probe_steps,return_mean\n"
        + "".join(f"{i},0,0,0,1\n{i},9,9,0,1\n" for i in range(1100)),
        "seed,total_steps,train_steps,probe_steps,return_mean\n1e200,0,0,0,1\n",
        "seed,total_steps,train_steps,probe_steps,return_mean\n0,1e300,1e300,0,1\n",
    ],
}


def check_costs_itself_one_line(folder):
    """Read a good run beside what is hostile, within little memory."""
    write_run(folder / "good", CURVES)
    tracemalloc.start()
    try:
        found = read_logs([str(folder)])
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert [log.path.name for log in found.logs] == ["good"]
    (told,) = found.unreadable
    assert "bad" in told
    assert len(told) < 700
    assert "\n" not in told


@pytest.mark.parametrize("write", FOREIGN)
def test_a_hostile_log_of_another_library_costs_itself_one_line(tmp_path, write):
    (tmp_path / "bad").mkdir()
    write(tmp_path / "bad")
    check_costs_itself_one_line(tmp_path)


@pytest.mark.parametrize(("name", "content"), [(name, x) for name, those in OURS.items() for x in those])
def test_a_hostile_file_of_a_run_costs_itself_one_line(tmp_path, name, content):
    write_run(tmp_path / "bad", CURVES)
    (tmp_path / "bad" / name).write_text(content)
    check_costs_itself_one_line(tmp_path)


@pytest.mark.parametrize("name", ["versions.json", "status.json", "progress.csv"])
def test_a_file_without_end_is_never_opened(tmp_path, name):
    for kind in ("pipe", "device"):
        bad = write_run(tmp_path / kind / "bad", CURVES)
        (bad / name).unlink()
        os.mkfifo(bad / name) if kind == "pipe" else (bad / name).symlink_to("/dev/zero")
        write_run(tmp_path / kind / "good", CURVES)
        assert [log.path.name for log in read_logs([str(tmp_path / kind)]).logs] == ["good"]
    os.mkfifo(tmp_path / "events.out.tfevents.1")
    assert "not a regular file" in read_logs([str(tmp_path / "events.out.tfevents.1")]).unreadable[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("versions.json", '{"packages": [], "device": [], "agent": {}, "started": 5, "simulator": []}'),
        ("versions.json", '{"packages": {"mujoco": []}, "agent": null}'),
        ("status.json", '{"state": [], "reason": {}, "pid": "x"}'),
        ("summary.json", '{"seeds": [1, {"seed": [], "train_steps": 3}]}'),
    ],
)
def test_values_of_other_types_are_as_good_as_none(tmp_path, name, content):
    write_run(tmp_path / "run", CURVES)
    (tmp_path / "run" / name).write_text(content)
    (log,) = read_logs([str(tmp_path)]).logs
    assert [curve.returns.tolist() for curve in log.curves] == CURVES
    assert account(comparison.compare(arrange([log], {})))["arms"] == [log.agent]


def test_a_list_of_runs_nested_without_end_is_a_usage_error(tmp_path):
    (tmp_path / "list.toml").write_text("runs = " + "[" * 100_000)
    with pytest.raises(UsageError, match=r"list\.toml"):
        read_list(tmp_path / "list.toml")


NAMES = [
    *("$x_{$", "a$b$c", "\x1b]0;owned\x07\x1b[31m", "-1+cmd", "line\nrlsparse: done", "\u202edettimda", "<b>&amp;"),
    *("\u65e5\u672c", "x" * 9000),
]


def test_names_are_shown_as_they_are_and_command_nothing(tmp_path, capsys):
    for i, name in enumerate(NAMES):
        write_run(tmp_path / "runs" / str(i), [[1.0, 2.0 + i]], agent=name, state="failed", reason=name)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/runs/\xff\x1b")
    shutil.move(tmp_path / "runs" / "0", odd)
    words = ["--figure", "report.png", "report.svg", "--out", str(tmp_path / "out")]
    command.main([str(tmp_path / "runs"), *words])
    out, err = capsys.readouterr()
    assert err == ""
    assert not set(out) & {"\x1b", "\x07", "\u202e"}
    assert "\nrlsparse: done" not in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "\x1b" not in page and "<b>&amp;" not in page
    ET.parse(tmp_path / "out" / "report.svg")
    rows = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert any(row.startswith("Pendulum-v1,'-1+cmd,") for row in rows)
