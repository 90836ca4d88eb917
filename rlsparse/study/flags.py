"""The flags of `rlsparse sweep`: those of a study, those of its runs, and every field of a recipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any

import tyro

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.learner.bounds import Count
from rlsparse.learner.kinds import kinds
from rlsparse.run import choose
from rlsparse.run.command_line import all_values, literal, values
from rlsparse.run.command_line import parse as parse_flags
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.recipe import Recipe
from rlsparse.run.status import FEWEST_KEPT, Kept, Seconds, Where
from rlsparse.study.fields import FREE, Fields, at, in_source, is_number, known_fields, merged, nested, value_in
from rlsparse.study.file import read_given
from rlsparse.study.given import NOT_SWEPT, Given, over, resolved
from rlsparse.study.study import Study, recipe_of

PROG = "rlsparse sweep"

TRIED = 32
"""Arms and kinds of components for which the flags of all cells are tried: they must fit one of them."""


@dataclass(frozen=True)
class RunFlags:
    """How a study is carried out; no number of it depends on this."""

    out: Path | None = None
    """Folder of the study, in which its runs lie; runs/<name of the study file>, or runs/sweep, if not given."""
    jobs: Count | None = None
    """Processes at once; as many as there are cores, or things to do, if not given."""
    on: str | None = None
    """Where processes run: here if not given; ray, a Ray cluster; ray:HOST:PORT or ray://HOST:PORT, a certain one."""
    part: str | None = None
    """I/N, as 2/10: only this of N parts of the study, counted from 1 or from 0, for job arrays with one --out."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N, as for `rlsparse train`."""
    trust: bool = False
    """Run the code of the environments and wrappers that the study file, or the run of --like, names."""
    keep_checkpoints: Kept = FEWEST_KEPT
    """Checkpoints of each run that stay."""
    checkpoint_every: Count | None = None
    """Steps from one to the next of further checkpoints that stay."""
    env_timeout: Seconds | None = None
    """Most seconds for one call (make, reset, step) of an environment; a run with one that takes longer ends."""
    explore_workers: Annotated[Where, tyro.conf.arg(name="explore.workers")] = "here"
    """Who runs the episodes of probes: the process that trains, or those of a Ray cluster. It changes no result."""
    dry_run: bool = False
    """Print cells, populations and steps, and do nothing."""
    watch: bool = False
    """Draw the comparison anew while training goes on."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the results as one JSON object instead of the table."""


@dataclass(frozen=True)
class CommonRecipe(Recipe):
    """The fields of all recipes but for what a study has several of."""

    env: Annotated[str, tyro.conf.Suppress] = ""


@dataclass(frozen=True)
class StudyFlags:
    """What a study is, but for the fields of its recipes."""

    envs: tuple[str, ...] = ()
    """Environments: names of cards, Gymnasium ids, module:Id, module:Class or file.py:Class."""
    agents: tuple[str, ...] = ()
    """Agent cards, each an arm; the usual one of each environment if not given."""
    sweep: Annotated[tuple[str, ...], tyro.conf.arg(name="sweep.FIELD", metavar="VALUE [VALUE ...]")] = ()
    """Values of any field of a recipe, as --sweep.algorithm.learning-rate 1e-4 3e-4; all combinations are trained."""
    like: Path | None = None
    """Run, recipe.toml or policy file, whose recipe is the default instead of an agent card's."""
    explore: str | None = None
    """How to probe around the policy: none, explorler, or as another agent card does; else as the agent's own does."""
    sparse: str | None = None
    """Which weights are absent: none, by a rule (rigl, set, static, magnitude, dcil, ast), or as an agent card has."""
    init: str | None = None
    """Run, policy file or agent card, with whose trained policy to begin, normalisers and critic included; or none."""
    sparsity: float | None = None
    """Share of weights that is absent, short for --sparse.sparsity."""


@dataclass(frozen=True)
class SweepFlags(RunFlags, StudyFlags):
    """Train agents x environments x settings x seeds; every cell of them is an ordinary run in a folder of the study.

    Run again, it goes on where it stopped, and trains what is missing. A study file holds the same words as TOML:
    docs/sweep.md; what flags say goes for all cells. A setting is a combination of the values that --sweep gives.
    """

    recipe: Annotated[CommonRecipe, tyro.conf.arg(name="")] = field(default_factory=CommonRecipe)


OWN = {f.name for f in fields(SweepFlags)} - {"recipe"}
"""Flags that are no fields of a recipe, or choose among cards."""

CHOOSING = ("algorithm", "simulator", "init", "sparsity", *choose.SHORT_NAMES)
"""Fields that are known before the flags of components are."""

MAY_BE_FILES = ("agents", "explore", "init", "like", "out", "sparse")
"""Flags whose values may be files that end in .toml."""

OF_TRAIN = {
    "env": "--envs",
    "agent": "--agents",
    "resume": "the same command, which goes on",
    "run-dir": "--out",
    "env-workers": "--jobs, which shares out the cores",
    "compare-with": "rlsparse compare on its runs",
    "callbacks": "rlsparse.train for each run",
}
"""Flags of a single run, and what to use here."""


def parse(arguments: Sequence[str]) -> tuple[Study, RunFlags]:
    """Return the study and how to carry it out; raises UsageError for what file or command line get wrong."""
    for name in values(OF_TRAIN, arguments):
        raise UsageError(f"--{name} is for rlsparse train: use {OF_TRAIN[name]}")
    path = Path(arguments[0]) if arguments and not arguments[0].startswith("-") else None
    if path and path.is_dir():
        raise UsageError(f"{path} is a folder: name a study file; a study goes on by the command that it began with")
    swept, rest = _split(arguments[1:] if path else arguments)
    _check_values(rest)
    if not {"-h", "--help"}.isdisjoint(rest):
        _, default = choose.chosen_recipe(values(choose.CHOOSING, rest))
        _parsed(default, rest)
    chosen = values((*CHOOSING, "like", "device"), rest)
    lists = all_values(("envs", "agents", "wrappers"), rest)
    given = Given(
        envs=tuple(lists.get("envs", ())),
        agents=tuple(lists.get("agents", ())),
        sweep=swept,
        fields=nested(_chosen_fields(chosen, lists), ""),
        like=chosen.get("like"),
    )
    source, trust, device = str(path or ""), "--trust" in rest, chosen.get("device", "auto")
    base = read_given(path) if path else Given()
    study = resolved(over(base, given, source, trust, ""), source, device, trust)
    flags = _first_that_fits(study, rest)
    given = replace(given, fields=merged(given.fields or {}, _given_fields(flags.recipe, rest)))
    study = resolved(over(base, given, source, trust, ""), source, device, trust)
    run = RunFlags(**{f.name: getattr(flags, f.name) for f in fields(RunFlags)})
    check_bounds(run)
    return study, replace(run, out=run.out or Path("runs", path.stem if path else "sweep"))


def _chosen_fields(chosen: dict[str, str], lists: dict[str, list[str]]) -> Fields:
    """Return the fields that are known before the flags of components are."""
    wrappers = {"wrappers": lists["wrappers"]} if "wrappers" in lists else {}
    return {name: literal(chosen[name]) for name in CHOOSING if name in chosen} | wrappers


def _check_values(arguments: Sequence[str]) -> None:
    """Raise UsageError for lists with commas, several values of one number, and a study file that is not the first."""
    name, given = "", 0
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, _ = argument[2:].partition("=")
            given = len(equals)
            continue
        given += 1
        if argument.endswith(".toml") and name not in MAY_BE_FILES:
            raise UsageError(f"{argument}: a study file stands before all flags, as rlsparse sweep {argument} --jobs 2")
        if name in ("envs", "agents") and "," in argument and ":" not in argument:
            words = " ".join(argument.replace(",", " ").split())
            raise UsageError(f"--{name} {argument}: names have blanks between them, as --{name} {words}")
        field_name = name.replace("-", "_")
        if given > 1 and is_number(field_name) and field_name not in NOT_SWEPT:
            raise UsageError(f"--{name} takes one value: use --sweep.{name} to train with each of several")


def _split(arguments: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the values of every --sweep.FIELD, and all other arguments."""
    swept: dict[str, list[Any]] = {}
    rest: list[str] = []
    into: list[Any] | None = None
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--sweep.") and len(name) > len("--sweep."):
            into = swept.setdefault(name.removeprefix("--sweep.").replace("-", "_"), [])
            into += [_value(value)] * bool(equals)
        elif argument == "--sweep" or name == "--sweep.":
            raise UsageError("--sweep needs a field and values: --sweep.algorithm.learning-rate 1e-4 3e-4")
        elif into is None or argument.startswith("--"):
            into = None
            rest.append(argument)
        else:
            into.append(_value(argument))
    for name, given in swept.items():
        if not given:
            raise UsageError(f"--sweep.{name.replace('_', '-')} needs values")
    return swept, rest


def _value(text: str) -> Any:
    """Return a value of a swept field; several with blanks between them, as "64 64", are a list."""
    words = text.split()
    return [literal(word) for word in words] if len(words) > 1 and "[" not in text else literal(text)


def _first_that_fits(study: Study, arguments: Sequence[str]) -> SweepFlags:
    """Return the flags, read with the components of the first arm and setting that have them all."""
    first: RlsparseError | None = None
    of_kinds = {name: values for name, values in study.grid.items() if any(isinstance(x, dict) for x in values)}
    settings = [dict(zip(of_kinds, x, strict=True)) for x in product(*of_kinds.values())]
    for arm, setting in islice(product(study.arms, settings), TRIED):
        try:
            _, recipe, _ = recipe_of(study, arm, study.environments[0], setting)
        except RlsparseError as error:
            first = first or type(error)(in_source(study.source, str(error)))
            continue
        try:
            return _parsed(recipe, arguments)
        except UsageError as error:
            first = first or error
    assert first is not None
    raise first


def _parsed(recipe: Recipe, arguments: Sequence[str]) -> SweepFlags:
    """Return the flags where the recipe without them is this one."""
    examples = {name: short[0] for name, short in choose.SHORT_NAMES.items()} | {"init": "runs"}
    choose.refuse_flags_of_nothing(recipe, examples, arguments)
    recipe = choose.with_kinds(recipe, arguments)
    choose.refuse_flags_of_other_kinds(recipe, arguments)
    default = CommonRecipe(**{f.name: getattr(recipe, f.name) for f in fields(Recipe)})
    flags_class = choose.flags_with_kinds(SweepFlags, default)
    prog = f"{PROG} [STUDY.toml]" if {"-h", "--help"} & {*arguments} else PROG
    return parse_flags(flags_class, arguments, prog=prog, default=flags_class(recipe=default))


def _given_fields(recipe: Recipe, arguments: Sequence[str]) -> Fields:
    """Return the fields of the recipe that the command line gives, nested."""
    found: Fields = {}
    for name in _flag_names(arguments):
        if name.replace(".", "_") not in OWN and name not in CHOOSING:
            x = value_in(recipe, name)
            is_component = bool(kinds(known_fields().get(name)))
            found = merged(found, at(name, {"kind": x} if is_component else x))
    return found


def _flag_names(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the dotted names of the flags, without the "no" of those that say no."""
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:].partition("=")[0].replace("-", "_")
            outer, dot, last = name.rpartition(".")
            known = name in known_fields() or name.startswith(f"{FREE}.")
            yield name if known else f"{outer}{dot}{last.removeprefix('no_')}"
