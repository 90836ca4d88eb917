"""`rlsparse.compare(...)`: the report of the command, from a script."""

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic_runs

import rlsparse
from rlsparse.compare import __main__ as command
from rlsparse.errors import RlsparseError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two agents, three seeds each."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("compared")
    for agent in ("ppo", "trpo"):
        curves = dict(enumerate(synthetic_runs.rising(rng, 3)))
        synthetic_runs.write_run(folder / agent / "20261120-201348-3059", curves, agent=agent, env="Hopper-v5")
    return folder


def test_it_prints_and_writes_what_the_command_does(folder, tmp_path, capsys):
    written = rlsparse.compare(folder / "ppo", folder / "trpo", out=tmp_path / "script")
    command.main([str(folder / "ppo"), str(folder / "trpo"), "--out", str(tmp_path / "typed")])
    assert capsys.readouterr().out.startswith(str(written))
    for name in ("report.html", "curves.csv"):
        assert (tmp_path / "script" / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()
    assert written.account == json.loads((tmp_path / "script" / "report.json").read_text())
    assert written.folder == tmp_path / "script"


def test_a_dict_names_arms(folder):
    found = rlsparse.compare({"mine": folder / "ppo", "theirs": [folder / "trpo"]}, baseline="mine")
    assert (found.comparison.arms, found.comparison.baseline) == (["mine", "theirs"], "mine")


def test_nothing_is_written_unless_asked(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rlsparse.compare(folder)
    assert not list(Path().iterdir())


def test_mistakes_are_exceptions(tmp_path):
    with pytest.raises(UsageError, match="compare what"):
        rlsparse.compare()
    with pytest.raises(RlsparseError, match="nothing"):
        rlsparse.compare(tmp_path / "nothing")
    for given in (["a", "b"], {"arm": 5}, {"arm": [5]}):
        with pytest.raises(UsageError, match="expected a run, a path, or a dict of them by the names of arms, not "):
            rlsparse.compare(given)
