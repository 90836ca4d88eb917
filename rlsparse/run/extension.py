"""`--resume RUN --total-steps N`: another budget for a run that has begun, and what its records tell of that."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Count, CountFromZero
from rlsparse.run.checkpoint import newest_steps
from rlsparse.run.convert import told
from rlsparse.run.reading import read_json, seal
from rlsparse.run.recipe import Recipe, check, to_toml
from rlsparse.run.storage import write_atomic

if TYPE_CHECKING:
    from rlsparse.run.directory import Run


@dataclass(frozen=True)
class Extension:
    """A budget that took the place of another."""

    at_steps: CountFromZero
    """Steps that the run had made."""
    before: Count
    """The budget until then."""
    total_steps: Count
    """The budget from then on."""
    recipe_sha256: str
    """Of recipe.toml with this budget."""
    when: str


@dataclass(frozen=True)
class Extensions:
    """What versions.json tells of them, in order of time; the last may not have come into force."""

    extended: tuple[Extension, ...] = ()


def extensions(run: Path) -> tuple[Extension, ...]:
    """Return the budgets that a run was given after it began; raises RunDirectoryError for a damaged versions.json."""
    file = run / "versions.json"
    return told(Extensions, read_json(file), file).extended if file.exists() else ()


def in_force(all_of_them: Sequence[Extension], recipe_sha256: str) -> Sequence[Extension]:
    """Return those up to the one whose recipe the run has; none if it has its first recipe."""
    last = max((i for i, one in enumerate(all_of_them) if one.recipe_sha256 == recipe_sha256), default=-1)
    return all_of_them[: last + 1]


def earlier_budgets(run: Path, recipe: Recipe) -> list[int]:
    """Return the budgets that a run with this recipe had before the present one."""
    return [one.before for one in in_force(extensions(run), _sha256(recipe))]


def budget_after(run: Path, recipe: Recipe, steps: int) -> int:
    """Return the budget by which a run went on after so many steps."""
    budget = recipe.total_steps
    for one in reversed(in_force(extensions(run), _sha256(recipe))):
        if one.at_steps <= steps:
            return one.total_steps
        budget = one.before
    return budget


def extend(run: "Run", recipe: Recipe, total_steps: int | None) -> Recipe:
    """Give a run that is open another budget and return its new recipe; one that is killed meanwhile has either.

    Raises UsageError, with nothing written, for a budget below the steps that are made, and where no step would follow.
    """
    if total_steps in (None, recipe.total_steps):
        return recipe
    assert total_steps is not None
    done, given = newest_steps(run.checkpoints), f"--total-steps {total_steps}"
    if total_steps < done:
        raise UsageError(f"{given}: {run.given} has made {done} steps already, so expected {done} or more")
    if recipe.explore and recipe.explore.finish and done >= recipe.explore.start * recipe.total_steps:
        raise UsageError(
            f"{given}: with --explore.finish nothing is learned once probing has begun, as it has in {run.given}: use "
            f"--init {run.given}, which begins a new run with its policy"
        )
    longer = replace(recipe, total_steps=total_steps)
    check(longer)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    entry = Extension(done, recipe.total_steps, total_steps, _sha256(longer), now)
    versions = read_json(run.path / "versions.json")
    versions["extended"] = [*versions.get("extended", []), asdict(entry)]
    # whatever of these is written last, the run can go on by the old budget or by the new one
    write_atomic(run.path / "versions.json", seal(versions) + "\n")
    run.write_status("running", done)
    write_atomic(run.path / "recipe.toml", to_toml(longer))
    return longer


def _sha256(recipe: Recipe) -> str:
    return hashlib.sha256(to_toml(recipe).encode()).hexdigest()
