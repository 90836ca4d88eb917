"""How long `rlsparse compare` takes: 10 arms x 6 environments x 10 seeds x 1,000 points, start to end.

    python benchmarks/compare.py [--repeats 5]

Writes synthetic run directories, 600,000 rows, and compares them as a user would, in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rlsparse.run.recipe import Recipe, to_toml

ENVIRONMENTS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", "Swimmer-v5")
ARMS, SEEDS, POINTS = 10, 10, 1000
HEADER = "seed,total_steps,train_steps,probe_steps,eval_steps,seconds,return_mean,return_std,episodes,length_mean"


def write_run(folder: Path, agent: str, env_id: str, returns: np.ndarray) -> None:
    """Write a run directory with returns [seeds, points]."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(to_toml(Recipe(env_id, num_seeds=len(returns))))
    (folder / "versions.json").write_text(json.dumps({"agent": agent}))
    (folder / "status.json").write_text(json.dumps({"state": "finished"}))
    lines = [HEADER]
    for i, column in enumerate(returns.T.tolist()):
        lines += [f"{seed},{i}000,{i}000,0,0,{i},{y},1.0,10,1000.0" for seed, y in enumerate(column)]
    (folder / "progress.csv").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Write the runs, then time the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        runs = Path(root) / "runs"
        for env_id in ENVIRONMENTS:
            for arm in range(ARMS):
                returns = np.linspace(0, 2000 + 100 * arm, POINTS) + generator.normal(0, 300, (SEEDS, POINTS))
                write_run(runs / env_id / f"agent-{arm}", f"agent-{arm}", env_id, returns)
        command = [sys.executable, "-m", "rlsparse.compare", str(runs), "--out", str(Path(root) / "out"), "--quiet"]
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            seconds.append(time.perf_counter() - begun)
    print(f"{np.median(seconds):.1f} s (median of {repeats}; {min(seconds):.1f} to {max(seconds):.1f})")


if __name__ == "__main__":
    main()
