"""examples/first_script.py trains, loads, calls, evaluates, fine-tunes and compares in less than 40 lines."""

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "first_script.py"


def test_it_does_all_that_in_two_environments_without_surprise(tmp_path):
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, SCRIPT, "64"], cwd=tmp_path, env=where, capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if line and "settotalmass" not in line]  # MuJoCo's, of Gymnasium
    assert (done.returncode, told) == (0, [])
    for env in ("HalfCheetah-v5", "first_script.py:Point"):
        assert re.search(rf"^Policy\(\S*{env}', seed=0, .*\[.*Evaluation\(mean=", done.stdout, re.MULTILINE | re.DOTALL)
        assert f"{env}: too few seeds to tell the arms apart (n = 2)." in done.stdout
        assert sorted(path.name for path in (tmp_path / "runs" / env).iterdir()) == ["ppo", "ppo+init", "trpo"]


def test_it_has_less_than_forty_lines():
    assert len(SCRIPT.read_text().splitlines()) < 40
