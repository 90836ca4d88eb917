"""Whether a checkpoint is one of this run: its recipe, its plain values, its arrays; before anything is made of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt

from rlsparse.errors import RunDirectoryError
from rlsparse.learner.bounds import Expected, NotNegative
from rlsparse.run.checkpoint import Checkpoint, File, read_manifest, shapes, steps_first
from rlsparse.run.convert import told
from rlsparse.run.extension import earlier_budgets
from rlsparse.run.naming import flat
from rlsparse.run.reading import shorten
from rlsparse.run.recipe import Recipe, to_dict
from rlsparse.run.record_files import RECORDS

MISFITS = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""What loading a state raises that is not one of its own kind."""


@dataclass(frozen=True)
class SavedCallback:
    """The state of a callback, but for its arrays."""

    name: str
    """Of its class."""
    state: str
    """A JSON object; it may hold NaN and infinities, which no other JSON of ours does."""


@dataclass(frozen=True)
class Values:
    """The plain values of a checkpoint, but for the random streams."""

    recipe: dict[str, Any]
    evaluated_at: Annotated[tuple[Annotated[int, Ge(-1), Lt(2**63)], ...], Expected("numbers of steps")]
    seconds: NotNegative
    eval_seconds: NotNegative
    records: dict[str, str]
    """The last rows of each table."""
    heads: dict[str, File] = field(default_factory=dict)
    """What vouches for the rows before them."""
    callbacks: tuple[SavedCallback, ...] = ()


def check_values(values: Mapping[str, Any], recipe: Recipe, run_dir: Path) -> Values:
    """Return a checkpoint's values; raises RunDirectoryError unless they are of this recipe, and names what differs."""
    source = run_dir / "checkpoint"
    read = told(Values, values, source)
    then, now = flat(read.recipe), flat(to_dict(recipe))
    if then.get("total_steps") in earlier_budgets(run_dir, recipe):
        then["total_steps"] = recipe.total_steps
    differing = [
        shorten(f"{name}: {then.get(name)} in the checkpoint, {now.get(name)} in recipe.toml")
        for name in then | now
        if then.get(name) != now.get(name)
    ]
    if differing:
        raise RunDirectoryError(
            f"{run_dir / 'recipe.toml'} was changed after the run began ({'; '.join(differing[:3])}): a resumed run "
            "keeps its recipe, so undo the change or start a new run"
        )
    if not {*read.records, *read.heads} <= set(RECORDS) or len(read.evaluated_at) != recipe.num_seeds:
        raise RunDirectoryError(f"{source} is not of this run: its tables or evaluations are others")
    return read


def check_newest(run_dir: Path, recipe: Recipe) -> None:
    """Raise RunDirectoryError if the newest checkpoint that tells is of other values, or of smaller networks.

    Before networks are built, which takes memory and time, as large as the recipe says.
    """
    for path in steps_first(run_dir / "checkpoint"):
        try:
            values, sizes = read_manifest(path / "manifest.json").values, shapes(path / "learner.safetensors")
        except RunDirectoryError:  # loading it will tell, or pass it over
            continue
        check_values(values, recipe, run_dir)
        with misfits_told(run_dir):
            (members, size), (_, obs_size) = sizes["params"], sizes["obs_moments.mean"]
            least = recipe.layout(obs_size, 1).size
            if members != recipe.num_seeds or size < least:
                raise ValueError(f"params is of shape {members, size}, expected {recipe.num_seeds, least} or more")
        return


def check_arrays(saved: Checkpoint, fresh: Mapping[str, Mapping[str, np.ndarray]], run_dir: Path) -> None:
    """Raise RunDirectoryError unless the arrays have the names, types and shapes of a state that has just been built.

    What is still empty there, and the episodes of an archive, may be of any length.
    """
    for group, own in fresh.items():
        found = saved.arrays.get(group, {})
        for name in found.keys() | own.keys():
            then, now = found.get(name), own.get(name)
            if then is None or now is None or not _alike(then, now, name.startswith("archive.")):
                texts = ("nothing" if x is None else f"{x.dtype} numbers of shape {x.shape}" for x in (then, now))
                raise RunDirectoryError(
                    "{}: {}.{} has {}, here it would have {}: the environment or a package is another than the run "
                    "began with".format(run_dir / "checkpoint", group, name, *texts)
                )
            if name.startswith(("counters.", "env.episode")) and (then < 0).any():
                raise RunDirectoryError(f"{run_dir / 'checkpoint'}: {group}.{name} counts less than nothing")
    for x in (x for group in ("stats", "metrics") for x in saved.arrays.get(group, {}).values()):
        if x.shape != (len(fresh["learner"]["params"]),):
            raise RunDirectoryError(f"{run_dir / 'checkpoint'} tells of {x.shape} members")


def _alike(then: np.ndarray, now: np.ndarray, any_length: bool) -> bool:
    sizes = zip(then.shape, now.shape, strict=False)
    return then.dtype == now.dtype and then.ndim == now.ndim and (any_length or all(b in (0, a) for a, b in sizes))


@contextmanager
def misfits_told(run_dir: Path) -> Iterator[None]:
    """Tell in one line what goes wrong when a checkpoint is loaded that is whole, but not of such a run."""
    try:
        yield
    except MISFITS as error:
        what = f"{type(error).__name__}: {shorten(str(error))}"
        raise RunDirectoryError(f"{run_dir / 'checkpoint'} does not fit recipe and environment: {what}") from error
