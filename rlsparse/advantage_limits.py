"""What the settings of advantage estimators may be: their ranges, and what goes with them."""

from dataclasses import fields

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.errors import UsageError, require
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.explore_limits import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range

RANGES: dict[str, Range] = {
    **dict.fromkeys(("gamma", "gae_lambda", "actor_lambda", "critic_lambda", "trace_lambda", "unseen"), SHARE),
    "n": COUNT,
    "rho_bar": POSITIVE,
    "c_bar": NOT_NEGATIVE,
    "group_size": (lambda x: x >= 2, "2 or more, for one episode has nothing to be compared with"),
}
"""Ranges by field; fields that are one of a few words need none."""


def check(advantage: Estimator, num_envs: int, normalised: bool, explore: ExploRLer | None) -> None:
    """Raise UsageError with the first rule that the settings break.

    Each member has `num_envs` environments; its advantages are `normalised` in minibatches or not.
    """
    for name in (f.name for f in fields(advantage) if f.name in RANGES):
        holds, expected = RANGES[name]
        given = getattr(advantage, name)
        require(holds(given), f"advantage.{name}", given, expected)
    if isinstance(advantage, GroupRelative):
        _check_groups(advantage, num_envs, normalised)
        _check_probing(explore)


def check_horizon(advantage: Estimator, rollout_length: int, horizon: int) -> None:
    """Raise UsageError if a rollout cannot hold the episodes, of `horizon` steps at most, that have to be whole."""
    if isinstance(advantage, GroupRelative) and advantage.restarts and rollout_length < horizon:
        raise UsageError(
            f"--rollout-length {rollout_length} is shorter than an episode may be, {horizon:,} steps: "
            '--advantage.score "outcome" compares whole episodes, so use longer rollouts, or "return-to-go"'
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
            "one of them"
        )


def _check_probing(explore: ExploRLer | None) -> None:
    if explore is None:
        return
    if not isinstance(explore.probe, Episodes | Racing):
        raise UsageError(
            "--explore.probe in-rollout and surrogate judge candidates by a critic, which group-relative advantages do "
            "without: use episodes or racing"
        )
    if explore.anchor_span > 0:
        raise UsageError(
            "--explore.anchor-span spreads anchors by steps, and rollouts of groups differ in how many they take: "
            "leave it at 0, or use an estimator with a critic"
        )
