"""Sixteen settings of PPO on HalfCheetah as a study, beside as many calls of `rlsparse train`.

    python benchmarks/sweep.py [--steps 100_000] [--rounds 1] [--ways "sweep --jobs 1"]

Four learning rates x four clip ranges, one seed each: trained one after the other, two at a time, and as a study in one
and in two processes. Prints seconds, how many times faster than one after the other, and the most memory (sum of the
resident sets of all processes, looked at ten times a second). The time of a study includes its comparison, which the
other ways do not make. Sees to it that every run has the same returns in all ways, bit for bit. Run it on a quiet
machine; in each round all ways take turns. Writes benchmarks/results/sweep.csv.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from rlsparse.run.directory import read_progress, read_recipe

RATES, CLIPS = ("1e-4", "2e-4", "3e-4", "6e-4"), ("0.1", "0.2", "0.3", "0.4")
RESULTS = Path(__file__).parent / "results" / "sweep.csv"


def call(command: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "rlsparse", command, *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"rlsparse {command} ended with exit code {done.returncode}")


def trained_apart(folder: Path, steps: int, at_once: int) -> None:
    """One call for each setting, so many at a time."""

    def train(setting: tuple[str, str]) -> None:
        rate, clip = setting
        numbers = ["--algorithm.learning-rate", rate, "--algorithm.clip-range", clip, "--total-steps", str(steps)]
        call("train", "--env", "HalfCheetah", "--run-dir", str(folder / f"{rate}-{clip}"), "--quiet", *numbers)

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(train, product(RATES, CLIPS)))


def swept(folder: Path, steps: int, jobs: int) -> None:
    """One study of all settings."""
    grid = ["--sweep.algorithm.learning-rate", *RATES, "--sweep.algorithm.clip-range", *CLIPS]
    how = ["--total-steps", str(steps), "--jobs", str(jobs), "--out", str(folder), "--quiet"]
    call("sweep", "--envs", "HalfCheetah", *grid, *how)


WAYS: dict[str, Callable[[Path, int], None]] = {
    "one after the other": lambda folder, steps: trained_apart(folder, steps, 1),
    "two at a time": lambda folder, steps: trained_apart(folder, steps, 2),
    "sweep --jobs 2": lambda folder, steps: swept(folder, steps, 2),
    "sweep --jobs 1": lambda folder, steps: swept(folder, steps, 1),
}


def resident(process: int) -> int:
    """Return the resident set (bytes) of all processes below this one."""
    parents, pages = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry)], pages[int(entry)] = int(fields[1]), int(fields[21])
    below, total = {process}, 0
    while found := {child for child, parent in parents.items() if parent in below} - below:
        below |= found
    total = sum(pages[child] for child in below - {process})
    return total * os.sysconf("SC_PAGE_SIZE")


def measured(way: Callable[[Path, int], None], folder: Path, steps: int) -> tuple[float, float]:
    """Return the seconds that it takes, and the most memory (GB)."""
    peak, over = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.1):
            peak = max(peak, resident(os.getpid()))

    watcher = threading.Thread(target=look)
    watcher.start()
    begun = time.perf_counter()
    try:
        way(folder, steps)
    finally:
        seconds = time.perf_counter() - begun
        over.set()
        watcher.join()
    return seconds, peak / 1e9


def returns(folder: Path) -> dict[tuple[float, float], list[float]]:
    """Return what all evaluations gave, by setting."""
    found = {}
    for file in folder.rglob("recipe.toml"):
        algorithm = read_recipe(file.parent).algorithm
        rows = read_progress(file.parent / "progress.csv")
        found[algorithm.learning_rate, algorithm.clip_range] = [row["return_mean"] for row in rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    flags = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in flags.ways}
    same = None
    for _ in range(flags.rounds):
        for name in flags.ways:
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(measured(WAYS[name], Path(folder), flags.steps))
                found = returns(Path(folder))
            same = same or found
            if found != same or len(found) != len(RATES) * len(CLIPS):
                raise SystemExit(f"{name}: its runs are not those of {flags.ways[0]}")
    rows = []
    for name, those in times.items():
        seconds, memory = statistics.median(x for x, _ in those), max(x for _, x in those)
        faster = statistics.median(first / x for (first, _), (x, _) in zip(times[flags.ways[0]], those, strict=True))
        rows.append({"way": name, "steps": flags.steps, "seconds": round(seconds, 1), "times_faster": round(faster, 2)})
        rows[-1]["memory_gb"] = round(memory, 2)
        print(f"{name:<20} {seconds:8.1f} s  {faster:5.2f} x  {memory:5.2f} GB", flush=True)
    with open(RESULTS, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
