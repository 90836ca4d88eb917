"""Does the code still compute what it computed at an older commit, bit for bit? Short runs of both, compared.

    python benchmarks/reference.py                               # the base commit beside this checkout
    python benchmarks/reference.py --only ppo trpo --jobs 1      # some cells
    python benchmarks/reference.py --keep /tmp/kept              # outputs stay in /tmp/kept/base and /tmp/kept/head
    python benchmarks/reference.py --base-results /tmp/kept/base # later: only this checkout runs
    python benchmarks/reference.py --tree ../other --base v1.0   # another working tree, another commit

A cell is one short run in processes of its own: of the command line, or of a small program that uses `rlsparse.sb3`.
Nothing else of the library is touched, so its modules may move. Compared are all arrays of the safetensors files and
all columns of the tables, but for those that tell the time; numbers of `play`, `compare` and exported policies; and
what docs/pairs.md says of every pair. A line is printed for each cell; the exit code is 1 if anything differs. The base
runs in a temporary `git worktree`, with this interpreter, on this machine: bits depend on both.
"""

import argparse
import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

BASE = "214983db7ed29aac283cad29e0eb22e2352e1b66"
HERE = Path(__file__).resolve().parent.parent

SMALL = "--num-seeds 2 --num-envs 4 --rollout-length 64 --policy.actor-hidden 16 16 --policy.critic-hidden 16 16 "
SMALL += "--total-steps 1536 --eval-every 768 --eval-episodes 2"
"""Six iterations, three evaluations; what a cell says comes later and counts."""
PPO = "--algorithm.epochs 3 --algorithm.minibatches 4 --algorithm.objective clip"
TRPO = "--algorithm trpo --algorithm.critic-epochs 4 --algorithm.critic-minibatches 2"
WIDE = "--policy.actor-hidden 64 64 --policy.critic-hidden 64 64"
MASKS = f"{PPO} --policy.actor-hidden 32 32 --policy.critic-hidden 32 32 --sparsity 0.8"
OFTEN = "--sparse.rule.every 1 --sparse.rule.end 1.0"
CUTS = "--sparse.rule.start 0.0 --sparse.rule.end 0.9"
LONG = "--eval-every 1536 --eval-episodes 1"
PROBES = "--explore.num-anchors 3 --explore.budget-fraction 0.6 --total-steps 8192 --eval-every 4096"
RACE = "--explore.anchor-span 0.0 --explore.num-anchors 3 --explore.proposal.candidates 4 --explore.probe.level 0.2"
GROUPS = f"{PPO} --algorithm.learning-rate 1e-3 --advantage.group-size 4"
WARP = "--device cpu --rollout-length 16 --total-steps 256 --eval-every 128"

TRAINING = {
    "ppo": f"--env HalfCheetah {PPO} {WIDE} {LONG}",
    "ppo-reuse": f"--env Hopper {PPO} --algorithm.objective reuse --algorithm.objective.rollouts 3",
    "ppo-target-kl": f"--env Hopper {PPO} --algorithm.target-kl 1e-4 --algorithm.learning-rate-decay",
    "ppo-gymnasium": f"--env Pendulum-v1 {PPO} --advantage td-lambda --advantage.actor-lambda 0.9",
    "trpo": f"--env Hopper {TRPO} {WIDE} --num-seeds 3",
    "trpo-m-fac": f"--env Hopper {TRPO} --algorithm.solver mfac --algorithm.solver.samples 64 "
    "--algorithm.fisher-subsample 2",
    "explorler-ppo": f"--env Reacher --agent explorler-ppo {PPO} {RACE} --explore.start 0.4 --total-steps 4096",
    "explorler-ppo-paper": f"--env Reacher --agent explorler-ppo-paper {PPO} {PROBES} --explore.start 0.1",
    "explorler-ppo-racing": f"--env Reacher --agent explorler-ppo-racing {PPO} {PROBES} --explore.probe.level 0.2",
    "explorler-ppo-in-rollout": f"--env Hopper --agent explorler-ppo-in-rollout {PPO} --explore.num-anchors 3 "
    "--num-envs 8",
    "explorler-ppo-in-rollout-vtrace": f"--env Hopper --agent explorler-ppo-in-rollout {PPO} --explore.num-anchors 3 "
    "--num-envs 8 --advantage vtrace --explore.probe.move best --explore.probe.level 0.2",
    "explorler-ppo-surrogate": f"--env Hopper --agent explorler-ppo-surrogate {PPO} --explore.num-anchors 3 "
    "--explore.probe.level 0.3",
    "explore-finish": f"--env Reacher --agent explorler-ppo-racing {PPO} {PROBES} --explore.budget-fraction 1.0 "
    "--explore.start 0.3 --explore.finish --explore.probe.level 0.2 --total-steps 6000",
    "sparse-rigl": f"--env HalfCheetah --sparse rigl {MASKS} {OFTEN} {LONG} --algorithm.target-kl 1e-3",
    "sparse-set": f"--env Hopper --sparse set {MASKS} {OFTEN}",
    "sparse-magnitude": f"--env Hopper --sparse magnitude {MASKS} {CUTS}",
    "sparse-ast": f"--env Hopper --sparse ast {MASKS} {CUTS} --sparse.rule.sparser 0.9 0.95",
    "sparse-dcil": f"--env Hopper --sparse dcil {MASKS} {CUTS}",
    "sparse-kl": f"--env Hopper --sparse rigl {MASKS} {OFTEN} --sparse.drop-by kl --sparse.max-kl 1e-3",
    "sparse-ppo": f"--env Hopper --agent sparse-ppo {PPO} --policy.actor-hidden 256 256 "
    f"--policy.critic-hidden 256 256 {OFTEN} --total-steps 1024",
    "sparse-trpo": f"--env Hopper --sparse rigl {TRPO} {OFTEN} {WIDE} --sparsity 0.8",
    "group-relative": f"--env Hopper --agent ppo-group {GROUPS} --rollout-length 128 --num-envs 8 --total-steps 4096",
    "grpo": f"--env Reacher --advantage grpo {GROUPS} --algorithm.no-normalise-advantages --num-envs 8 "
    "--rollout-length 50 --total-steps 2000",
    "reinforce-plus-plus": f"--env Hopper --advantage reinforce-plus-plus {GROUPS} --rollout-length 128 "
    "--algorithm.no-normalise-advantages --total-steps 3072",
    "scaffold": f"--env Hopper --advantage group-relative {GROUPS} --advantage.group-size 2 --rollout-length 72 "
    "--advantage.scaffold.after 1 --advantage.scaffold.success-return 35 --advantage.scaffold.exempt 0",
    "submodular": f"--env Ant --advantage submodular --advantage.set-function.radius 2 {PPO} {LONG} --num-envs 2",
    "hpt": f"--env Hopper {PPO} --algorithm.objective hpt --algorithm.objective.success-return 30 "
    "--algorithm.objective.gate 0.2",
    "gspo": f"--env Hopper --algorithm.objective gspo {PPO} --algorithm.minibatches 1",
    "sso": f"--env Hopper --algorithm.objective sso {PPO}",
    "n-pg-igt": "--env Hopper --algorithm n-pg-igt --algorithm.critic-epochs 4",
    "n-harpg": "--env Hopper --algorithm n-harpg --algorithm.critic-epochs 4 --algorithm.second-length 16",
    "diffgrad": f"--env Hopper {PPO} --algorithm.optimiser diffgrad",
    "ppo-gpu": f"--env InvertedPendulum --agent ppo-gpu {PPO} {WARP}",
    "trpo-gpu": f"--env InvertedPendulum --agent trpo-gpu {TRPO} {WARP}",
    "explorler-ppo-gpu": f"--env Reacher --agent explorler-ppo-gpu {PPO} {RACE} {WARP} --explore.start 0.1 "
    "--explore.probe.duel 3 --explore.probe.episodes 1 --total-steps 1500",
}
"""Flags of `rlsparse train` after those of SMALL, which count less."""


def flags(cell: str) -> list[str]:
    """Return all flags of a training cell, but for its run directory."""
    return shlex.split(f"{SMALL} {TRAINING[cell]} --quiet")


SB3_EXPLORLER = """
import json
from safetensors.torch import save_file
from stable_baselines3 import PPO
from rlsparse.sb3 import ExploRLerCallback, make_vec_env

small = {"n_steps": 64, "batch_size": 64, "n_epochs": 3, "policy_kwargs": {"net_arch": [16, 16]}}
model = PPO("MlpPolicy", make_vec_env("Reacher-v5", 4, 3), seed=3, device="cpu", **small)
model.learn(7_000, callback=ExploRLerCallback("explorler-ppo-paper", budget_fraction=0.5, out="explorler"))
save_file(model.policy.state_dict(), "model.safetensors")
json.dump({"steps": model.num_timesteps, "probe": model.num_probe_timesteps}, open("steps.json", "w"))
"""
SB3_SPARSE = """
from safetensors.torch import save_file
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure
from rlsparse.sb3 import load_sparse, make_vec_env, sparsify

env = make_vec_env("Hopper-v5", 4, 3)
small = {"n_steps": 512, "batch_size": 256, "n_epochs": 2, "policy_kwargs": {"net_arch": [32, 32]}}
model = sparsify(PPO("MlpPolicy", env, seed=3, device="cpu", **small), sparsity=0.8, rule="rigl")
model.set_logger(configure("first", ["csv"]))
model.learn(12_288)
save_file(model.policy.state_dict(), "first.safetensors")
model.save("sparse")
model = load_sparse(PPO, "sparse", env=env)
model.set_logger(configure("second", ["csv"]))
model.learn(2_048, reset_num_timesteps=False)
save_file(model.policy.state_dict(), "second.safetensors")
"""


def run(tree: Path, folder: Path, *arguments: str) -> str:
    """Run Python in a folder, with the library of a tree; returns what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=variables(tree), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def variables(tree: Path) -> dict[str, str]:
    """Return the environment variables of a process that runs the library of a tree."""
    path = os.pathsep.join(map(str, (tree, tree / "tests")))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def train(cell: str, tree: Path, folder: Path, _: Path | None) -> None:
    """Train."""
    run(tree, folder, "-m", "rlsparse.train", *flags(cell), "--run-dir", "run")


def resume(tree: Path, folder: Path, _: Path | None) -> None:
    """Stop a run by SIGTERM after its first evaluations, and go on with it; where it stops makes no difference."""
    longer = ["--env", "Reacher", "--total-steps", "8192", "--eval-every", "1024", "--run-dir", "run"]
    command = [sys.executable, "-m", "rlsparse.train", *flags("sparse-set"), *longer]
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=variables(tree), stdout=nowhere, stderr=nowhere)
    table = folder / "run" / "progress.csv"
    while process.poll() is None and (not table.exists() or table.read_text().count("\n") < 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    if process.wait() != 128 + signal.SIGTERM:
        raise RuntimeError(f"exit code {process.returncode} instead of that of a run that was stopped")
    run(tree, folder, "-m", "rlsparse.train", "--resume", "run", "--quiet")


def program(source: str, tree: Path, folder: Path, _: Path | None) -> None:
    """Run a small program."""
    run(tree, folder, "-c", source)


def compare(tree: Path, folder: Path, _: Path | None) -> None:
    """Compare shipped curves: tables, and every number of the report."""
    shutil.copytree(HERE / "benchmarks" / "results" / "learning", folder / "learning")
    arms = ["--group", "ppo=learning/ppo/*.csv", "trpo=learning/trpo/*.csv", "--baseline", "ppo"]
    _report(tree, folder, "groups", *arms)
    _report(tree, folder, "cards", "ppo", "explorler-ppo", "--env", "Hopper", "--statistic", "iqm")


def _report(tree: Path, folder: Path, name: str, *arguments: str) -> None:
    said = run(tree, folder, "-m", "rlsparse", "compare", *arguments, "--out", name, "--json")
    kept = {key: part for key, part in json.loads(said).items() if key not in ("rlsparse", "command", "runs")}
    (folder / f"{name}.json").write_text(json.dumps(kept))


def export(tree: Path, folder: Path, _: Path | None) -> None:
    """Export shipped policies."""
    _exported(tree, folder, "fp32", "ppo", "--env", "HalfCheetah", "--precision", "fp32")
    _exported(tree, folder, "fp16", "explorler-ppo", "--env", "Walker2d", "--seed", "2", "--precision", "fp16")


def _exported(tree: Path, folder: Path, name: str, *arguments: str) -> None:
    """Export as numpy, and keep the bytes of the policy: its actions depend on how arrays lie in memory."""
    run(tree, folder, "-m", "rlsparse", "export", *arguments, "--format", "numpy", "--out", name, "--json")
    np.save(folder / f"{name}.npy", np.frombuffer((folder / name / "policy.rlsp").read_bytes(), np.uint8))


def play(tree: Path, folder: Path, _: Path | None) -> None:
    """Play shipped policies."""
    for agent, env in (("ppo", "HalfCheetah"), ("trpo", "Hopper"), ("explorler-ppo", "Walker2d")):
        _returns(tree, folder, f"{agent}-{env}", agent, "--env", env, "--episodes", "2")


def _returns(tree: Path, folder: Path, name: str, *arguments: str) -> None:
    said = json.loads(run(tree, folder, "-m", "rlsparse", "play", *arguments, "--json"))
    (folder / f"{name}.json").write_text(json.dumps({key: part for key, part in said.items() if key != "policy"}))


def base_run(tree: Path, folder: Path, base: Path | None) -> None:
    """Play, export and compare runs that the base commit has trained, with either code."""
    for name in ("sparse-ast", "explorler-ppo-racing"):
        if base is None:
            run(tree, folder, "-m", "rlsparse.train", *flags(name), "--run-dir", name)
        else:
            shutil.copytree(base / name, folder / name)
        _returns(tree, folder, f"play-{name}", name, "--episodes", "2", "--seed", "1")
        _exported(tree, folder, f"export-{name}", name, "--precision", "fp32")
    arms = ["--group", "ast=sparse-ast", "racing=explorler-ppo-racing"]
    _report(tree, folder, "comparison", *arms, "--allow-mixed")


def pairs(tree: Path, folder: Path, _: Path | None) -> None:
    """Keep which pairs docs/pairs.md refuses, without its notes."""
    rows = [line.strip().strip("|").split("|") for line in (tree / "docs" / "pairs.md").read_text().splitlines()]
    rows = [[re.sub(r"\(\d+\)", "", field).strip() for field in row] for row in rows if len(row) > 2]
    verdicts, family = {}, ""
    for row in rows[2:]:
        if row[0].startswith("**"):
            family = row[0].strip("*`")
            continue
        for other, said in zip(rows[0][1:], row[1:], strict=True):
            refused = sorted(re.findall(r"`(.+?)`", said)) if "not " in said else said
            verdicts[f"{family} {row[0].strip('`')}, {other.strip()}"] = refused
    (folder / "pairs.json").write_text(json.dumps(verdicts, indent=1))


CELLS = {name: partial(train, name) for name in TRAINING} | {
    "resume": resume,
    "sb3-explorler": partial(program, SB3_EXPLORLER),
    "sb3-sparse": partial(program, SB3_SPARSE),
    "compare": compare,
    "export": export,
    "play": play,
    "base-run": base_run,
    "pairs": pairs,
}
"""What runs with the library of a tree, into a folder; the third argument is where the base ran, if it has."""

# Comparison


def results(folder: Path) -> dict[str, Any]:
    """Return all that is compared of a cell, by file and name."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if "checkpoint" not in path.parts):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            found.update({f"{name} {key}": array for key, array in load_file(path).items()})
        elif path.suffix == ".npy":
            found[name] = np.load(path)
        elif path.suffix == ".csv" and "learning" not in path.parts and path.name != "report.csv":
            found.update({f"{name} {column}": texts for column, texts in columns(path).items()})
        elif path.suffix == ".json" and path.parent == folder:
            found.update({f"{name} {key}": leaf for key, leaf in leaves(json.loads(path.read_text()))})
    return found


def columns(path: Path) -> dict[str, list[str]]:
    """Return the columns of a table, but for those that tell the time."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0] if rows else ()
    return {x: [row[x] for row in rows] for x in names if x not in ("seconds", "digest") and not x.startswith("time/")}


def leaves(part: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the numbers and texts inside nested lists and dictionaries, with where they are."""
    if isinstance(part, dict | list):
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield from leaves(inner, f"{name}/{key}")
    else:
        yield name, json.dumps(part)


def difference(base: dict[str, Any], head: dict[str, Any]) -> str:
    """Return what differs first, or nothing; what the base does not have is no difference, and told by `additions`."""
    if not base:
        return "the base has no results"
    for name in base:
        if name not in head:
            return f"{name} is missing"
        if said := one_difference(base[name], head[name]):
            return f"{name}: {said}"
    return ""


def additions(base: dict[str, Any], head: dict[str, Any]) -> str:
    """Return how many arrays, columns and texts the base does not have, and the first of them; or nothing."""
    more = [name for name in head if name not in base]
    return f", and {len(more)} new, such as {more[0]}" if more else ""


def one_difference(base: Any, head: Any) -> str:
    """Return how two arrays, columns or texts differ, or nothing."""
    if isinstance(base, np.ndarray):
        if (base.dtype, base.shape) != (head.dtype, head.shape):
            return f"{base.dtype}{list(base.shape)}, now {head.dtype}{list(head.shape)}"
        if base.tobytes() == head.tobytes():
            return ""
        apart = np.abs(base.astype(float) - head.astype(float)).ravel()
        first = int(np.flatnonzero(apart != 0)[0]) if apart.any() else 0
        return f"{np.count_nonzero(apart)} of {apart.size} numbers, from {first} on, by up to {np.nanmax(apart):.3g}"
    if isinstance(base, str) or len(base) != len(head):
        return "" if base == head else f"{str(base)[:60]}, now {str(head)[:60]}"
    row = next((i for i, pair in enumerate(zip(base, head, strict=True)) if pair[0] != pair[1]), None)
    return "" if row is None else f"{base[row][:60]}, now {head[row][:60]} in row {row}"


# Running


def both(cell: str, trees: dict[str, Path], kept: dict[str, Path]) -> tuple[str, str]:
    """Run a cell with the base and with the head, or with the head alone; returns its name and what differs."""
    start, said, new = time.monotonic(), "", ""
    try:
        for which, tree in sorted(trees.items()):  # the base first
            shutil.rmtree(kept[which] / cell, ignore_errors=True)
            (kept[which] / cell).mkdir(parents=True)
            CELLS[cell](tree, kept[which] / cell, kept["base"] / cell if which == "head" else None)
        base, head = results(kept["base"] / cell), results(kept["head"] / cell)
        said, new = difference(base, head), additions(base, head)
    except (RuntimeError, OSError, ValueError) as error:
        said = f"failed: {error}"
    print(f"{cell:<32} {said or 'equal'}{new} ({time.monotonic() - start:.0f} s)", flush=True)
    return cell, said


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out in a temporary folder."""
    git = ["git", "-C", str(HERE), "worktree"]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "base"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def check_imports(tree: Path) -> None:
    """Raise RuntimeError if another copy of the library than the tree's would run."""
    found = run(tree, tree, "-c", "import rlsparse; print(rlsparse.__file__)").strip()
    if not Path(found).resolve().is_relative_to(tree.resolve()):
        raise RuntimeError(f"{tree} is not what Python imports, but {found}")


def compare_all(cells: list[str], jobs: int, trees: dict[str, Path], kept: dict[str, Path]) -> list[str]:
    """Return the names of the cells that differ."""
    for tree in trees.values():
        check_imports(tree)
    with ThreadPoolExecutor(jobs) as pool:
        return [cell for cell, said in pool.map(lambda cell: both(cell, trees, kept), cells) if said]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE, help="commit to compare with")
    parser.add_argument("--tree", type=Path, default=HERE, help="working tree that is compared")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CELLS, default=list(CELLS))
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep outputs, as FOLDER/base and FOLDER/head")
    parser.add_argument("--base-results", type=Path, metavar="FOLDER", help="base outputs of an earlier --keep")
    asked = parser.parse_args()
    known, start = asked.base_results, time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the worktree goes even then
    with tempfile.TemporaryDirectory() as scratch, nullcontext() if known else worktree(asked.base) as tree:
        folder = (asked.keep or Path(scratch)).resolve()
        kept = {"base": known.resolve() if known else folder / "base", "head": folder / "head"}
        trees = {"head": asked.tree.resolve()} | ({"base": tree} if tree else {})
        differ = compare_all(asked.only, asked.jobs, trees, kept)
    print(f"{len(asked.only)} cells, {len(differ)} differ; {time.monotonic() - start:.0f} s")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
