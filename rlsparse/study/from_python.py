"""`rlsparse.sweep(...)`: what `rlsparse sweep` does, in Python."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.run import from_python
from rlsparse.run.compatibility import check_bounds
from rlsparse.run.stop import StopInterrupt
from rlsparse.study.arguments import study_from_arguments
from rlsparse.study.comparison import compare_finished
from rlsparse.study.display import Display
from rlsparse.study.flags import RunFlags
from rlsparse.study.result import Sweep, finished_runs
from rlsparse.study.study import cells
from rlsparse.study.sweep import carry_out, options_of, place_of
from rlsparse.study.worker import WORKER


def sweep(
    study: str | os.PathLike[str] | None = None,
    *,
    envs: Sequence[str | Callable[..., Any]] | str = (),
    agents: Sequence[str] | str = (),
    arms: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    on: str | None = None,
    device: str = "auto",
    keep_checkpoints: int | None = None,
    checkpoint_every: int | None = None,
    env_timeout: float | None = None,
    trust: bool = False,
    quiet: bool = True,
    **fields: Any,
) -> Sweep:
    """Train agents x environments x settings x seeds; what `rlsparse sweep` does, with the same names and defaults.

    `study` is a study file; what is given beside it goes for all cells. `arms` are agents and what differs from their
    cards, by name: {"wide": {"agent": "ppo", "policy": {"actor_hidden": [256, 256]}}}; `settings` are the values of
    fields, of which all combinations are trained: {"algorithm.learning_rate": [1e-4, 3e-4]}; `fields` are those of a
    recipe, such as num_seeds and total_steps, for all cells. Called again it trains what is missing. A cell that fails
    is among the `failures` of what is returned. Ctrl-C saves all runs and then raises KeyboardInterrupt. Raises
    UsageError for a study that is wrong as a whole.
    """
    if WORKER in os.environ:
        raise UsageError(
            "rlsparse.sweep was called while a process of a study imports this script for its environment: put the "
            "call below if __name__ == '__main__':"
        )
    found = study_from_arguments(envs, agents, arms, settings, device, trust, study, **fields)
    folder = Path("runs", Path(study).stem if study else "sweep") if out is None else Path(from_python.text("out", out))
    whole = from_python.settings(
        env_timeout, jobs=jobs, keep_checkpoints=keep_checkpoints, checkpoint_every=checkpoint_every
    )
    flags = RunFlags(out=folder, on=on, device=device, trust=trust, quiet=quiet, **whole)
    check_bounds(flags)
    planned = cells(found, folder)
    with StopInterrupt() as stop, Display(quiet) as display:
        standings = carry_out(planned, place_of(flags), options_of(flags), stop, display, folder)
    if stop.received:
        raise KeyboardInterrupt("stopped; the same call goes on")
    compared = compare_finished(standings, folder)
    return Sweep(folder, finished_runs(planned.cells, standings), tuple(standings), compared)
