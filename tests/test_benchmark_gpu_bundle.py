"""benchmarks/gpu_bundle.py gathers all that is needed but torch, and its parts can be put together again."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import gpu_bundle


def test_what_is_required_is_there_without_torch():
    packages = gpu_bundle.closure("3.12")
    assert {"warp-lang", "mujoco-warp", "mujoco", "gymnasium", "tyro", "imageio", "numpy"} <= packages.keys()
    assert not {"torch", "rlsparse", "pytest"} & packages.keys()
    assert not any(name.startswith("nvidia") for name in packages)


def test_parts_are_put_together_and_installed(tmp_path, monkeypatch, capsys):
    out = tmp_path / "bundle"

    def gather(folder, packages, python):
        folder.mkdir()
        (folder / f"some-{python}.whl").write_bytes(bytes(1_500_000))

    commands = []
    run = subprocess.run
    monkeypatch.setattr(gpu_bundle, "gather_wheels", gather)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or (out / "kernels").mkdir())
    gpu_bundle.main(["--out", str(out), "--part-size", "1", "--env", "Hopper", "Ant"])
    assert [str(word) for word in commands[0][2:]] == [
        *("rlsparse", "compile", "--arch", "90", "--out", str(out / "kernels"), "--env", "Hopper", "Ant")
    ]
    assert sorted(path.name for path in out.iterdir()) == ["install.sh", "part.000", "part.001"]
    assert "part.000  1.0 MiB" in capsys.readouterr().out

    pretended = tmp_path / "python"
    pretended.write_text('#!/bin/sh\necho "$@"\n')
    pretended.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = run(["bash", out / "install.sh"], env=path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("-m pip install --no-index --no-deps --find-links wheels ")
    assert {"rlsparse", "warp-lang", "mujoco-warp"} <= set(said.split())
    assert (out / "wheels" / "some-3.12.whl").stat().st_size == 1_500_000
    assert (out / "kernels").is_dir()
