"""Simulation and training on one GPU: steps per second, memory, where the time goes, seconds to a return.

    python benchmarks/gpu.py --minutes 12                       # on cuda, the most valuable first; again: what is left
    python benchmarks/gpu.py --parts simulate train --sizes 1024 4096
    # without a GPU this tries it out, and measures nothing:
    python benchmarks/gpu.py --device cpu --env InvertedPendulum-v5 --sizes 4 8 --steps 10 --rounds 1 --goal-steps 64

agreement  the largest difference of an observation from Warp's CPU device after 5 steps from the same starts
simulate   HalfCheetah-v5 alone, by number of environments: env steps/s of `step` with its observations, rewards and
           resets; beside it in the same rounds the floor, the captured physics steps alone; bytes per environment
unrecorded the same with nothing recorded but launched operation by operation (RLSPARSE_RECORD=0)
train      PPO end to end with the recipe of ppo-gpu, 1 and 10 seeds, without evaluation; then the share of time of each
           phase in iterations of their own, an evaluation with each, by CUDA events
goal       seconds of one seed until the mean return of its last 100 training episodes is 5,000; nothing is evaluated
peers      MuJoCo Playground's CheetahRun and Brax's halfcheetah, where they are installed: other models, so only the
           order of magnitude compares. This part has been run on JAX's CPU backend alone

Writes results/gpu/<device>.json (all, with versions) and <device>.csv after every measurement. What is there for the
same task and versions is not measured again; with --minutes nothing is begun later than that.
"""

import argparse
import csv
import importlib.util
import inspect
import json
import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from rlsparse import loop, sim
from rlsparse.advantage.estimators import GAE
from rlsparse.algorithms.ppo import PPO
from rlsparse.learner.learner import Learner
from rlsparse.learner.recorded import SWITCH
from rlsparse.learner.streams import env_seeds
from rlsparse.run import cards, device
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sim.collect import Collector
from rlsparse.sim.cpu import load_model
from rlsparse.sim.episodes import evaluate
from rlsparse.sim.tasks import make_task
from rlsparse.sim.warp_physics import WarpPhysics

AGENT = "ppo-gpu"
GOAL = 5000.0
RESULTS = Path(__file__).parent / "results" / "gpu"
SIZES = (4096, 16384, 64, 8192, 1024, 32768, 256, 2048)
"""By what they are worth: the first one is that of the recipe, the second of the most steps/s that are expected."""
SEEDS = (1, 10)
PARTS = ("agreement", "simulate", "unrecorded", "train", "goal", "peers")
WARM_UP = 3
"""Iterations before any is timed: the first records acting, environment steps and updates as CUDA graphs."""
Row = dict[str, Any]


def row(part: str, num_envs: int, num_seeds: int, quantity: str, values: list[float]) -> Row:
    """Return a row of the results: median, smallest and largest of the rounds; printed too."""
    numbers = {"median": median(values), "smallest": min(values), "largest": max(values)}
    print(
        f"{part:<11}{num_envs:>7,} envs x {num_seeds:>2} seeds  {quantity:<34}{numbers['median']:>16,.2f}"
        f"  ({numbers['smallest']:,.2f} to {numbers['largest']:,.2f})",
        flush=True,
    )
    return {"part": part, "num_envs": num_envs, "num_seeds": num_seeds, "quantity": quantity, **numbers}


def wait(place: str) -> None:
    """Wait until the device has done all it was given."""
    if place.startswith("cuda"):
        torch.cuda.synchronize(place)


def rate(place: str, steps: int, run: Callable[[], object]) -> float:
    """Return how many steps per second `run` takes, whose calls take `steps` in all."""
    wait(place)
    start = time.perf_counter()
    run()
    wait(place)
    return steps / (time.perf_counter() - start)


def used(place: str) -> int:
    """Return the bytes of a GPU's memory in use, by anybody."""
    free, total = torch.cuda.mem_get_info(place) if place.startswith("cuda") else (0, 0)
    return total - free


def agreement(env_id: str, place: str, size: int) -> Iterator[Row]:
    """Compare the first steps with those on Warp's CPU device."""
    found = []
    for where in (place, device.TENSORS_ON_CPU):
        env = sim.make(env_id, size, simulator="warp", device=where)
        env.reset(seed=0)  # type: ignore[call-arg]
        draw = torch.Generator().manual_seed(0)
        actions = torch.rand(5, size, env.single_action_space.shape[0], generator=draw) * 2 - 1  # type: ignore[index]
        found.append(torch.stack([env.step(action.to(where))[0].cpu() for action in actions]))  # type: ignore[attr-defined]
        env.close()
    difference = ((found[0] - found[1]).abs() / (1 + found[1].abs())).max()
    yield row("agreement", size, 1, "relative difference after 5 steps", [float(difference)])


def simulate(env_id: str, place: str, size: int, steps: int, rounds: int) -> Iterator[Row]:
    """Measure simulation alone."""
    task, before = make_task(env_id, {}), used(place)
    env, actions = begun(env_id, place, size, steps)
    after = used(place)
    floor = WarpPhysics(env_id, load_model(task), size, task.frame_skip, (), place)

    def alone() -> None:
        for action in actions:
            floor.ctrl.copy_(action)
            floor.advance()

    alone()
    both = [
        (rate(place, size * steps, lambda: stepped(env, actions)), rate(place, size * steps, alone))
        for _ in range(rounds)
    ]
    yield row("simulate", size, 1, "env steps/s", [speed for speed, _ in both])
    yield row("simulate", size, 1, "env steps/s of the physics alone", [limit for _, limit in both])
    yield row("simulate", size, 1, "ratio to the physics alone", [speed / limit for speed, limit in both])
    yield row("simulate", size, 1, "bytes per environment, simulation", [env.bytes_per_env])
    if after > before:
        yield row("simulate", size, 1, "bytes per environment, device", [(after - before) / size])
    env.close()


def unrecorded(env_id: str, place: str, size: int, steps: int, rounds: int) -> Iterator[Row]:
    """Measure simulation with nothing recorded."""
    os.environ[SWITCH] = "0"
    try:
        env, actions = begun(env_id, place, size, steps)
        speeds = [rate(place, size * steps, lambda: stepped(env, actions)) for _ in range(rounds)]
    finally:
        del os.environ[SWITCH]
    yield row("unrecorded", size, 1, "env steps/s", speeds)
    env.close()


def begun(env_id: str, place: str, size: int, steps: int) -> tuple[Any, torch.Tensor]:
    """Return environments that have made their first steps, which record, and actions for so many more."""
    env: Any = sim.make(env_id, size, simulator="warp", device=place)
    env.reset(seed=0)
    actions = torch.rand(steps, size, env.single_action_space.shape[0], device=place) * 2 - 1
    stepped(env, actions)
    wait(place)
    return env, actions


def stepped(env: Any, actions: torch.Tensor) -> None:
    """Take a step by each of the actions."""
    for action in actions:
        env.step(action)


def shipped(env_id: str, num_envs: int, num_seeds: int) -> Recipe:
    """The recipe of the card with so many environments, at most its own, and seeds."""
    recipe = from_dict({"env": env_id, **cards.agent(AGENT).recipe_for(env_id)}, AGENT)
    return replace(recipe, num_envs=min(num_envs, recipe.num_envs), num_seeds=num_seeds)


class Clock:
    """Seconds by phase: CUDA events on a GPU, which nothing waits for, else the time of day."""

    def __init__(self, place: str) -> None:
        self._place, self._spans = place, dict[str, list[tuple[Any, Any]]]()

    def now(self) -> Any:
        """Mark a moment on the device."""
        if not self._place.startswith("cuda"):
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add what is done to a phase."""
        start = self.now()
        yield
        self._spans.setdefault(name, []).append((start, self.now()))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every phase; waits for the device."""
        wait(self._place)
        return {name: sum(self._between(*span) for span in spans) for name, spans in self._spans.items()}

    def _between(self, start: Any, end: Any) -> float:
        return start.elapsed_time(end) / 1000 if self._place.startswith("cuda") else end - start

    @contextmanager
    def watching(self, owner: Any, method: str, phase: str) -> Iterator[None]:
        """Add what a method, or each step of a generator, takes to a phase."""
        original = getattr(owner, method)

        def call(*arguments: Any, **options: Any) -> Any:
            if inspect.isgeneratorfunction(original):
                return steps(original(*arguments, **options))
            with self.phase(phase):
                return original(*arguments, **options)

        def steps(generator: Iterator[Any]) -> Iterator[Any]:
            while True:
                with self.phase(phase):
                    item = next(generator, None)
                if item is None:
                    return
                yield item

        setattr(owner, method, call)
        try:
            yield
        finally:
            setattr(owner, method, original)


def train(env_id: str, place: str, num_envs: int, num_seeds: int, steps: int, rounds: int) -> Iterator[Row]:
    """Measure iterations of PPO, and where their time goes."""
    recipe = shipped(env_id, num_envs, num_seeds)
    learner, collector, explorer = sessions.begin(recipe, place)
    count = max(1, steps // recipe.rollout_length)

    def iterations(number: int = count) -> None:
        for _ in range(number):
            loop.iterate(recipe, learner, collector, explorer)

    iterations(WARM_UP)
    total = count * recipe.batch_size * num_seeds
    yield row(
        "train",
        recipe.num_envs,
        num_seeds,
        "env steps/s, all seeds",
        [rate(place, total, iterations) for _ in range(rounds)],
    )
    for phase, share in shares(place, recipe, iterations, learner, collector).items():
        yield row("train", recipe.num_envs, num_seeds, f"percent of time: {phase}", [share])
    if place.startswith("cuda"):
        yield row("train", recipe.num_envs, num_seeds, "GiB of the device in use", [used(place) / 2**30])
    collector.env.close()


def shares(place: str, recipe: Recipe, run: Callable[[], None], learner: Any, collector: Any) -> dict[str, float]:
    """Return the percent of time of each phase of iterations with one evaluation at their end."""
    clock = Clock(place)
    eval_env = sessions.single_episodes(recipe, place)(recipe.num_seeds * recipe.eval_episodes)
    seeds = [s for seed in recipe.seeds for s in env_seeds(seed, "eval_env", recipe.eval_episodes)]
    with ExitStack() as stack:
        for owner, method, phase in (
            (collector.env, "step", "simulate"),
            (Collector, "collect", "collect"),
            (GAE, "__call__", "advantage"),
            (Learner, "batch", "advantage"),
            (PPO, "update", "update"),
        ):
            stack.enter_context(clock.watching(owner, method, phase))
        with clock.phase("all"):
            run()
            with clock.phase("evaluate"):
                evaluate(eval_env, learner.actors(), seeds, device=place)
    eval_env.close()
    seconds = clock.seconds()
    total, collect = seconds.pop("all"), seconds.pop("collect")
    seconds["act"] = collect - seconds["simulate"]
    seconds["rest"] = total - sum(seconds.values())
    return {phase: 100 * x / total for phase, x in seconds.items()}


def reach(env_id: str, place: str, num_envs: int, goal_steps: int, end: float) -> Iterator[Row]:
    """Train one seed until its training returns reach the goal, for `goal_steps`, or until the clock says `end`."""
    recipe = replace(shipped(env_id, num_envs, 1), total_steps=goal_steps)
    learner, collector, explorer = sessions.begin(recipe, place)
    start, reached = time.monotonic(), False
    while not reached and learner.counters.train[0] < goal_steps and time.monotonic() < end:
        loop.iterate(recipe, learner, collector, explorer)
        reached = bool(collector.recent_returns.mean() >= GOAL)  # not so as long as there are fewer than 100 episodes
    wait(place)
    seconds, collected = time.monotonic() - start, collector.recent_returns
    collector.env.close()
    yield row("goal", recipe.num_envs, 1, f"reached {GOAL:,.0f} (1: yes)", [float(reached)])
    yield row("goal", recipe.num_envs, 1, "seconds", [seconds])
    yield row("goal", recipe.num_envs, 1, "steps", [float(learner.counters.train[0])])
    if np.isfinite(collected).any():
        yield row("goal", recipe.num_envs, 1, "training return", [float(np.nanmean(collected))])


def peers(sizes: Sequence[int], steps: int, rounds: int) -> Iterator[Row]:
    """Measure simulation in JAX, where it is installed; one compiled loop over all steps."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch holds some of the memory already
    for name, make in (("mujoco_playground", playground), ("brax", brax)):
        if importlib.util.find_spec(name) is None:
            print(f"peers      {name} is not installed", flush=True)
            continue
        import jax

        for size in sizes:
            reset, step, actions = make(size)

            def run(state: Any, step: Any = step, actions: int = actions, size: int = size) -> Any:
                def one(state: Any, key: Any) -> tuple[Any, None]:
                    return step(state, jax.random.uniform(key, (size, actions), minval=-1.0)), None

                return jax.lax.scan(one, state, jax.random.split(jax.random.key(1), steps))[0]

            compiled, state = jax.jit(run), jax.jit(reset)(jax.random.split(jax.random.key(0), size))
            jax.block_until_ready(compiled(state))
            speeds = []
            for _ in range(rounds):
                start = time.perf_counter()
                jax.block_until_ready(compiled(state))
                speeds.append(size * steps / (time.perf_counter() - start))
            yield row("peers", size, 1, f"env steps/s, {name} on JAX's {jax.default_backend()}", speeds)


def playground(size: int) -> tuple[Any, Any, int]:
    """Return reset, step and the number of actions of CheetahRun."""
    import jax
    from mujoco_playground import registry

    env = registry.load("CheetahRun")
    return jax.vmap(env.reset), jax.vmap(env.step), env.action_size


def brax(size: int) -> tuple[Any, Any, int]:
    """Return reset, step and the number of actions of halfcheetah in MJX."""
    import jax
    from brax import envs

    env = envs.get_environment("halfcheetah", backend="mjx")
    return jax.vmap(env.reset), jax.vmap(env.step), env.action_size


def about(place: str) -> dict[str, Any]:
    """Describe machine and versions."""
    packages = {}
    for name in ("rlsparse", "torch", "warp-lang", "mujoco-warp", "mujoco", "mujoco-playground", "brax", "jax"):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "device": device.gpu_name(place) or "cpu",
        "cuda": torch.version.cuda,
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "measured": time.strftime("%Y-%m-%d"),
    }


def results(place: str, out: Path) -> Path:
    """Return where the results of a device are."""
    name = re.sub(r"[^a-z0-9]+", "-", str(about(place)["device"]).lower()).strip("-")
    return out / f"{name}.json"


def kept(env_id: str, place: str, out: Path) -> list[Row]:
    """Return the rows that are there of the same task and versions."""
    path = results(place, out)
    found = json.loads(path.read_text()) if path.exists() else {}
    same = found.get("env") == env_id and found.get("packages") == about(place)["packages"]
    return list(found["rows"]) if same else []


def write(rows: list[Row], env_id: str, place: str, out: Path) -> None:
    """Write what there is so far, named after the device."""
    path = results(place, out)
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"env": env_id, **about(place), "rows": rows}, indent=1) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measurements(flags: argparse.Namespace, place: str, end: float) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return what is to be measured, by name, the most valuable first."""
    where, how, largest = (flags.env, place), (flags.steps, flags.rounds), max(flags.sizes)
    of_sizes = {f"simulate {size}": partial(simulate, *where, size, *how) for size in flags.sizes}
    first = dict(list(of_sizes.items())[:2])
    every: dict[str, Callable[[], Iterator[Row]]] = {"agreement": partial(agreement, *where, min(flags.sizes)), **first}
    every["unrecorded"] = partial(unrecorded, *where, flags.sizes[0], *how)
    every |= {f"train {seeds}": partial(train, *where, largest, seeds, *how) for seeds in SEEDS}
    every["goal"] = partial(reach, *where, largest, flags.goal_steps, end)
    every |= of_sizes | {"peers": partial(peers, flags.sizes, *how)}
    return {name: measure for name, measure in every.items() if name.partition(" ")[0] in flags.parts}


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts that are asked for; what is measured is written at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="environments, for simulation")
    parser.add_argument("--steps", type=int, default=500, help="steps of every environment in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--goal-steps", type=int, default=100_000_000, help="budget of the part goal")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing later than that")
    parser.add_argument("--out", type=Path, default=RESULTS)
    flags = parser.parse_args(arguments)
    end = time.monotonic() + 60 * flags.minutes
    place, _ = device.resolve(flags.device, shipped(flags.env, 1, 1))
    prepare(place)
    rows = kept(flags.env, place, flags.out)
    for name, measure in measurements(flags, place, end).items():
        if name in {row["measurement"] for row in rows}:
            continue
        if time.monotonic() > end:
            print(f"time is up before {name}: the same command goes on from there", flush=True)
            break
        rows += [{"measurement": name, **measured} for measured in measure()]
        write(rows, flags.env, place, flags.out)


if __name__ == "__main__":
    main()
