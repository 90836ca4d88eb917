"""Live through a run again, up to one of its updates, in memory: equal recipes and seeds give equal runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.explore.explorer import Explorer, searched_slice
from rlsparse.explore.explorler import ExploRLer, Proposal
from rlsparse.explore.probe import Propose
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import EpochStats
from rlsparse.loop import iterate
from rlsparse.run import checkpoint
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.device import TENSORS_ON_CPU
from rlsparse.run.directory import read_json, read_progress, read_recipe
from rlsparse.run.recipe import Recipe, to_dict
from rlsparse.run.session import begin, single_episodes

Watch = Callable[[int, int], None]
"""Is told how many updates have been replayed, and how many there are to replay."""

Row = dict[str, float]
"""Of progress.csv."""

STEPS_SHOWN = 10
"""Where an update is one step, the policies after so many updates are the anchors of a run that has none of its own."""


@dataclass(frozen=True)
class Update:
    """A run right after one of its updates, and what the update went through; P searched parameters."""

    recipe: Recipe
    learner: Learner
    member: int
    """Index into the learner of the member that was asked for."""
    iteration: int
    """Number of the update, from 1."""
    iterations: int
    """How many the run has made."""
    searched: slice
    """Where the P parameters lie in the flat vector."""
    before: np.ndarray
    """The policy that the update began with, [P] float64."""
    after: np.ndarray
    """The policy that it ended with, [P] float64."""
    anchors: np.ndarray
    """[K, P] in order of time, equal neighbours once: the run's own if it explores, else one after each epoch, or
    after each update where an update is one step."""
    proposal: Proposal
    """The run's own if it explores, else empty-space search."""
    propose: Propose
    """Asks the proposal for its next candidates [1, C, P]."""
    differs_at: int | None
    """Steps at which the replay was first seen to differ from the run's records; None if it was not."""

    @property
    def seed(self) -> int:
        """Seed of the member."""
        return self.learner.seeds[self.member]


def _watching(recipe: Recipe) -> ExploRLer:
    """Return how anchors are taken of a run that does not explore."""
    if recipe.algorithm.epochs > 1:
        return ExploRLer(num_anchors=recipe.algorithm.epochs)
    return ExploRLer(anchors="iterations", num_anchors=STEPS_SHOWN)


class Replay:
    """A run without a directory: it trains and probes, but evaluates, records and saves nothing."""

    def __init__(self, recipe: Recipe, device: str, saved: Checkpoint | None) -> None:
        self.recipe = recipe
        self.learner, self.collector, _ = begin(recipe, device)
        config = recipe.explore or _watching(recipe)
        self.explorer = Explorer(
            config, self.learner, single_episodes(recipe, device), recipe.num_envs, recipe.total_steps
        )
        self.stats: EpochStats | None = None
        if saved is not None:
            self._restore(saved)

    def _restore(self, saved: Checkpoint) -> None:
        self.learner.load_state_dict(saved.arrays["learner"])
        self.learner.load_random_state(saved.values["random"])
        self.collector.load_state_dict(saved.arrays["collector"])
        if self.recipe.explore is not None:
            self.explorer.load_state_dict(saved.arrays["explorer"])
        else:
            schedule = self.explorer.schedule
            self.explorer.schedule = replace(schedule, iterations=_updates(saved, self.recipe))

    def advance(self) -> None:
        """Probe if it is time to, else make the next update."""
        due = self.explorer.due() if self.recipe.explore is not None else np.zeros(0, np.int64)
        if due.size:
            self.explorer.probe(due, lambda: False)
            return
        with np.errstate(over="ignore", invalid="ignore"):  # reported as one error
            self.stats = iterate(self.recipe, self.learner, self.collector, self.explorer).stats

    def agrees(self, member: int, rows: dict[int, Row]) -> bool:
        """Whether the run recorded the same statistics, if it recorded any at this many steps."""
        row = rows.get(int(self.learner.counters.total[member]))
        if row is None or self.stats is None:
            return True
        numbers = {name: stat[member] for name, stat in vars(self.stats).items()}
        return np.array_equal(
            np.array([row[name] for name in numbers], np.float32), list(numbers.values()), equal_nan=True
        )


def replay(path: Path, seed: int | None, iteration: int | None, watch: Watch = lambda done, of: None) -> Update:
    """Live through the run in the directory `path` up to an update (None: the last) of a seed (None: the first).

    Begins at the newest checkpoint before it, or at the start with that seed alone, whichever takes less. Writes
    nothing. Raises RunDirectoryError if it is not a run, UsageError if the run has no such seed or update.
    """
    recipe = read_recipe(path)
    seed = recipe.seed if seed is None else seed
    if seed not in recipe.seeds:
        first, last = recipe.seeds[0], recipe.seeds[-1]
        raise UsageError(f"--seed {seed}: {path} holds " + (f"seeds {first} to {last}" if first < last else f"{first}"))
    saved, rows = list(checkpoint.load_whole(path / "checkpoint")), _rows(path, seed)
    if any(one.values["recipe"] != to_dict(recipe) for one in saved):
        raise RunDirectoryError(f"{path / 'recipe.toml'} was changed after the run began: undo the change")
    iterations = _iterations(recipe, seed, saved, rows)
    if not iterations:
        raise RunDirectoryError(f"{path} has made no update yet")
    if iteration is None:
        iteration = iterations
    if not 1 <= iteration <= iterations:
        raise UsageError(f"--iteration {iteration}: seed {seed} of {path} has made {iterations:,} updates, from 1 on")
    watched = STEPS_SHOWN if recipe.explore is None and recipe.algorithm.epochs == 1 else 1
    earlier = next((one for one in saved if _updates(one, recipe) <= iteration - watched), None)
    if earlier is None or recipe.num_seeds * (iteration - _updates(earlier, recipe)) > iteration:
        recipe, earlier = replace(recipe, seed=seed, num_seeds=1), None
    return _up_to(iteration, iterations, Replay(recipe, _device(path), earlier), seed, rows, watch)


def _up_to(iteration: int, iterations: int, run: Replay, seed: int, rows: dict[int, Row], watch: Watch) -> Update:
    explorer, learner, member = run.explorer, run.learner, run.learner.seeds.index(seed)
    begun, differs_at = explorer.schedule.iterations, None
    while explorer.schedule.iterations < iteration:
        watch(explorer.schedule.iterations - begun, iteration - begun)
        run.advance()
        if differs_at is None and not run.agrees(member, rows):
            differs_at = int(learner.counters.total[member])
    watch(iteration - begun, iteration - begun)
    run.collector.env.close()
    before, after, anchors, propose = explorer.around(member)
    return Update(
        recipe=run.recipe,
        learner=learner,
        member=member,
        iteration=iteration,
        iterations=iterations,
        searched=searched_slice(learner.layout, explorer.config.search_log_std),
        before=before,
        after=after,
        anchors=anchors,
        proposal=explorer.config.proposal,
        propose=propose,
        differs_at=differs_at,
    )


def _updates(saved: Checkpoint, recipe: Recipe) -> int:
    """Return how many updates a checkpoint comes after."""
    return int(saved.arrays["learner"]["counters.train"].max()) // recipe.iteration_steps


def _rows(path: Path, seed: int) -> dict[int, Row]:
    """Return a member's rows of progress.csv by its steps."""
    if not (path / "progress.csv").is_file():
        return {}
    rows = read_progress(path / "progress.csv")
    return {int(row["total_steps"]): row for row in rows if row["seed"] == seed}


def _iterations(recipe: Recipe, seed: int, saved: list[Checkpoint], rows: dict[int, Row]) -> int:
    """Return how many updates a member has made, as far as anything was written of it."""
    steps = [int(one.arrays["learner"]["counters.train"][seed - recipe.seed]) for one in saved]
    steps += [int(row["train_steps"]) for row in rows.values()]
    return max(steps, default=0) // recipe.iteration_steps


def _device(path: Path) -> str:
    """Return where the run's networks lived, if there is such a device here."""
    versions = path / "versions.json"
    device = read_json(versions).get("device", "cpu") if versions.is_file() else "cpu"
    if not device.startswith("cuda"):
        return device
    import torch

    return device if torch.cuda.is_available() else TENSORS_ON_CPU
