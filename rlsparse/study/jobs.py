"""Which cells one process trains: populations are cut so that every process has as much to do."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

C = TypeVar("C")

MOST_SAMPLES = 2**21
"""Steps in a rollout of all members that one process trains together; a thousand members of 2,048 steps."""


def cut(
    populations: Sequence[Sequence[C]], slots: int, work: Callable[[C], float], samples: Callable[[C], int]
) -> list[list[C]]:
    """Return the jobs of some populations, the largest first: enough of them, if possible, that no slot is empty.

    `work` are the steps that a cell is still to take, of all its seeds; `samples` those in a rollout of all its seeds.
    """
    each = sum(work(cell) for population in populations for cell in population) / slots
    jobs = []
    for population in populations:
        for_slots = round(sum(map(work, population)) / each) if each else 1
        for_memory = math.ceil(sum(map(samples, population)) / MOST_SAMPLES)
        jobs += _dealt(population, min(len(population), max(1, for_slots, for_memory)), work)
    while len(jobs) < slots and (most := max(jobs, key=lambda job: (len(job) > 1) * sum(map(work, job)), default=[])):
        if len(most) < 2:
            break
        jobs.remove(most)
        jobs += _dealt(most, 2, work)
    return sorted(jobs, key=lambda job: -sum(map(work, job)))


def _dealt(cells: Sequence[C], parts: int, work: Callable[[C], float]) -> list[list[C]]:
    """Deal cells to so many parts, the largest first, each to the one with least work; they keep their order."""
    dealt: list[list[int]] = [[] for _ in range(parts)]
    load = [0.0] * parts
    for i in sorted(range(len(cells)), key=lambda i: -work(cells[i])):
        least = min(range(parts), key=lambda part: (load[part], len(dealt[part])))
        dealt[least].append(i)
        load[least] += work(cells[i])
    return [[cells[i] for i in sorted(part)] for part in dealt]
