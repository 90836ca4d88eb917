"""ExploRLer's configuration: where to look around a policy, how to judge what is found, when, and at what price."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rlsparse.errors import UsageError, require
from rlsparse.explore.controls import Averages, RandomWalk
from rlsparse.explore.empty_space import EmptySpace
from rlsparse.explore.evolution import Consensus, GuidedEvolution
from rlsparse.explore.gaussian_process import SurrogateGradient
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian, Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.bounds import Count, Fraction, FractionAboveZero, FractionBelowOne, Varying

Proposal = EmptySpace | RandomWalk | Averages | Gaussian | Line | GuidedEvolution | Consensus | SurrogateGradient
Probe = Episodes | Racing | InRollout | Surrogate


@dataclass(frozen=True)
class ExploRLer:
    """Probe the neighbourhood of the policy around its updates. Source: arXiv 2509.25876."""

    proposal: Proposal = field(default_factory=EmptySpace)
    """Where candidates come from."""
    probe: Probe = field(default_factory=Episodes)
    """How candidates are scored and when one replaces the policy."""
    anchors: Literal["epochs", "iterations"] = "epochs"
    """Checkpoints that candidates are made from: after every epoch of the update, or after every iteration."""
    num_anchors: Count = 10
    """How many of the last checkpoints are kept."""
    anchor_span: Fraction = 0.0
    """Share of the budget over which iteration anchors are spread evenly; 0 takes every iteration."""
    every: Count = 1
    """Iterations between two probes, at least."""
    start: Varying[FractionBelowOne] = 0.0
    """Share of the budget before which nothing is probed."""
    finish: bool = False
    """From the first probe on there are no updates, and the run ends when no further probe can be paid."""
    budget_fraction: Varying[FractionAboveZero] = 0.1
    """Most of all steps so far that may have gone to probing; 1 sets no limit."""
    moments: Literal["keep", "reset", "transport"] = "keep"
    """Adam's moments when the policy is replaced: kept; all begun anew, as published; or the actor's first moments
    set to zero, their scale kept."""
    fresh_seeds: bool = True
    """Begin every probe's episodes anew; the published protocol repeats the same ones."""
    search_log_std: bool = False
    """Search the action noise too; only for stochastic scores."""

    @property
    def needs(self) -> Mapping[str, str]:
        """What else a recipe must have, and why."""
        asked = {
            "probe-episodes": self.finish and "spends steps on probes alone, and needs a probe that runs episodes",
            "stochastic-scores": self.search_log_std and "needs scores that depend on the action noise",
            "equal-rollouts": self.anchor_span > 0 and "spreads anchors by steps, and needs rollouts of equal length",
            "policy-optimiser-memory": self.moments == "transport"
            and "forgets in which direction the policy moved, and needs an optimiser that remembers it",
        }
        return {trait: why for trait, why in asked.items() if why}

    @property
    def gives(self) -> frozenset[str]:
        """What other components may rely on, that of the probe included."""
        return self.probe.gives | ({"one-round"} if self.proposal.rounds == 1 else set())

    def of(self, members: Any) -> "ExploRLer":
        """Return the configuration of these members (indices); it is the same for all."""
        return self

    @property
    def width(self) -> int:
        """Most episodes of each member that run at once; candidates, where no episodes are run."""
        of_a_round = self.proposal.count(self.num_anchors)
        (_, episodes), *later = self.probe.stages(self._candidates) or [(of_a_round, 1)]
        return max([of_a_round * episodes, *(n * each for n, each in later)])

    @property
    def _candidates(self) -> int:
        """Candidates of all rounds."""
        return self.proposal.count(self.num_anchors) * self.proposal.rounds

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless anchors give a direction, and are spread over iterations if at all."""
        # one anchor is a point: only what looks in all directions, at a distance of its own, finds any from there
        enough = self.num_anchors >= self.proposal.fewest_anchors
        require(enough, "explore.num_anchors", self.num_anchors, "2 or more, for one anchor gives no direction")
        if self.anchor_span > 0 and self.anchors == "epochs":
            raise UsageError(
                "--explore.anchor-span spreads anchors over iterations: it needs --explore.anchors iterations, or to "
                "be 0"
            )

    def episodes_per_probe(self) -> int:
        """Return how many episodes one probe runs at most; none if it does not run any."""
        return self.probe.episodes_for(self._candidates)

    def describe(self, num_envs: int, total_steps: int, horizon: int, probes: int) -> str:
        """Return what so many probes are and cost in a budget of `total_steps`, as lines for the terminal."""
        candidates = self.probe.tried(self._candidates, num_envs)
        made = f"probes           {probes:,} per seed of {candidates} candidates"
        if not self.probe.spends:
            return f"{made}, without steps of their own"
        episodes, share = self.episodes_per_probe(), min(self.budget_fraction, 1.0 - self.start)
        return (
            f"{made}: at most {episodes} episodes, {episodes * horizon:,} steps if all last {horizon:,}\n"
            f"probe steps      at most {round(share * total_steps):,} per seed, {share:g} of the budget; cheaper "
            "probes leave room for more"
        )
