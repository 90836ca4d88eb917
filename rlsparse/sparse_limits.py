"""What the settings of sparse networks may be: their ranges, and which go together."""

from collections.abc import Sequence
from dataclasses import fields

from rlsparse.errors import UsageError, require
from rlsparse.explore_limits import COUNT, NOT_ALL, NOT_NONE, POSITIVE, Range
from rlsparse.sparse.config import NETWORKS, Sparse
from rlsparse.sparse.rules import DCIL, Magnitude, Static

RULE: dict[str, Range] = {"drop": NOT_NONE, "every": COUNT, "start": NOT_ALL, "end": NOT_NONE}
"""Ranges by field; fields that are one of a few words need none."""


def check(sparse: Sparse, actor_hidden: Sequence[int], critic_hidden: Sequence[int]) -> None:
    """Raise UsageError with the first rule that the settings break; the widths are of the networks' hidden layers."""
    for name in ("sparsity", "actor_sparsity", "critic_sparsity"):
        given, (holds, expected) = getattr(sparse, name), NOT_ALL
        require(given is None or holds(given), name if name == "sparsity" else f"sparse.{name}", given, expected)
    for group, hidden in zip(NETWORKS, (actor_hidden, critic_hidden), strict=True):
        _check_densities(sparse, group, len(hidden) + 1)
    if sparse.drop_by != "magnitude" and isinstance(sparse.rule, Static | DCIL):
        name = type(sparse.rule).__name__.lower()
        raise UsageError(f"--sparse.drop-by {sparse.drop_by} does not go with {name}: use rigl, set or magnitude")
    require(0 <= sparse.rate_power <= 1, "sparse.rate_power", sparse.rate_power, "a number from 0 to 1")
    if sparse.max_kl is not None:
        require(POSITIVE[0](sparse.max_kl), "sparse.max_kl", sparse.max_kl, POSITIVE[1])
    for name in (f.name for f in fields(sparse.rule)):
        if name in RULE:
            holds, expected = RULE[name]
            require(holds(getattr(sparse.rule, name)), f"sparse.rule.{name}", getattr(sparse.rule, name), expected)
    if isinstance(sparse.rule, Magnitude) and sparse.rule.start >= sparse.rule.end:
        raise UsageError(
            f"--sparse.rule.start {sparse.rule.start:g} is not before --sparse.rule.end {sparse.rule.end:g}: pruning "
            "needs a part of the budget in between"
        )


def _check_densities(sparse: Sparse, group: str, layers: int) -> None:
    name = f"sparse.{group}_densities"
    given = getattr(sparse, f"{group}_densities")
    if not given:
        return
    require(all(map(NOT_NONE[0], given)), name, " ".join(map(str, given)), "numbers above 0, at most 1")
    if len(given) != layers:
        raise UsageError(
            f"--{name.replace('_', '-')} gives {len(given)} densities, but --policy.{group}-hidden makes {layers} "
            "layers: expected one for each"
        )
    if getattr(sparse, f"{group}_sparsity") is not None:
        raise UsageError(
            f"--{name.replace('_', '-')} and --sparse.{group}-sparsity both say how much of the {group} is there: use "
            "one of them"
        )
