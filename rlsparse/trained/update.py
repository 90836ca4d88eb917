"""One update of a run, made in memory from a kept checkpoint, and what it went through."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorer import MemberExplorer, searched_slice
from rlsparse.explore.explorler import ExploRLer, Proposal
from rlsparse.explore.no_probing import Estimate, NoProbing
from rlsparse.explore.probe import Propose
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Rollout
from rlsparse.loop import iterate
from rlsparse.run import checkpoint
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.device import TENSORS_ON_CPU
from rlsparse.run.directory import read_device, read_recipe
from rlsparse.run.extension import budget_after
from rlsparse.run.recipe import Recipe
from rlsparse.run.saved import check_values
from rlsparse.run.session import begin, load, single_episodes
from rlsparse.sim.collect import Collector
from rlsparse.trained.objective import Sampled


@dataclass(frozen=True)
class Update:
    """A run right after one of its updates, and what the update went through; P searched parameters."""

    recipe: Recipe
    learner: Learner
    member: int
    """Index into the learner of the member that was asked for."""
    searched: slice
    """Where the P parameters lie in the flat vector."""
    before: np.ndarray
    """The policy that the update began with, [P] float64."""
    after: np.ndarray
    """The policy that it ended with, [P] float64."""
    anchors: np.ndarray
    """[K, P] in order of time, equal neighbours once: the run's own if it explores, else one after each epoch; where
    an update is one step, the policies before, between and after two updates."""
    proposal: Proposal
    """The run's own if it explores, else empty-space search."""
    propose: Propose
    """Asks the proposal for its next candidates [1, C, P]."""
    seen: Sampled
    """What the update learned from: its newest rollout."""
    unseen: Sampled
    """The rollout after it, which no update has learned from."""
    made_by_run: bool
    """Whether the run makes this update too; if not, its budget was spent, or it made no updates any more."""

    @property
    def seed(self) -> int:
        """Seed of the member."""
        return self.learner.seeds[self.member]

    @property
    def iteration(self) -> int:
        """Number of the update, from 1."""
        return int(self.learner.counters.train[self.member]) // self.recipe.iteration_steps


class WatchedExplorer(MemberExplorer):
    """Keeps what a member did in the last rollout, and its advantages."""

    member = 0
    seen: Sampled

    def judge(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        """Judge as ever, and keep."""
        self.seen = Sampled.of(rollout, estimate(rollout).advantage, self.member)
        return super().judge(rollout, estimate, acting)


def next_update(path: Path, seed: int | None = None, iteration: int | None = None) -> Update:
    """Make the update that follows a kept checkpoint of the run in the directory `path`; writes nothing.

    It is that of a seed (None: the first), and the last one with a checkpoint before it, at most the `iteration`-th.
    Raises RunDirectoryError if this is no run, or none with a checkpoint before the end of its budget; UsageError if
    it has no such seed, or no checkpoint before that iteration.
    """
    recipe = read_recipe(path)
    member = _member(path, recipe, seed)
    updates = 2 if recipe.explore is None and recipe.algorithm.epochs == 1 else 1
    saved = _newest_before(path, recipe, member, iteration, updates)
    steps = saved.arrays["learner"]["counters.train"] + saved.arrays["learner"]["counters.probe"]
    recipe = replace(recipe, total_steps=budget_after(path, recipe, int(steps.max())))
    device = _device(path)
    learner, collector, _ = begin(recipe, device)
    config = recipe.explore or ExploRLer(num_anchors=max(recipe.algorithm.epochs, 1 + updates))
    explorer = WatchedExplorer(config, learner, single_episodes(recipe, device), recipe.num_envs, recipe.total_steps)
    explorer.member = member
    load(saved, learner, collector, NoProbing() if recipe.explore is None else explorer, path)
    searched = searched_slice(learner.layout, config.search_log_std)
    if updates > 1:  # anchors in a plane need the policy that the first update began with
        explorer.anchors = learner.params[:, None, searched] * 1
    if (due := explorer.due()).size:  # as the run did before it went on
        explorer.probe(due, lambda: False)
    for _ in range(updates):
        ended = config.finish and explorer.cycles[member] > 0
        made_by_run = not ended and bool(learner.counters.total[member] < recipe.total_steps)
        with np.errstate(over="ignore", invalid="ignore"):  # reported as one error
            iterate(recipe, learner, collector, explorer)
    unseen = _next_rollout(recipe, learner, collector, member)
    collector.env.close()
    around, sampled = explorer.around(member), (explorer.seen, unseen)
    return Update(recipe, learner, member, searched, *around[:3], config.proposal, around[3], *sampled, made_by_run)


def _next_rollout(recipe: Recipe, learner: Learner, collector: Collector, member: int) -> Sampled:
    """Collect one more rollout, whose steps are not counted as the run's."""
    counters = learner.counters
    learner.counters = replace(counters, **{name: x.copy() for name, x in vars(counters).items()})
    if recipe.advantage.restarts:
        collector.restart(learner)
    length, gamma = recipe.rollout_length, recipe.advantage.gamma
    rollout = recipe.algorithm.collect(learner, collector, length, gamma, None)[0]
    learner.counters = counters
    return Sampled.of(rollout, recipe.advantage(rollout).advantage, member)


def _member(path: Path, recipe: Recipe, seed: int | None) -> int:
    if seed not in (None, *recipe.seeds):
        first, last = recipe.seeds[0], recipe.seeds[-1]
        raise UsageError(f"--seed {seed}: {path} holds " + (f"seeds {first} to {last}" if first < last else f"{first}"))
    return 0 if seed is None else recipe.seeds.index(seed)


def _newest_before(path: Path, recipe: Recipe, member: int, iteration: int | None, updates: int) -> Checkpoint:
    """Return the newest whole checkpoint with budget left, from which so many updates lead no further than asked."""
    kept: list[str] = []
    for saved in checkpoint.load_whole(path / "checkpoint"):
        check_values(saved.values, recipe, path)
        counters = saved.arrays["learner"]
        train, probe = int(counters["counters.train"][member]), int(counters["counters.probe"][member])
        if train + probe < recipe.total_steps:
            reached = train // recipe.iteration_steps + updates
            if iteration is None or reached <= iteration:
                return saved
            kept.append(f"{reached:,}")
    if not kept:
        raise RunDirectoryError(f"{path} holds no whole checkpoint before the end of the budget")
    raise UsageError(
        f"--iteration {iteration}: the checkpoints kept in {path} lead to the updates {', '.join(reversed(kept))}; "
        "rlsparse train --keep-checkpoints N keeps more"
    )


def _device(path: Path) -> str:
    """Return where the run's networks lived, if there is such a device here."""
    device = read_device(path)
    if not device.startswith("cuda"):
        return device
    import torch

    return device if torch.cuda.is_available() else TENSORS_ON_CPU
