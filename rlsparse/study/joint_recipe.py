"""The recipe of all members of several runs, which differ in numbers that may vary from member to member."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from rlsparse.learner.bounds import Varies, bounded_hints
from rlsparse.learner.member_numbers import MemberNumbers
from rlsparse.run.recipe import Recipe


@dataclass(frozen=True)
class JointRecipe(Recipe):
    """A recipe whose members are those of several runs, one run after the other; numbers may be `MemberNumbers`."""

    member_seeds: tuple[int, ...] = ()
    """The seed of each member, [S]; the same seed may come again."""

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
    values = {f.name: _merged([getattr(x, f.name) for x in alike], counts, f.name, False) for f in fields(Recipe)}
    return JointRecipe(**values, member_seeds=seeds)


def _merged(values: Sequence[Any], counts: Sequence[int], place: str, varies: bool) -> Any:
    """Return what stands for the values of all runs, of so many members each."""
    first: Any = values[0]
    if all(x == first for x in values):
        return first
    if is_dataclass(type(first)) and all(type(x) is type(first) for x in values):
        return replace(
            first,
            **{
                name: _merged([getattr(x, name) for x in values], counts, f"{place}.{name}", may_vary(hint))
                for name, hint in bounded_hints(type(first)).items()
            },
        )
    if not varies or None in values:
        given = " and ".join(sorted({str(x) for x in values}))
        raise ValueError(f"{place} may not differ between members that are trained together: {given}")
    return MemberNumbers(tuple(x for x, count in zip(values, counts, strict=True) for _ in range(count)))


def may_vary(hint: Any) -> bool:
    """Whether an annotation, as `bounded_hints` gives it, says that members may differ."""
    return Varies in getattr(hint, "__metadata__", ())
