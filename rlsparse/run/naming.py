"""What differs between two recipes, as a run's name says it: ppo+nstep is the card ppo with n-step returns."""

from dataclasses import replace
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.run.recipe import Recipe, from_dict, to_dict

Settings = dict[str, Any]

OF_ENVIRONMENT = ("env_kwargs.", "wrappers")
"""How the names of settings begin that say what the environment is, beside its id."""

EXTENDED = "extended_from"
"""The setting of a run whose budget was another at first: its schedules are not those of a run from the start."""

WARM = "init"
"""Of the name of a run that begins with a trained policy; its curve is not like one from random parameters."""


def run_name(agent: str, usual: Recipe, recipe: Recipe) -> str:
    """Return the name of a run: the agent's, whose recipe is `usual`, and every kind of component that differs."""
    before, after = (replace(x, init=None) for x in (usual, recipe))
    _, changed = usual_settings(to_dict(before), flat(to_dict(after)))
    words = [word for word in agent.split("+") if word != WARM]
    words += [kind for kind in changed.values() if isinstance(kind, str)]
    return "+".join(words + [WARM] * (recipe.init is not None))


def usual_settings(nested: Settings, settings: Settings) -> tuple[Settings, Settings]:
    """Return the settings of a recipe as they would be with the components of others, and which of those differ.

    `nested` is the recipe, `settings` are the others by dotted name. So the fields of a component that the recipe does
    not have are compared with the defaults of that component. Both are empty if `nested` is no valid recipe.
    """
    usual, changed = _settings(nested), Settings()
    for table in sorted(_tables(settings)) if usual else []:
        kind = settings.get(f"{table}.kind")
        if table not in _tables(usual) or usual.get(f"{table}.kind") != kind:
            changed[f"{table}.kind" if kind else table] = kind or True
            nested = _with_table(nested, table.split("."), {"kind": kind} if kind else {})
            others = {name: x for name, x in usual.items() if not name.startswith(f"{table}.")}
            usual = _settings(nested) or others
    absent = _tables(usual) - _tables(settings)
    changed |= dict.fromkeys(table for table in absent if table.rpartition(".")[0] not in absent)
    return {name: x for name, x in usual.items() if name.rpartition(".")[0] not in absent}, changed


def flat(table: Settings, prefix: str = "") -> Settings:
    """Return the values of nested tables by dotted name."""
    values: Settings = {}
    for name, value in table.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def _settings(nested: Settings) -> Settings:
    """All settings of a recipe, by dotted name; none if it is not valid."""
    try:
        return flat(to_dict(from_dict(nested, "card")))
    except UsageError:
        return {}


def _tables(settings: Settings) -> set[str]:
    """The dotted names of all components."""
    parts = [name.split(".") for name in settings if not name.startswith(OF_ENVIRONMENT)]
    return {".".join(names[:i]) for names in parts for i in range(1, len(names))}


def _with_table(nested: Settings, path: list[str], content: Settings) -> Settings:
    name, *rest = path
    return nested | {name: _with_table(nested.get(name, {}), rest, content) if rest else content}
