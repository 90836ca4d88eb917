"""benchmarks/gpu.py runs without a GPU too, and writes what it says it does: nobody has to wait for one to find out."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("mujoco_warp", reason="needs pip install 'rlsparse[gpu]'")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import gpu

# Warp compiles its kernels, once: in one worker.
pytestmark = pytest.mark.xdist_group("warp")

PHASES = ("simulate", "act", "advantage", "update", "evaluate", "rest")


def test_every_part_writes_its_rows(tmp_path, monkeypatch, capsys):
    shipped = gpu.shipped
    monkeypatch.setattr(gpu, "shipped", lambda *which: replace(shipped(*which), eval_episodes=1))
    monkeypatch.setattr(gpu, "SEEDS", (2,))
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    where = ["--device", "cpu", "--env", "InvertedPendulum-v5", "--out", str(tmp_path)]
    command = [*where, "--sizes", "4", "--steps", "4", "--rounds", "1", "--goal-steps", "64"]
    gpu.main([*command, "--parts", "agreement", "simulate"])
    gpu.main([*command, "--minutes", "0"])
    assert "time is up before unrecorded" in capsys.readouterr().out
    monkeypatch.setattr(gpu, "simulate", lambda *_: pytest.fail("what is there is measured again"))
    gpu.main(command)
    measured = json.loads((tmp_path / "cpu.json").read_text())
    assert measured["device"] == "cpu"
    assert {"torch", "warp-lang", "mujoco-warp"} <= set(measured["packages"])
    with open(tmp_path / "cpu.csv") as file:
        assert len(list(csv.DictReader(file))) == len(measured["rows"])

    found = {(row["part"], row["num_envs"], row["num_seeds"], row["quantity"]): row for row in measured["rows"]}
    for size in (4,):
        speed, floor, ratio = (
            found["simulate", size, 1, quantity]["median"]
            for quantity in ("env steps/s", "env steps/s of the physics alone", "ratio to the physics alone")
        )
        assert ratio == pytest.approx(speed / floor)
        assert found["simulate", size, 1, "bytes per environment, simulation"]["median"] > 100
    for seeds in (2,):
        assert found["train", 4, seeds, "env steps/s, all seeds"]["median"] > 0
        shares = [found["train", 4, seeds, f"percent of time: {phase}"]["median"] for phase in PHASES]
        assert sum(shares) == pytest.approx(100)
        assert min(shares) > 0
    assert found["goal", 4, 1, "reached 5,000 (1: yes)"]["median"] == 0
    assert found["goal", 4, 1, "steps"]["median"] == 64
    assert found["agreement", 4, 1, "relative difference after 5 steps"]["median"] == 0
    assert found["unrecorded", 4, 1, "env steps/s"]["median"] > 0
    if "jax" not in sys.modules:
        assert "brax is not installed" in capsys.readouterr().out
