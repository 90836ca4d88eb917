"""What arms are called: the agent, and in what its run differs from the agent's card."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rlsparse.compare.record import Log
from rlsparse.run.choose import recipe_of_name
from rlsparse.run.naming import EXTENDED, OF_ENVIRONMENT, WARM, Settings, usual_settings
from rlsparse.run.recipe import Recipe, to_dict

NOT_THE_METHOD = {"env", "seed", "num_seeds", "eval_every", "eval_episodes", "env_restarts"}
"""Fields of a recipe in which two runs of the same method may differ."""

BUDGET = "total_steps"
"""Part of the name only where runs of an agent differ in it: most runs have not the budget of a card."""

MOST_WORDS = 4
"""With more differences from the card that all runs of an agent share, the name only counts them."""

LONGEST = 100
"""Most characters of a value; a longer one is cut, and told apart from others by some of its digest."""


def arm_names(logs: Sequence[Log]) -> list[str]:
    """Name each log by its agent, by what wrote it, and by the settings that differ from the agent's card.

    What wrote it is added only where an agent's logs differ in that. An agent without a card is named by those settings
    in which its runs differ from each other. Different settings in one environment make different names; arguments and
    wrappers of an environment are part of the environment.
    """
    names: dict[int, str] = {}
    logs = [replace(log, settings=_with_init_in_one(log.settings)) for log in logs]
    recipe_of = cache(recipe_of_name)
    begun = {id(log): _begun_with(log, recipe_of) for log in logs}
    for agent in {agent for agent, _ in begun.values()}:
        own = [log for log in logs if begun[id(log)][0] == agent]
        kinds, varied = {log.kind for log in own}, _varied_fields(own)
        differences = [_differences(log, begun[id(log)][1], varied) for log in own]
        ends = Counter(name.rpartition(".")[2] for name in {name for changed in differences for name in changed})
        for log, changed in zip(own, differences, strict=True):
            common = [name for name in changed if name not in varied]
            shown = [name for name in changed if name in varied or len(common) <= MOST_WORDS]
            words = [_word(name, changed[name], ends) for name in shown]
            words += [f"({len(common)} settings changed)"] * (len(common) > MOST_WORDS)
            origin = [f"({log.kind})"] * (len(kinds) > 1 and log.kind != "rlsparse run")
            names[id(log)] = " ".join([agent, *origin, *words])
    return [names[id(log)] for log in logs]


def _with_init_in_one(settings: Settings) -> Settings:
    """The settings with the policy that a run began with as one of them, called by its folder and its digest."""
    own = {name: x for name, x in settings.items() if name.startswith("init.")}
    if not own:
        return settings
    path = Path(str(own.pop("init.policy", "")))
    digest = str(own.pop("init.sha256", ""))[:6]
    others = {name: x for name, x in settings.items() if not name.startswith("init.")}
    others["init"] = f"{path.parent.name if path.suffix else path.name}:{digest}"
    return others | {name.replace(".", "_"): x for name, x in own.items()}


def _begun_with(log: Log, recipe_of: Callable[..., tuple[str, Recipe] | None]) -> tuple[str, Settings]:
    """The agent that a run began with, ppo of ppo+nstep, and its recipe; if not known, the log's name and nothing."""
    kinds = frozenset(str(x) for name, x in log.settings.items() if name.endswith(".kind"))
    found = recipe_of(log.agent, log.env, kinds) if log.env and log.settings else None
    return (found[0], to_dict(found[1])) if found else (log.agent, {})


def _varied_fields(logs: Sequence[Log]) -> set[str]:
    """The fields in which an agent's runs in one environment differ."""
    varied = set()
    for log in logs:
        first = next(x for x in logs if x.env == log.env and bool(x.settings) == bool(log.settings)).settings
        varied |= {name for name in first | log.settings if first.get(name) != log.settings.get(name)}
    return {name for name in varied - NOT_THE_METHOD if not name.startswith(OF_ENVIRONMENT)}


def _differences(log: Log, nested: Settings, varied: set[str]) -> Settings:
    """The fields, by dotted name, whose values differ from those of a recipe; None for what only that has."""
    if not log.settings:
        return {}
    usual, changed = usual_settings(nested, log.settings)
    for name, value in log.settings.items():
        counts = (
            name in varied
            or name.startswith((EXTENDED, WARM))
            or (name in usual and name not in NOT_THE_METHOD | {BUDGET} and not name.startswith(OF_ENVIRONMENT))
        )
        if counts and usual.get(name) != value:
            changed[name] = value
    return changed | dict.fromkeys(varied & usual.keys() - log.settings.keys())


def _word(name: str, value: Any, ends: Counter[str]) -> str:
    """One difference in words, as short as it is clear."""
    short = name.rpartition(".")[2]
    if short == "kind":
        return str(value)
    if ends[short] > 1:
        short = name
    if value is None or value is False:
        return f"{'without' if value is None else 'no'} {short}"
    text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return short if value is True else f"{short}={cut(text)}"


def cut(text: str) -> str:
    """Return a text, or its first LONGEST characters and some of its digest."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}...{hashlib.sha256(text.encode()).hexdigest()[:6]}"
