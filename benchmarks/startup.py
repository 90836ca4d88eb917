"""How long a user waits: for --help, for an answer to a mistake, for the first sign of training.

    python benchmarks/startup.py [--rounds 7]

Every command is a fresh process, beside a bare `python -c pass` and `python -c "import torch"` on the same machine.
Prints medians and spread in seconds and writes benchmarks/results/startup.csv.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
TRAIN = ["-m", "rlsparse.train"]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "rlsparse train --help": [*TRAIN, "--help"],
    "a mistyped flag": [*TRAIN, "--env", "HalfCheetah", "--totl-steps", "5"],
    "a mistyped environment": [*TRAIN, "--env", "HalfCheeta"],
    "rlsparse envs": ["-m", "rlsparse", "envs"],
}


def until_end(arguments: list[str]) -> float:
    """Seconds until the process has ended."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - start


def until_first_update() -> float:
    """Seconds from the command to the line of the first evaluation after an update, HalfCheetah, 1 seed."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--env", "HalfCheetah", "--eval-every", "2048", "--eval-episodes", "1", "--out", folder]
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *TRAIN, *flags], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if "2,048 steps" in line:
                break
        seconds = time.perf_counter() - start
        process.kill()
        process.wait()
    return seconds


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    seconds: dict[str, list[float]] = {name: [] for name in (*COMMANDS, "first update and evaluation")}
    for _ in range(parser.parse_args().rounds):
        for name, arguments in COMMANDS.items():
            seconds[name].append(until_end(arguments))
        seconds["first update and evaluation"].append(until_first_update())
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "startup.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["command", "median_s", "fastest_s", "slowest_s"])
        for name, x in seconds.items():
            row = [round(float(value), 3) for value in (np.median(x), min(x), max(x))]
            writer.writerow([name, *row])
            print(f"{name:<30}{row[0]:>8.2f} s   ({row[1]:.2f} to {row[2]:.2f})")


if __name__ == "__main__":
    main()
