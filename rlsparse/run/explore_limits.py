"""What the settings of probing may be: their ranges, and which go together."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from rlsparse.errors import UsageError, require
from rlsparse.explore.evolution import GuidedEvolution
from rlsparse.explore.explorler import ExploRLer, Proposal
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.kinds import kind_of

Range = tuple[Callable[[Any], bool], str]
"""A test, and what it expects in words."""

COUNT: Range = (lambda x: x >= 1, "a positive whole number")
POSITIVE: Range = (lambda x: 0 < x < math.inf, "a positive number")
NOT_NEGATIVE: Range = (lambda x: 0 <= x < math.inf, "zero or a positive number")
SHARE: Range = (lambda x: 0 <= x <= 1, "a number from 0 to 1")
NOT_NONE: Range = (lambda x: 0 < x <= 1, "a number above 0, at most 1")
NOT_ALL: Range = (lambda x: 0 <= x < 1, "a number from 0 on, below 1")
SURENESS: Range = (lambda x: 0 < x < 1, "a number between 0 and 1")

EXPLORE: dict[str, Range] = {
    "num_anchors": COUNT,
    "anchor_span": SHARE,
    "every": COUNT,
    "start": NOT_ALL,
    "budget_fraction": NOT_NONE,
}
PROPOSAL: dict[str, Range] = {
    **dict.fromkeys(("agents", "moves", "keep_every", "neighbours"), COUNT),
    **dict.fromkeys(("candidates", "pairs", "particles", "rounds"), COUNT),
    **dict.fromkeys(("reach", "longest", "length_scale", "drift", "sharpness"), POSITIVE),
    "noise": NOT_NEGATIVE,
    "gamma": SHARE,
    "isotropic": SHARE,
    "fractions": (lambda x: len(x) > 0 and all(map(math.isfinite, x)), "one finite number or more"),
}
PROBE: dict[str, Range] = {
    "episodes": (lambda x: min(x if isinstance(x, tuple) else (x,), default=0) >= 1, "positive whole numbers"),
    "blocks": COUNT,
    "duel": COUNT,
    "keep": NOT_NONE,
    "share": NOT_NONE,
    "level": SURENESS,
}
"""Ranges by field; fields that are yes or no, or one of a few words, need none."""


def check(explore: ExploRLer, num_envs: int) -> None:
    """Raise UsageError with the first rule that the settings break; `num_envs` of each member act in a rollout."""
    for where, component, ranges in (
        ("explore", explore, EXPLORE),
        ("explore.proposal", explore.proposal, PROPOSAL),
        ("explore.probe", explore.probe, PROBE),
    ):
        for name in (f.name for f in fields(component) if f.name in ranges):
            holds, expected = ranges[name]
            given = getattr(component, name)
            text = " ".join(map(str, given)) if isinstance(given, tuple) else given
            require(holds(given), f"{where}.{name}", text if text != "" else "empty", expected)
    _check_anchors(explore)
    _check_evidence(explore)
    if explore.finish and not isinstance(explore.probe, Episodes | Racing):
        raise UsageError("--explore.finish spends steps on probes alone: it needs --explore.probe episodes or racing")
    if isinstance(explore.probe, InRollout):
        _check_in_rollout(explore.probe, explore.proposal, num_envs)


def width(explore: ExploRLer) -> int:
    """Return how many episodes of each member run at once, at most; candidates, where no episodes are run."""
    probe, proposal = explore.probe, explore.proposal
    candidates = proposal.count(explore.num_anchors)
    if isinstance(probe, Episodes):
        return candidates * probe.episodes
    if isinstance(probe, Racing):
        later = zip(probe.survivors(candidates * proposal.rounds)[1:], probe.episodes[1:], strict=True)
        return max(candidates * probe.episodes[0], 2 * probe.duel, *(n * e for n, e in later))
    return candidates


def _check_anchors(explore: ExploRLer) -> None:
    """One anchor is a point: only what looks in all directions, at a distance of its own, finds any from there."""
    proposal = explore.proposal
    everywhere = isinstance(proposal, GuidedEvolution) and proposal.unit == "absolute" and proposal.isotropic > 0
    enough = explore.num_anchors >= 2 or everywhere
    require(enough, "explore.num_anchors", explore.num_anchors, "2 or more, for one anchor gives no direction")
    if explore.anchor_span > 0 and explore.anchors == "epochs":
        raise UsageError(
            "--explore.anchor-span spreads anchors over iterations: it needs --explore.anchors iterations, or to be 0"
        )


def _check_evidence(explore: ExploRLer) -> None:
    """What is compared by the differences between episodes needs two, and two of the part that decides."""
    probe = explore.probe
    if not isinstance(probe, InRollout) and probe.accept in ("evidence", "posterior"):
        name = {Episodes: "episodes", Racing: "duel", Surrogate: "blocks"}[type(probe)]
        expected = f'2 or more, which --explore.probe.accept "{probe.accept}" needs'
        require(getattr(probe, name) >= 2, f"explore.probe.{name}", getattr(probe, name), expected)
    if explore.search_log_std and not (isinstance(probe, Episodes | Racing) and probe.stochastic):
        raise UsageError(
            "--explore.search-log-std needs scores that depend on the action noise: --explore.probe.stochastic, "
            "with the probe episodes or racing"
        )


def _check_in_rollout(probe: InRollout, proposal: Proposal, num_envs: int) -> None:
    candidates = probe.candidates(num_envs)
    if proposal.rounds > 1:
        can_be_one = any(f.name == "rounds" for f in fields(proposal))
        raise UsageError(
            "--explore.probe in-rollout asks for candidates once, but --explore.proposal "
            f"{kind_of(type(proposal))} proposes in {proposal.rounds} rounds: use another proposal"
            + (", or --explore.proposal.rounds 1" if can_be_one else ", or another probe")
        )
    if candidates == num_envs and probe.share < 1:
        raise UsageError(
            f"--explore.probe.share {probe.share:g} of --num-envs {num_envs} leaves the incumbent no environment: use "
            "more environments, a smaller share, or a share of 1 if only candidates shall act"
        )
    if probe.move == "evolution" and candidates < 2:
        raise UsageError(
            f'--explore.probe.move "evolution" weighs candidates against each other, but --explore.probe.share '
            f"{probe.share:g} of --num-envs {num_envs} is one: use more environments"
        )
