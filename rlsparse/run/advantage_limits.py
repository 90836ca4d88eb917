"""What the settings of advantage estimators may be: their ranges, and what goes with them."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.monte_carlo import MonteCarlo
from rlsparse.advantage.submodular import Submodular
from rlsparse.errors import UsageError, require
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.learner.kinds import kind_of
from rlsparse.run.explore_limits import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range

RANGES: dict[str, Range] = {
    **dict.fromkeys(("gamma", "gae_lambda", "actor_lambda", "critic_lambda", "trace_lambda", "unseen"), SHARE),
    **dict.fromkeys(("n", "references"), COUNT),
    **dict.fromkeys(("rho_bar", "reach", "noise"), POSITIVE),
    **dict.fromkeys(("c_bar", "gain_weight", "reward_weight", "radius"), NOT_NEGATIVE),
    "after": (lambda x: x >= 0, "a whole number of groups, or 0 for no help"),
    "increments": COUNT,
    "exempt": SHARE,
    "success_return": (math.isfinite, "a finite number"),
    "group_size": (lambda x: x >= 2, "2 or more, for one episode has nothing to be compared with"),
    "cells": (lambda x: all(number >= 1 for number in x), "positive whole numbers"),
    "features": (lambda x: x >= 2 and x % 2 == 0, "a positive even number"),
    **dict.fromkeys(("low", "high"), (lambda x: all(map(math.isfinite, x)), "finite numbers")),
}
"""Ranges by field; fields that are one of a few words need none."""


def check(advantage: Estimator | Submodular, num_envs: int, normalised: bool, explore: ExploRLer | None) -> None:
    """Raise UsageError with the first rule that the settings break.

    Each member has `num_envs` environments; its advantages are `normalised` in minibatches or not.
    """
    _check_ranges(advantage, "advantage")
    if isinstance(advantage, GroupRelative):
        _check_groups(advantage, num_envs, normalised)
        _check_probing(advantage, explore)
    if isinstance(advantage, Submodular):
        _check_weights(advantage, explore)


def _check_ranges(component: Any, where: str) -> None:
    for name in (f.name for f in fields(component)):
        given = getattr(component, name)
        if is_dataclass(given):
            _check_ranges(given, f"{where}.{name}")
        elif name in RANGES:
            holds, expected = RANGES[name]
            require(holds(given), f"{where}.{name}", given, expected)


def check_horizon(advantage: Estimator | Submodular, rollout_length: int, horizon: int) -> None:
    """Raise UsageError if a rollout cannot hold the episodes, of `horizon` steps at most, that have to be whole.

    Or so much of them that enough of any return is seen.
    """
    if isinstance(advantage, GroupRelative) and advantage.restarts and rollout_length < horizon:
        raise UsageError(
            f"--rollout-length {rollout_length} is shorter than an episode may be, {horizon:,} steps: "
            '--advantage.score "outcome" compares whole episodes, so use longer rollouts, or "return-to-go"'
        )
    own = getattr(advantage, "inner", advantage)
    if isinstance(own, GroupRelative | MonteCarlo) and rollout_length < horizon:
        _check_seen(own, rollout_length)


def _check_seen(advantage: GroupRelative | MonteCarlo, rollout_length: int) -> None:
    gamma, unseen = advantage.gamma, advantage.unseen
    if gamma**rollout_length <= unseen:
        return
    enough = math.ceil(math.log(unseen) / math.log(gamma)) if unseen > 0 and gamma < 1 else None
    instead = f"--rollout-length {enough} or more" if enough else "a smaller --advantage.gamma"
    raise UsageError(
        f"--rollout-length {rollout_length} lets --advantage {kind_of(type(advantage))} learn only from episodes that "
        f"terminate: {gamma**rollout_length:.2g} of other returns, more than --advantage.unseen {unseen:g}, lies "
        f"behind its end: use {instead}, or raise --advantage.unseen"
    )


def _check_weights(advantage: Submodular, explore: ExploRLer | None) -> None:
    if advantage.reward_weight > 0:
        return
    if advantage.gain_weight == 0:
        raise UsageError("--advantage.gain-weight and --advantage.reward-weight are both 0: nothing is learned from")
    if explore is not None and isinstance(explore.probe, Episodes | Racing):
        raise UsageError(
            "--advantage submodular with --advantage.reward-weight 0 leaves the environment's return out, by "
            f"which --explore.probe {kind_of(type(explore.probe))} chooses: use --advantage.reward-weight 1, or "
            "--explore.probe in-rollout or surrogate"
        )


def _check_groups(advantage: GroupRelative, num_envs: int, normalised: bool) -> None:
    size = advantage.group_size
    if num_envs % size:
        raise UsageError(
            f"--advantage.group-size {size} does not divide --num-envs {num_envs} into groups: use a multiple of it, "
            f"such as {-(-num_envs // size) * size}"
        )
    if normalised and advantage.scale != "none":
        raise UsageError(
            f'--advantage.scale "{advantage.scale}" and --algorithm.normalise-advantages both scale advantages: use '
            '--algorithm.no-normalise-advantages, or --advantage.scale "none"'
        )


def _check_probing(advantage: GroupRelative, explore: ExploRLer | None) -> None:
    if explore is None:
        return
    if not isinstance(explore.probe, Episodes | Racing):
        raise UsageError(
            f"--explore.probe {kind_of(type(explore.probe))} judges candidates by a critic, which --advantage "
            f"{kind_of(type(advantage))} does without: use episodes or racing, or an estimator with a critic"
        )
    if explore.anchor_span > 0:
        raise UsageError(
            "--explore.anchor-span spreads anchors by steps, and rollouts of groups differ in how many they take: "
            "leave it at 0, or use an estimator with a critic"
        )
