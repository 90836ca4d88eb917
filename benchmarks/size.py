"""Memory, files and times of large runs: members x environments x widths of networks.

    python benchmarks/size.py [--most-gigabytes 12]

Each row is a process of its own that trains InvertedPendulum-v5 for two iterations, of 256 steps with one environment
and of 16 with 4,096, between two evaluations of one episode, two epochs of four minibatches each, and is saved twice.
Rows whose memory the formula of rlsparse/run/device.py puts above the limit, and those that take minutes, are computed
only, and marked with ~. Prints the table; writes benchmarks/results/size.csv.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rlsparse import loop
from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.network import ActorCritic
from rlsparse.run import device, directory, plan, session
from rlsparse.run.recipe import Recipe

MEMBERS, ENVIRONMENTS, WIDTHS = (1, 10, 1000), (1, 4096), (64, 256, 1024)
MOST_WORK = 2e12
"""Operations of an iteration that are measured; more take minutes on two cores."""

RESULTS = Path(__file__).parent / "results" / "size.csv"


def recipe(members: int, num_envs: int, width: int) -> Recipe:
    """Return what one row trains."""
    length = 256 if num_envs == 1 else 16
    return Recipe(
        "InvertedPendulum-v5",
        num_seeds=members,
        num_envs=num_envs,
        rollout_length=length,
        total_steps=2 * length * num_envs,
        eval_every=2 * length * num_envs,
        eval_episodes=1,
        policy=ActorCritic(actor_hidden=(width, width), critic_hidden=(width, width)),
        algorithm=PPO(epochs=2, minibatches=4),
    )


class Silent:
    """A reporter that reports nothing."""

    def iteration(self, *_: object) -> None:
        """Do nothing."""

    evaluation = probe = iteration


def timed(function: Any, seconds: list[float]) -> Any:
    """Return the function; its times are added to `seconds`."""

    def call(*given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        result = function(*given, **named)
        seconds.append(time.perf_counter() - begun)
        return result

    return call


def measure(members: int, num_envs: int, width: int) -> dict[str, float]:
    """Train in this process; return peak memory and files (bytes), and the shortest times (s)."""
    device.prepare()
    iterations, saves = list[float](), list[float]()
    loop.iterate, loop.save = timed(loop.iterate, iterations), timed(loop.save, saves)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        trained = recipe(members, num_envs, width)
        run = directory.create(trained, "ppo", Path(folder), Path(folder) / "run")
        open_session = session.open_session(trained, run, "cpu")
        loop.train(open_session, Silent(), lambda: False)  # type: ignore[arg-type]
        run.release()
        newest = max((run.path / "checkpoint").iterdir(), key=lambda path: int(path.name))
        return {
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "checkpoint": sum(path.stat().st_size for path in newest.iterdir()),
            "policy": (run.path / "policy.safetensors").stat().st_size,
            "iteration_s": min(iterations),
            "save_s": min(saves),
        }


def row(members: int, num_envs: int, width: int, most: float) -> dict[str, Any]:
    """Return what is computed of one row, and what is measured if that may be."""
    trained = recipe(members, num_envs, width)
    layout = trained.layout(4, 1)
    memory = device.memory_needed(trained, layout)
    found = {"members": members, "environments": num_envs, "width": width, "computed_memory": memory}
    found["computed_checkpoint"] = members * plan.SAVED_PER_PARAMETER * layout.size
    found["computed_policy"] = members * plan.policy_size(layout)
    if memory > most or work(members, num_envs, width) > MOST_WORK:
        return found
    command = [sys.executable, __file__, "--one", *map(str, (members, num_envs, width))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return found | (json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {})


def work(members: int, num_envs: int, width: int) -> float:
    """Return the multiplications and additions of an iteration, about."""
    one = recipe(members, num_envs, width)
    return 6.0 * one.layout(4, 1).size * members * one.batch_size * one.algorithm.epochs


def shown(found: dict[str, Any]) -> list[str]:
    """Return the cells of a row; what is only computed begins with ~."""
    cells = [f"{found[name]:,}" for name in ("members", "environments", "width")]
    names = ("memory", "checkpoint", "policy")
    cells += [_bytes(found[x]) if x in found else f"~ {_bytes(found[f'computed_{x}'])}" for x in names]
    return cells + [f"{found[name]:.3g} s" if name in found else "" for name in ("iteration_s", "save_s")]


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.3g} MB"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-gigabytes", type=float, default=12.0)
    parser.add_argument("--one", type=int, nargs=3)
    flags = parser.parse_args()
    if flags.one:
        print(json.dumps(measure(*flags.one)))
        return
    header = ["members", "environments", "width", "memory", "checkpoint", "policy file", "iteration", "save"]
    print(f"| {' | '.join(header)} |\n|{'---:|' * len(header)}", flush=True)
    rows = []
    for width in WIDTHS:
        for num_envs in ENVIRONMENTS:
            for members in MEMBERS:
                rows.append(row(members, num_envs, width, flags.most_gigabytes * 1e9))
                print(f"| {' | '.join(shown(rows[-1]))} |", flush=True)
    names = list(dict.fromkeys(name for found in rows for name in found))
    with open(RESULTS, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
