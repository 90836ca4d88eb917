"""The flags of `rlsparse train`: of a new run, and of one that goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Count
from rlsparse.run import choose
from rlsparse.run.command_line import parse, values
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.recipe import Recipe
from rlsparse.run.status import FEWEST_KEPT, Kept, Seconds, Where, Workers

ASKED = ("eval-every", "eval-episodes", "explore.start")
"""Flags of what a short budget would change otherwise."""


@dataclass(frozen=True)
class TrainFlags:
    """Train an agent; the run directory keeps its curve, its policy and all it needs to be resumed.

    A card is a file of settings that ships (`rlsparse agents` lists them). A member is one seed of a run. A probe tries
    candidates near the policy, made from anchors: policies that training went through. All words: docs/glossary.md.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    agent: str | None = None
    """Agent card whose recipe is the default; the environment card's own if not given."""
    like: Path | None = None
    """Run, or folder whose newest run is meant, recipe.toml or policy file, whose recipe is the default instead."""
    trust: bool = False
    """Run the code of the environment that the run of --like names, whatever it is; a line says first which that is."""
    explore: str | None = None
    """How to probe around the policy: none, explorler, or as another agent card does; else as the agent's own does."""
    sparse: str | None = None
    """Which weights are absent: none, by a rule (rigl, set, static, magnitude, dcil, ast), or as an agent card has."""
    init: str | None = None
    """Run, policy file or agent card, with whose trained policy to begin, normalisers and critic included; or none."""
    sparsity: float | None = None
    """Share of weights that is absent, short for --sparse.sparsity."""
    out: Path = Path("runs")
    """Folder in which run directories are made."""
    run_dir: Path | None = None
    """Exactly this run directory instead."""
    resume: Path | None = None
    """Go on with this run; its recipe cannot be changed."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. Auto is the GPU for a recipe whose simulator runs there, else the CPU; with cuda, the
    default agent is the one whose simulator does."""
    keep_checkpoints: Kept = FEWEST_KEPT
    """Checkpoints that stay: the two newest, the others spread evenly over the run, for `rlsparse landscape`."""
    checkpoint_every: Count | None = None
    """Steps from one to the next of further checkpoints that stay, to go back to or to draw."""
    env_timeout: Seconds | None = None
    """Most seconds for one call (make, reset, step) of an environment; a run with one that takes longer ends."""
    env_workers: Workers | None = None
    """Processes in which environments step, measured if not given; not the MuJoCo tasks. It changes no result."""
    explore_workers: Annotated[Where, tyro.conf.arg(name="explore.workers")] = "here"
    """Who runs the episodes of probes: this process, or those of a Ray cluster. It changes no result."""
    compare_with: str | None = None
    """Agent card whose shipped curve is drawn beside the run's own at the end."""
    callbacks: tuple[str, ...] = ()
    """Code of your own that watches or steers the run: module:Class, any number of them."""
    dry_run: bool = False
    """Print the resolved recipe, rollouts, updates and steps, and do nothing."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


@dataclass(frozen=True)
class ResumeFlags:
    """Go on with a run."""

    resume: Path
    """The run directory, or a folder whose newest run is meant."""
    env: str | None = None
    """The run's own environment, to be named if its code is neither rlsparse's nor Gymnasium's, for it is run."""
    wrappers: tuple[str, ...] | None = None
    """The run's own wrappers, to be named for the same reason."""
    trust: bool = False
    """Run the code of the environment that the run names, whatever it is; a line says first which that is."""
    total_steps: Count | None = None
    """Another budget, with which a finished run goes on too; schedules follow the new one from then on."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto is where the run has been so far."""
    keep_checkpoints: Kept | None = None
    """Checkpoints that stay, spread over the run; as many as so far if not given."""
    checkpoint_every: Count | None = None
    """Steps from one to the next of further checkpoints that stay; as so far if not given."""
    env_timeout: Seconds | None = None
    """Most seconds for one call of an environment; as so far if not given."""
    callbacks: tuple[str, ...] = ()
    """Those of the run so far, to be named again, for they are code: module:Class."""
    env_workers: Workers | None = None
    """Processes in which environments step, measured anew if not given."""
    explore_workers: Annotated[Where | None, tyro.conf.arg(name="explore.workers")] = None
    """Who runs the episodes of probes, here or ray; as so far if not given."""
    strict: bool = False
    """End where the newest checkpoint is damaged, instead of going on from the one before it."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the summary as one JSON object instead of the table."""


def train_flags(arguments: Sequence[str]) -> tuple[str, Recipe, TrainFlags]:
    """Return the agent's name, the recipe and all flags; raises UsageError for what the command line gets wrong."""
    if any(argument.startswith(("--sweep", "--envs", "--agents")) for argument in arguments):
        raise UsageError("--envs, --agents and --sweep.FIELD train every combination of values: use rlsparse sweep")
    chosen = values(choose.CHOOSING, arguments)
    if "like" in chosen and "agent" in chosen:
        raise UsageError("--like and --agent both say which recipe is the default: give one of them")
    agent, default = choose.chosen_recipe(chosen, "--trust" in arguments)
    examples = {name: short[0] for name, short in choose.SHORT_NAMES.items()} | {"init": "runs"}
    choose.refuse_flags_of_nothing(default, examples, arguments)
    usual, default = default, choose.with_kinds(default, arguments)
    agent = choose.agent_name(chosen, agent, usual, default)
    choose.refuse_flags_of_other_kinds(default, arguments)
    if not default.env and not {"-h", "--help"}.isdisjoint(arguments):
        default = replace(default, env=tyro.MISSING)  # which the help shows as required
    flags_class = choose.flags_with_kinds(TrainFlags, default)
    flags = parse(flags_class, arguments, prog="rlsparse train", default=flags_class(default))
    if not default.env:
        raise UsageError("which environment? e.g. --env HalfCheetah (rlsparse envs lists them)")
    if flags.trust and flags.like is None:
        raise UsageError("--trust is for the run of --like or --resume: --env names the environment of a new run")
    if flags.sparsity is not None and values(["sparse.sparsity"], arguments):
        raise UsageError("--sparsity and --sparse.sparsity are the same: give one of them")
    return agent, choose.with_sparsity(choose.with_environment(flags.recipe, default), flags.sparsity), flags


def resume_flags(arguments: Sequence[str]) -> ResumeFlags:
    """Return the flags of a run that goes on; raises UsageError for any that would change its recipe."""
    others = [
        f"--{f.name.replace('explore_', 'explore.').replace('_', '-')}"
        for f in fields(ResumeFlags)
        if f.name != "resume"
    ]
    allowed = f"{', '.join(others[:-1])} and {others[-1]}"
    hint = f"a resumed run keeps its recipe, so only {allowed} go with --resume"
    flags = parse(ResumeFlags, arguments, prog="rlsparse train", unknown_hint=hint)
    check_bounds(flags)
    return flags
