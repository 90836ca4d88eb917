"""From how many episodes on do Ray's workers pay for a probe (`--explore.workers ray`).

    python benchmarks/probe_workers.py [--rounds 5] [--only costs]

Measures, on this machine, what a probe is made of:

- the processor's time of a step of a probe: `a` for all its episodes together (networks, bookkeeping) and `b` more for
  each episode, with 1 to 64 episodes of 200 steps of the MuJoCo tasks, and of Gymnasium's environments one by one;
- the wall time of a call of two Ray workers that take no step, and of sending D parameters;
- whole probes on two workers beside the same probes here, on one core and on two.

From these it computes the time of R episodes of L steps that are run at once on n cores, here or as workers, which is
L (a + b ceil(R / n)) and the time of a call, for more cores than this machine has. Processor time is that of the
thread, so that programs beside this one matter little; of wall times the smallest is taken. Writes
benchmarks/results/probe_workers.csv.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path

import gymnasium
import numpy as np

from rlsparse import sim
from rlsparse.explore.explorer import searched_slice
from rlsparse.explore.parts import Part, PartedEpisodes, cut, run_part
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.run.device import prepare
from rlsparse.sim import cpu
from rlsparse.sim.episodes import MemberPolicies, ProbeEpisodes
from rlsparse.sim.workers import packed_environment

RESULTS = Path(__file__).parent / "results" / "probe_workers.csv"
STEPS, COUNTS = 200, (1, 2, 4, 8, 16, 32, 64)
TASKS = ("HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Swimmer-v5")
ONE_BY_ONE = ("Slow/HalfCheetah-v5", "Slow/Ant-v5")
"""Gymnasium's own environments, as any of other packages."""
PROBES = {
    "explorler-ppo": (7, 6),
    "explorler-ppo-paper": (60,),
    "explorler-ppo, 10 seeds": (70, 60),
    "explorler-ppo-paper, 10 seeds": (600,),
}
"""Episodes that are run at once: of all candidates, and of the duel."""
CORES = (1, 2, 4, 16, 64, 256)


def learner_of(env_id: str, hidden: tuple[int, ...] = (64, 64)) -> Learner:
    space = sim.make(env_id, 1)
    sizes = space.single_observation_space.shape[0], space.single_action_space.shape[0]
    return Learner(ActorCritic(actor_hidden=hidden), *sizes, (0,))


def points(learner: Learner, count: int) -> np.ndarray:
    part = searched_slice(learner.layout, False)
    return learner.params[:, None, part] + 0.01 * np.random.default_rng(0).normal(size=(1, count, part.stop))


def part_of(learner: Learner, count: int) -> Part:
    searched = searched_slice(learner.layout, False)
    actors = learner.actors_at(points(learner, count), searched, np.array([0]))
    return cut(actors, np.ones((1, count), bool), [[1]], None, np.array([10**9]), 1)[0]


def smallest(call: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the least time of a call; the first, which makes what is kept, does not count."""
    call()
    found = []
    for _ in range(rounds):
        begun = clock()
        call()
        found.append(clock() - begun)
    return min(found)


def short(env_id: str) -> partial:
    kwargs = {"max_episode_steps": STEPS} | ({"terminate_when_unhealthy": False} if "Hu" in env_id else {})
    kwargs |= {"terminate_when_unhealthy": False} if "Ant" in env_id else {}
    return partial(sim.make, sim.environment.Environment(env_id, kwargs), autoreset=False)


def cost(env_id: str, rounds: int) -> tuple[float, float, dict[int, float]]:
    """Return seconds of a step of a probe, a and b as above, and for each count of episodes, on one core."""
    learner, made, seconds = learner_of(env_id), {}, {}
    make = short(env_id)

    def env(count: int):
        if count not in made:
            made[count] = make(count)
        return made[count]

    for count in COUNTS:
        part = part_of(learner, count)
        seconds[count] = smallest(partial(run_part, env, part), rounds, time.thread_time) / STEPS
    weights = 1 / np.array([*seconds.values()])  # so that every count is met as well in its own measure
    design = np.stack([np.ones(len(COUNTS)), np.array(COUNTS)], 1)
    a, b = np.linalg.lstsq(design * weights[:, None], np.ones(len(COUNTS)), rcond=None)[0]
    return max(a, 0.0), b, seconds


def calls(rounds: int) -> Iterator[tuple[str, int, float]]:
    """Yield bytes and seconds of a call of two Ray workers, with parts of so many parameters."""
    from rlsparse.explore import ray_connection, ray_workers

    environment = packed_environment(sim.environment.Environment("Swimmer-v5"))
    workers = ray_workers.RayWorkers(ray_connection.connect(), environment, None, 2)
    workers.count()
    for hidden, counts in (((64, 64), (1, 10, 60)), ((256, 256), (1, 10, 60)), ((1024, 1024), (1, 4))):
        learner = learner_of("Swimmer-v5", hidden)
        for count in counts:
            part = part_of(learner, count)
            parts = [replace(part, left=0)] * 2  # episodes begin, and take no step
            what = f"call of 2 workers, {count} policies of {'x'.join(map(str, hidden))} each"
            yield what, part.policies.nbytes, smallest(partial(workers, parts, lambda: False), 10 * rounds)


def whole(env_id: str, rounds: int, candidates: int) -> dict[str, float]:
    """Return seconds of a probe of so many candidates here, on one core and on two, and on two Ray workers."""
    from rlsparse.explore import ray_connection, ray_workers

    learner, make = learner_of(env_id), short(env_id)
    policies = MemberPolicies(learner, np.array([0]), searched_slice(learner.layout, False))
    some, rest = points(learner, candidates), ([[1]], np.array([10**9]))
    cores, found = cpu.usable_cores, {}
    for count in (1, 2):
        vars(cpu)["usable_cores"] = lambda count=count: count
        env = make(candidates)
        found[f"here, {count} cores"] = smallest(
            lambda env=env: ProbeEpisodes(policies, lambda n: env, *rest)(some, 0, 1), rounds
        )
    vars(cpu)["usable_cores"] = cores
    workers = ray_workers.RayWorkers(ray_connection.connect(), packed_environment(make.args[0]), None, 2)
    found["2 workers"] = smallest(
        lambda: PartedEpisodes(workers, workers.count, policies, make, *rest)(some, 0, 1), rounds
    )
    return found


def computed(costs: dict[str, tuple[float, float]], call: float) -> str:
    """Return a table of the seconds of probes of episodes of 1,000 steps on more and more cores, and of its gains."""
    lines = [f"{'':22}{'episodes':>9}" + "".join(f"{n:>9} cores" for n in CORES)]
    for env_id, (a, b) in costs.items():
        for what, at_once in PROBES.items():
            seconds = [sum(1000 * (a + b * ceil(count / n)) + call * (n > 1) for count in at_once) for n in CORES]
            lines.append(f"{env_id:22}{sum(at_once):9}" + "".join(f"{x:13.2f} s" for x in seconds) + f"  {what}")
    return "\n".join(lines)


def measured_costs(rounds: int) -> list[tuple]:
    rows: list[tuple] = []
    for env_id in (*TASKS, *ONE_BY_ONE):
        a, b, seconds = cost(env_id, rounds)
        each = ", ".join(f"{count}: {1e6 * x:.0f}" for count, x in seconds.items())
        print(f"{env_id:20} a {1e6 * a:4.0f} us, b {1e6 * b:4.0f} us a step; us by episodes {each}", flush=True)
        rows += [(env_id, "a", 1, a), (env_id, "b", 1, b)]
        rows += [(env_id, "a step of a probe", count, x) for count, x in seconds.items()]
    return rows


def measured_calls(rounds: int) -> list[tuple]:
    rows = []
    for what, size, seconds in calls(rounds):
        print(f"{what}, {size:,} bytes: {1e3 * seconds:.1f} ms", flush=True)
        rows.append(("", what, size, seconds))
    return rows


def measured_probes(rounds: int) -> list[tuple]:
    rows = []
    for env_id in ("HalfCheetah-v5", "Slow/HalfCheetah-v5"):
        for candidates in (2, 7, 20):
            for way, seconds in whole(env_id, rounds, candidates).items():
                print(f"{env_id}, {candidates} episodes of {STEPS} steps, {way}: {seconds:.3f} s", flush=True)
                rows.append((env_id, f"a probe, {way}", candidates, seconds))
    return rows


MEASURED = {"costs": measured_costs, "calls": measured_calls, "probes": measured_probes}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=[*MEASURED, "none"], help="keep what the table says of the others")
    flags = parser.parse_args()
    for name in ("HalfCheetah-v5", "Ant-v5"):
        gymnasium.register(f"Slow/{name}", gymnasium.spec(name).entry_point, max_episode_steps=1000)
    prepare()
    vars(cpu)["usable_cores"] = lambda: 1
    table: dict[str, list[tuple]] = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            for kind, *row, seconds in [*csv.reader(file)][1:]:
                table.setdefault(kind, []).append((*row, float(seconds)))
    for kind, measure in MEASURED.items():
        if flags.only in (None, kind):
            table[kind] = measure(flags.rounds)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["measured", "environment", "what", "episodes_or_bytes", "seconds"])
        writer.writerows((kind, *row, f"{seconds:.3g}") for kind, rows in table.items() for *row, seconds in rows)
    found = {(env_id, what): seconds for env_id, what, _, seconds in table["costs"]}
    costs = {env_id: (found[env_id, "a"], found[env_id, "b"]) for env_id, what in found if what == "a"}
    print(computed(costs, min((seconds for *_, seconds in table.get("calls", [])), default=0.0)))


if __name__ == "__main__":
    main()
