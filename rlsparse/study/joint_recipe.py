"""The recipe of all members of several runs, which differ in numbers that may vary from member to member."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import Probed, ProposalKind
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.bounds import Varies, bounded_hints
from rlsparse.learner.kinds import kind_of
from rlsparse.learner.member_numbers import MemberNumbers
from rlsparse.run.recipe import Recipe


@dataclass(frozen=True)
class JointRecipe(Recipe):
    """A recipe whose members are those of several runs, one run after the other; numbers may be `MemberNumbers`."""

    member_seeds: tuple[int, ...] = ()
    """The seed of each member, [S]; a seed may come again."""

    @property
    def seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the members."""
        return self.member_seeds


def joint(recipes: Sequence[Recipe]) -> JointRecipe:
    """Return the recipe of the members of all recipes together.

    Raises ValueError if they differ in anything but seeds and numbers that may vary from member to member.
    """
    counts = [recipe.num_seeds for recipe in recipes]
    seeds = tuple(seed for recipe in recipes for seed in recipe.seeds)
    alike = [replace(recipe, seed=0, num_seeds=len(seeds)) for recipe in recipes]
    values = {f.name: _merged([getattr(x, f.name) for x in alike], counts, f.name) for f in fields(Recipe)}
    if values["explore"] is not recipes[0].explore:
        values["explore"] = JointExploRLer(**vars(values["explore"]))
    return JointRecipe(**values, member_seeds=seeds)


@cache
def varying_fields(cls: type) -> tuple[str, ...]:
    """Return the fields of a component that may differ between members that are trained together."""
    return tuple(name for name, hint in bounded_hints(cls).items() if Varies in getattr(hint, "__metadata__", ()))


def of_member(component: Any, member: int) -> Any:
    """Return a component, or a value, as one member has it."""
    if isinstance(component, MemberNumbers):
        return component.numbers[member]
    if not is_dataclass(type(component)):
        return component
    values = {f.name: getattr(component, f.name) for f in fields(component)}
    own = {name: of_member(x, member) for name, x in values.items()}
    return replace(component, **{name: x for name, x in own.items() if x is not values[name]})


@dataclass(frozen=True)
class JointExploRLer(ExploRLer):
    """Probing in which members may differ in numbers."""

    def of(self, members: np.ndarray) -> ExploRLer:
        """Return the configuration of these members (indices)."""
        own = [of_member(self, member) for member in members]
        proposal: Any = OwnProposals(tuple(x.proposal for x in own))
        probe = _merged([x.probe for x in own], [1] * len(own), "explore.probe")
        return replace(self, proposal=proposal, probe=probe)


@dataclass(frozen=True)
class OwnProposals(ProposalKind):
    """Each member's own proposal."""

    each: tuple[ProposalKind, ...]

    @property
    def rounds(self) -> int:  # type: ignore[override]
        """How often they are asked within one cycle."""
        return self.each[0].rounds

    def count(self, num_anchors: int) -> int:
        """Candidates per round."""
        return self.each[0].count(num_anchors)

    def __call__(self, anchors: np.ndarray, probed: Probed, generators: Sequence[Generator]) -> np.ndarray:
        """Candidates [S, C, P] float64 from anchors [S, K, P]."""
        found = []
        for i, proposal in enumerate(self.each):
            one = slice(i, i + 1)
            found.append(proposal(anchors[one], Probed(probed.points[one], probed.scores[one]), generators[one]))
        return np.concatenate(found)


def _merged(values: Sequence[Any], counts: Sequence[int], place: str, varies: bool = False) -> Any:
    """Return what stands for the values of runs of so many members each."""
    first: Any = values[0]
    if all(x == first for x in values):
        return first
    if is_dataclass(type(first)) and all(type(x) is type(first) for x in values):
        varying = varying_fields(first.__class__)
        merged = {
            f.name: _merged([getattr(x, f.name) for x in values], counts, f"{place}.{f.name}", f.name in varying)
            for f in fields(first)
        }
        return replace(first, **merged)
    if not varies or None in values:
        given = " and ".join(sorted({kind_of(type(x)) if is_dataclass(type(x)) else str(x) for x in values}))
        raise ValueError(f"{place} may not differ between members that are trained together: {given}")
    return MemberNumbers(tuple(x for x, count in zip(values, counts, strict=True) for _ in range(count)))
