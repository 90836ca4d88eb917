"""Size and latency of exported policies beside the dense PyTorch module that they come from; returns with fp16.

    python benchmarks/export.py [RUN_DIR ...] [--rounds 25]

Networks of two hidden layers with HalfCheetah's 17 observations and 6 actions, random masks of the Erdos-Renyi-Kernel
budget, weights as they are initialised; then the first policy of each run that is named. In every round all sides take
their turn, in one process with one thread each, on one observation and on 4,096. The peer does the same work as eager
PyTorch operations in inference mode: normaliser, clip, dense network, action range. A ratio is the peer's time over the
side's in the same round, with the 95 % interval of its geometric mean over rounds. Beside what is exported: the network
of the peer alone, and numpy with only the weights that are there (rows padded to equal length, gathered).

Then the shipped policies play, as trained and exported, the same four episodes per seed.

Writes benchmarks/results/export.csv, a row per network, batch and side, and export_returns.csv.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from rlsparse.compare.statistics import mean_interval
from rlsparse.learner.actors import Actors
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run import cards, policy_file
from rlsparse.run.listing import trained_environments
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import Static
from rlsparse.trained.compact import Network, compact, fold, rounded
from rlsparse.trained.export_formats import FORMS, WEIGHTS, Format, Precision
from rlsparse.trained.policy import PolicyFlags, load_member, make_environment, run_episode

RESULTS = Path(__file__).parent / "results"
PEER = "torch, dense"
BATCHES = (1, 4096)
SLICE_SECONDS = 0.02
EPISODES = 4
SIDES: dict[str, tuple[Format, Precision]] = {
    "numpy": ("numpy", "fp16"),
    "numpy, fp32 weights": ("numpy", "fp32"),
    "onnx": ("onnx", "fp32"),
}
Row = dict[str, Any]
Call = Callable[[], object]


class Peer(nn.Module):
    """What a trained policy is before export, as its author would write it."""

    def __init__(self, actors: Actors, low: np.ndarray, high: np.ndarray) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for weight, bias in actors.layout.layers(torch.tensor(actors.params[0]), "actor"):
            layers += [linear := nn.Linear(*weight.shape), nn.Tanh()]
            linear.weight.data, linear.bias.data = weight.T.contiguous(), bias
        self.network = nn.Sequential(*layers[:-1])
        self.mean, self.inv_std = (torch.tensor(x[0]) for x in (actors.scale.mean, actors.scale.inv_std))
        self.low, self.high = torch.tensor(low), torch.tensor(high)
        self.half, self.centre, self.clip = (self.high - self.low) / 2, (self.high + self.low) / 2, actors.scale.clip

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Act."""
        x = ((obs - self.mean) * self.inv_std).clamp(-self.clip, self.clip)
        return (self.network(x) * self.half + self.centre).clamp(self.low, self.high)


def packed_rows(network: Network) -> Callable[[np.ndarray], np.ndarray]:
    """Return the policy with the weights that are there only; for one observation."""
    layers = []
    for weight, bias in network.layers:
        length = max(int(np.count_nonzero(weight, 0).max()), 1)
        order = np.argsort(weight.T == 0, axis=1, kind="stable")[:, :length]
        layers.append((order, np.take_along_axis(weight.T, order, 1).astype(np.float32), bias.astype(np.float32)))
    vectors = [x.astype(np.float32) for x in (network.shift, network.limit, network.low, network.high)]
    shift, limit, low, high = vectors

    def act(obs: np.ndarray) -> np.ndarray:
        x = np.minimum(np.maximum(obs.take(network.inputs) - shift, -limit), limit)
        for i, (order, values, bias) in enumerate(layers):
            x = np.einsum("ij,ij->i", values, x.take(order)) + bias
            x = np.tanh(x) if i < len(layers) - 1 else x
        return np.minimum(np.maximum(x, low), high)

    return act


def random_policy(width: int, sparsity: float) -> Actors:
    """Draw an untrained policy whose observations have seen some spread."""
    sparse = Sparse(sparsity, rule=Static()) if sparsity else None
    learner = Learner(ActorCritic((width, width), (4,)), 17, 6, [0], sparse=sparse)
    rng = np.random.default_rng(0)
    learner.obs_moments.update(rng.standard_normal((1, 1000, 17)) * rng.uniform(0.5, 3.0, 17))
    return learner.actors()


def sides_of(network: Network, folder: Path) -> tuple[dict[str, Callable[[np.ndarray], Any]], dict[str, int]]:
    """Write and load all formats; returns how each acts, and the size of each policy's file."""
    acts, sizes = {}, {}
    for side, (name, precision) in SIDES.items():
        form = FORMS[name]
        content = form.encode(rounded(network, WEIGHTS[precision]), precision, {})
        path = folder / form.files[0]
        path.write_bytes(content)
        sizes[side], acts[side] = len(content), form.load(path)
    return acts, sizes


def calls_of(actors: Actors, network: Network, batch: int, folder: Path) -> tuple[dict[str, Call], dict[str, int]]:
    """Return one call of each side on the same observations, each in the form that it takes, and sizes of files."""
    peer = Peer(actors, network.low.astype(np.float32), network.high.astype(np.float32))
    acts, sizes = sides_of(network, folder)
    rows = np.random.default_rng(1).standard_normal((batch, 17)).astype(np.float32)
    array = rows[0] if batch == 1 else rows
    given = torch.tensor(array)
    calls: dict[str, Call] = {
        PEER: lambda: peer(given),
        f"{PEER}, network alone": lambda: peer.network(given),
        "numpy": lambda: acts["numpy"](array),
        "numpy, fp32 weights": lambda: acts["numpy, fp32 weights"](array),
        "onnx": lambda: acts["onnx"](rows),
    }
    if batch == 1:
        packed = packed_rows(network)
        calls["numpy, present weights only"] = lambda: packed(array)
    for side, call in calls.items():
        if side != f"{PEER}, network alone":
            error = np.abs(np.asarray(call()).reshape(batch, -1) - peer(given).numpy().reshape(batch, -1)).max()
            assert error < (1e-2 if side == "numpy" else 1e-4), f"{side} is another policy: {error}"
    return calls, sizes


def seconds_per_call(call: Call, count: int) -> float:
    """Time `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def measure(name: str, actors: Actors, rounds: int) -> list[Row]:
    """Measure all sides of one policy, in turns."""
    bound = np.ones(6, np.float32)
    whole = fold(actors.layout.layers(actors.params[0], "actor"), actors.scale, -bound, bound)
    network = compact(whole)
    dense_bytes = 4 * sum(weight.size + bias.size for weight, bias in whole.layers)
    rows = []
    for batch in BATCHES:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            calls, sizes = calls_of(actors, network, batch, Path(folder))
            seconds: dict[str, list[float]] = {side: [] for side in calls}
            counts = {side: max(1, round(SLICE_SECONDS / seconds_per_call(call, 3))) for side, call in calls.items()}
            for _ in range(rounds):
                for side, call in calls.items():
                    seconds[side].append(seconds_per_call(call, counts[side]))
        for side, times in seconds.items():
            log_ratio, half_width = mean_interval(np.log(np.divide(seconds[PEER], times)))
            size = dense_bytes if side.startswith(PEER) else sizes.get(side)
            rows.append(
                {
                    "network": name,
                    "batch": batch,
                    "side": side,
                    "microseconds": f"{1e6 * float(np.median(times)):.4g}",
                    "ratio": f"{np.exp(log_ratio):.3g}",
                    "ratio_low": f"{np.exp(log_ratio - half_width):.3g}",
                    "ratio_high": f"{np.exp(log_ratio + half_width):.3g}",
                    "bytes": size or "",
                    "smaller": f"{dense_bytes / size:.3g}" if size else "",
                    "widths": "-".join(map(str, network.widths)),
                }
            )
            print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def exported(actors: Actors, low: np.ndarray, high: np.ndarray, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the exported policy, acting as `Actors` do: in units of half the range."""
    network = compact(fold(actors.layout.layers(actors.params[0], "actor"), actors.scale, low, high))
    small = rounded(network, WEIGHTS[precision])  # type: ignore[index]
    return lambda obs: (small(obs.astype(np.float32)) - (high + low) / 2) / ((high - low) / 2)


def returns() -> list[Row]:
    """Let every shipped policy of ppo play, as trained and as exported."""
    rows = []
    card = cards.agent("ppo")
    for env_id in trained_environments(card):
        path = card.policy_path(env_id)
        assert path is not None
        first = load_member(path, env_id, PolicyFlags(card.name))
        env = make_environment(first)
        low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
        for seed in first.seeds:
            actors = load_member(path, env_id, PolicyFlags(card.name, seed=seed)).actors
            sides = {"trained": actors} | {p: exported(actors, low, high, p) for p in ("fp32", "fp16")}
            row: Row = {"env": env_id, "seed": seed}
            for side, act in sides.items():
                played = [run_episode(env, act, s).episode_return for s in env_seeds(seed, "play", EPISODES)]
                row[side] = round(float(np.mean(played)), 2)
            rows.append(row)
        env.close()
        own = [row for row in rows if row["env"] == env_id]
        for side in ("fp32", "fp16"):
            change, half = mean_interval(np.array([row[side] - row["trained"] for row in own]))
            mean = np.mean([row["trained"] for row in own])
            print(f"{env_id}: trained {mean:,.0f}, {side} {change:+,.1f} +- {half:,.1f} ({len(own)} seeds)", flush=True)
    return rows


def write(name: str, rows: list[Row]) -> None:
    """Write a table."""
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / name, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories of HalfCheetah, which may be sparse")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policies = {f"{w} x {w}, {s:.0%} sparse": random_policy(w, s) for w in (64, 256) for s in (0.0, 0.8, 0.9, 0.95)}
    for path in arguments.runs:
        policy = policy_file.load(path / "policy.safetensors")
        policies[f"trained, {path.parent.name}"] = policy.actors.only(0)
    with threadpool_limits(1):
        rows = [row for name, actors in policies.items() for row in measure(name, actors, arguments.rounds)]
        write("export.csv", rows)
        write("export_returns.csv", returns())


if __name__ == "__main__":
    main()
