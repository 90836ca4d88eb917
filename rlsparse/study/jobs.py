"""Which cells one process trains: populations are cut so that every process has as much to do."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

C = TypeVar("C")

MOST_SAMPLES = 2**21
"""Steps in a rollout of all members that one process trains together; a thousand members of 2,048 steps."""


UNEVEN = 1.1
"""So much longer than with equal shares the work may take, before populations are cut for it."""

MOST_CUTS = 4
"""So many times a population is cut at most, for each slot."""


def cut(
    populations: Sequence[Sequence[C]], slots: int, work: Callable[[C], float], samples: Callable[[C], int]
) -> list[list[C]]:
    """Return the jobs of some populations, the largest first: cut so that no slot is long without work, if possible.

    `work` are the steps that a cell is still to take, of all its seeds; `samples` those in a rollout of all its seeds.
    """

    def load(job: Sequence[C]) -> float:
        return sum(map(work, job))

    jobs = []
    for population in populations:
        parts = math.ceil(sum(map(samples, population)) / MOST_SAMPLES)
        jobs += _dealt(population, min(len(population), parts), work)
    even = UNEVEN * max(sum(map(load, jobs)) / slots, max((work(cell) for job in jobs for cell in job), default=0))
    best, shortest = jobs, _makespan([*map(load, jobs)], slots)
    for _ in range(MOST_CUTS * slots):
        if shortest <= even or not any(len(job) > 1 for job in jobs):
            break
        largest = max((job for job in jobs if len(job) > 1), key=load)
        jobs = [job for job in jobs if job is not largest] + _dealt(largest, 2, work)
        if (makespan := _makespan([*map(load, jobs)], slots)) < shortest:
            best, shortest = jobs, makespan
    return sorted(best, key=load, reverse=True)


def _makespan(loads: Sequence[float], slots: int) -> float:
    """Return how long jobs take that are begun the longest first, each as soon as a slot is free."""
    busy = [0.0] * slots
    for load in sorted(loads, reverse=True):
        busy[busy.index(min(busy))] += load
    return max(busy)


def _dealt(cells: Sequence[C], parts: int, work: Callable[[C], float]) -> list[list[C]]:
    """Deal cells to so many parts, the largest first, each to the one with least work; they keep their order."""
    dealt: list[list[int]] = [[] for _ in range(parts)]
    load = [0.0] * parts
    for i in sorted(range(len(cells)), key=lambda i: -work(cells[i])):
        least = min(range(parts), key=lambda part: (load[part], len(dealt[part])))
        dealt[least].append(i)
        load[least] += work(cells[i])
    return [[cells[i] for i in sorted(part)] for part in dealt]
