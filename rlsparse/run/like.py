"""`--like RUN`: the recipe of a run is the default of all flags of a new one."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.learner.bounds import PlainName, within
from rlsparse.learner.kinds import kind_of
from rlsparse.run import cards
from rlsparse.run.newest import newest_run
from rlsparse.run.reading import read_json, read_toml
from rlsparse.run.recipe import Recipe, from_dict, to_dict
from rlsparse.run.trust import trust_environment


def recipe_like(name: str, env_id: str | None, trust: bool, keep_wrappers: bool = True) -> tuple[str, Recipe]:
    """Return agent and recipe of the run, or of the newest run in the folder, recipe.toml or policy file called `name`.

    In another environment than its own, which `env_id` then names, it is the recipe without what belongs to the old
    one; its wrappers are left out too unless asked to `keep_wrappers`. Raises UsageError where there is no run, and for
    an environment whose code nobody trusts.
    """
    recipe = _read(file := _file(name))
    recipe = recipe if keep_wrappers else replace(recipe, wrappers=())
    if env_id in (None, recipe.env):
        trust_environment(recipe.environment, env_id, file, trust)
    else:
        recipe = replace(recipe, env=env_id, env_kwargs={}, wrappers=(), env_restarts=None)
    return _agent(file.parent) or kind_of(type(recipe.algorithm)), recipe


def as_asked_like(recipe: Recipe, name: str, given: Collection[str]) -> tuple[Recipe, Collection[str]]:
    """Return a recipe like that of the run called `name`, and which of what a budget may change was asked for.

    What nobody asked for, neither then nor by the flags that are `given` now, is as it was before that run's budget
    changed it.
    """
    old, told = _read(file := _file(name)), _told(file.parent, "unfitted")
    free = {flag: x for flag, x in told.items() if flag not in given} if isinstance(told, dict) else {}
    if "eval-every" in free:
        recipe = replace(recipe, eval_every=None)
    if "eval-episodes" in free:
        recipe = replace(recipe, eval_episodes=free["eval-episodes"])
    if "explore.start" in free and old.explore and recipe.explore and recipe.explore.start == old.explore.start:
        recipe = replace(recipe, explore=replace(recipe.explore, start=free["explore.start"]))
    asked = {"eval-every", "eval-episodes", "explore.start"} - free.keys()
    return from_dict(to_dict(recipe), str(file.parent / "versions.json")), asked  # which checks what that told


def _file(name: str) -> Path:
    path = newest_run(Path(name).expanduser())
    file = path / "recipe.toml" if os.path.isdir(path) else path
    if not os.path.isfile(file):
        card = f": --agent {name} takes the recipe of an agent card" if name in cards.agents() else ""
        raise UsageError(f"--like {name}: expected a run directory, its recipe.toml or a policy.safetensors{card}")
    return file


def _read(file: Path) -> Recipe:
    if file.suffix == ".safetensors":
        from rlsparse.run import policy_file

        return policy_file.load(file).recipe
    table = read_toml(file)
    if "recipe" in table:
        raise UsageError(f"--like {file}: it is an agent card, so use --agent {file}")
    return from_dict(table, str(file))


def _agent(run: Path) -> str | None:
    """The agent's name, where the records of a run tell one that can be the name of a folder."""
    agent = _told(run, "agent")
    return agent if isinstance(agent, str) and within(PlainName, agent) else None


def _told(run: Path, name: str) -> Any:
    """What the records of a run tell; None where there are none, or they are damaged."""
    try:
        return read_json(run / "versions.json").get(name)
    except RunDirectoryError:
        return None
