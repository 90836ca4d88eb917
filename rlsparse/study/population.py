"""Runs whose members are trained together, in one process and one learner; each writes its own run directory.

Every run is, bit for bit, what it would be alone: members do not depend on each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from rlsparse.errors import StorageError
from rlsparse.learner.learner import Learner
from rlsparse.run import policy_file
from rlsparse.run.best import BestPolicies
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.directory import Run
from rlsparse.run.recipe import Recipe
from rlsparse.run.session import Session, adopt, new_learner, start, write
from rlsparse.run.status import LAST
from rlsparse.study.members import cut, cut_group, joined


@dataclass
class Part:
    """One of the runs, and what of it is written down."""

    run: Run
    recipe: Recipe
    agent: str
    members: slice
    """Which of all members are its own."""
    learner: Learner
    """As those members were when it was last written."""
    ended: Checkpoint | None = None
    """Its state when all its members had spent their budgets; what they compute beside others later is for nothing."""
    written: bool = False
    """Whether that is on the disk."""

    @property
    def total_steps(self) -> int:
        """Steps, when it was last written, of its member that had most."""
        return int(self.learner.counters.total.max())


class NotWritten(StorageError):
    """Some runs could not be written; what is wrong with one folder costs no other run."""

    def __init__(self, errors: dict[Path, StorageError]) -> None:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{next(iter(errors.values()))}{more}")
        self.errors = errors
        """Why, by run directory."""


class HasRun(Protocol):
    """Whatever has a run directory."""

    @property
    def run(self) -> Run:
        """The run."""


One = TypeVar("One", bound=HasRun)


def on_each(those: Sequence[One], write: Callable[[One], Any]) -> None:
    """Write something of every one of them; raises NotWritten in the end for those that could not be."""
    errors: dict[Path, StorageError] = {}
    for one in those:
        try:
            write(one)
        except StorageError as error:
            errors[one.run.path] = error
    if errors:
        raise NotWritten(errors)


@dataclass
class Population(Session):
    """Several runs being trained as one; `run` is the first of them."""

    parts: list[Part] = field(default_factory=list)

    def append(self, table: str, rows: list[dict[str, Any]], members: np.ndarray) -> None:
        """Add to a table of each run the rows of its own members; there are as many of each."""
        each = len(rows) // len(members)
        for part in self.parts:
            places = np.flatnonzero((members >= part.members.start) & (members < part.members.stop))
            if own := [row for place in places for row in rows[place * each : (place + 1) * each]]:
                part.run.records.append(table, own)

    def write(self, now: Checkpoint) -> None:
        """Write a checkpoint of each run, and all that it makes good; raises NotWritten."""
        on_each([part for part in self.parts if not part.written], lambda part: self._write(part, now))

    def _write(self, part: Part, now: Checkpoint) -> None:
        own = part.ended or cut(now, part.members, self.learner.members)
        part.learner.load_state_dict(own.arrays["learner"])
        if part.ended is None and self.has_ended(part, own):
            part.ended = own = own.copied()
        write(part.run, part.recipe, part.learner, _best(part, own), own)
        if part.ended is not None:
            part.written, part.ended = True, None

    def has_ended(self, part: Part, own: Checkpoint) -> bool:
        """Whether all members of a part have spent their budgets, and were evaluated then."""
        spent = np.broadcast_to(self.finished, self.learner.members)[part.members]
        return bool(spent.all()) and own.values["evaluated_at"] == part.learner.counters.total.tolist()

    def write_policies(self) -> None:
        """Write the policies of each run as they are; raises NotWritten."""
        now = self.learner.state_dict()

        def write_policy(part: Part) -> None:
            part.learner.load_state_dict(cut_group("learner", now, part.members, self.learner.members))
            policy_file.save(part.run.path / LAST, part.recipe, part.learner)

        on_each(self.parts, write_policy)


def make_parts(runs: Sequence[tuple[Run, Recipe, str]], learner: Learner, device: str) -> list[Part]:
    """Return the parts of a learner that trains runs, given with their recipes and agents, one after the other."""
    first, parts = 0, []
    for run, recipe, agent in runs:
        own = new_learner(recipe, learner.layout.obs_size, learner.layout.action_size, device)
        parts.append(Part(run, recipe, agent, slice(first, first + recipe.num_seeds), own))
        first += recipe.num_seeds
    return parts


def restore(population: Population, saved: Sequence[Checkpoint | None]) -> None:
    """Put a population that has just been built where its runs' checkpoints were; all of them have one, or none."""
    found = [checkpoint for checkpoint in saved if checkpoint is not None]
    if not found:
        start(population)
        return
    adopt(population, joined(found))
    population.write_policies()
    own = dict(zip((part.run.path for part in population.parts), found, strict=True))

    def write_best(part: Part) -> None:
        _best(part, own[part.run.path]).write(part.run.path, part.recipe, part.learner)
        part.written = population.has_ended(part, own[part.run.path])

    on_each(population.parts, write_best)


def _best(part: Part, own: Checkpoint) -> BestPolicies:
    """Return the best policies of a part, whose state is its `own`."""
    best = BestPolicies(part.learner)
    best.load_state_dict(own.arrays["best"])
    return best
