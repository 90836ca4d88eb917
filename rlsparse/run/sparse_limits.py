"""What the settings of sparse networks may be: their ranges, and which go together."""

from collections.abc import Iterator, Sequence
from numbers import Real

from rlsparse.errors import UsageError, require
from rlsparse.run.explore_limits import COUNT, NOT_ALL, NOT_NONE, POSITIVE, SHARE, Range
from rlsparse.sparse.ast import AST
from rlsparse.sparse.budgets import NETWORKS
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import Magnitude, Static

RULE: dict[str, Range] = {"drop": NOT_NONE, "every": COUNT, "start": NOT_ALL, "end": NOT_NONE}
"""Ranges by field; fields that are one of a few words need none."""

OPTIONAL = ("actor_sparsity", "critic_sparsity", "max_kl")
"""Settings that may be left out."""


def out_of_range(sparse: Sparse) -> Iterator[tuple[str, object, str]]:
    """Yield the settings that are no number of their range: their names, what is given, what is expected."""
    ranges = {**dict.fromkeys(("sparsity", *OPTIONAL), NOT_ALL), "max_kl": POSITIVE, "rate_power": SHARE}
    given = {name: getattr(sparse, name) for name in ranges}
    for name in (name for name in RULE if hasattr(sparse.rule, name)):
        given[f"rule.{name}"], ranges[f"rule.{name}"] = getattr(sparse.rule, name), RULE[name]
    for name, (holds, expected) in ranges.items():
        absent = given[name] is None and name in OPTIONAL
        if not (absent or (isinstance(given[name], Real) and holds(given[name]))):
            yield name, given[name], expected


def check(sparse: Sparse, actor_hidden: Sequence[int], critic_hidden: Sequence[int]) -> None:
    """Raise UsageError with the first rule that the settings break; the widths are of the networks' hidden layers."""
    for name, given, expected in out_of_range(sparse):
        require(False, name if name == "sparsity" else f"sparse.{name}", given, expected)
    for group, hidden in zip(NETWORKS, (actor_hidden, critic_hidden), strict=True):
        _check_densities(sparse, group, len(hidden) + 1)
    if sparse.drop_by != "magnitude" and isinstance(sparse.rule, Static | DCIL | AST):
        name = type(sparse.rule).__name__.lower()
        why = "which drops nothing" if isinstance(sparse.rule, Static) else "whose networks have the largest weights"
        raise UsageError(
            f"--sparse.drop-by {sparse.drop_by} does not go with {name}, {why}: use rigl, set or magnitude"
        )
    if isinstance(sparse.rule, AST):
        _check_sparser(sparse, sparse.rule)
    if isinstance(sparse.rule, Magnitude) and sparse.rule.start >= sparse.rule.end:
        raise UsageError(
            f"--sparse.rule.start {sparse.rule.start:g} is not before --sparse.rule.end {sparse.rule.end:g}: pruning "
            "needs a part of the budget in between"
        )


def _check_sparser(sparse: Sparse, rule: AST) -> None:
    """The sparser actors lie one inside the other, all of them inside the one that acts."""
    if sparse.actor_densities:
        raise UsageError("--sparse.actor-densities does not go with ast: use --sparse.budget and sparsities")
    own = sparse.network("actor")[0]
    all_of_them = (own, *rule.sparser)
    rising = all(a < b for a, b in zip(all_of_them, all_of_them[1:], strict=False))
    given = " ".join(map(str, rule.sparser)) or "nothing"
    expected = f"one or more sparsities, rising, above the actor's {own:g} and below 1"
    require(bool(rule.sparser) and rising and rule.sparser[-1] < 1, "sparse.rule.sparser", given, expected)


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
