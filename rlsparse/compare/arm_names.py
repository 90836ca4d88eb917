"""What arms are called: the agent, and in what its run differs from the agent's card."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rlsparse.compare.own_logs import flat
from rlsparse.compare.record import Log
from rlsparse.errors import UsageError
from rlsparse.run import cards

NOT_THE_METHOD = {"env", "seed", "num_seeds", "eval_every", "eval_episodes", "env_restarts"}
"""Fields of a recipe in which two runs of the same method may differ."""

BUDGET = "total_steps"
"""Part of the name only where runs of an agent differ in it: most runs have not the budget of a card."""

MOST_WORDS = 4
"""With more differences from the card that all runs of an agent share, the name only counts them."""

Settings = dict[str, Any]


def arm_names(logs: Sequence[Log]) -> list[str]:
    """Name each log by its agent, by what wrote it, and by the settings that differ from the agent's card.

    What wrote it is added only where an agent's logs differ in that. An agent without a card is named by those settings
    in which its runs differ from each other. Different settings in one environment make different names.
    """
    names: dict[int, str] = {}
    for agent in {log.agent for log in logs}:
        own = [log for log in logs if log.agent == agent]
        kinds, varied = {log.kind for log in own}, _varied_fields(own)
        differences = [_differences(log, varied) for log in own]
        ends = Counter(name.rpartition(".")[2] for name in {name for changed in differences for name in changed})
        for log, changed in zip(own, differences, strict=True):
            common = [name for name in changed if name not in varied]
            shown = [name for name in changed if name in varied or len(common) <= MOST_WORDS]
            words = [_word(name, changed[name], ends) for name in shown]
            words += [f"({len(common)} settings changed)"] * (len(common) > MOST_WORDS)
            origin = [f"({log.kind})"] * (len(kinds) > 1 and log.kind != "rlsparse run")
            names[id(log)] = " ".join([agent, *origin, *words])
    return [names[id(log)] for log in logs]


def _varied_fields(logs: Sequence[Log]) -> set[str]:
    """The fields in which an agent's runs in one environment differ."""
    varied = set()
    for log in logs:
        first = next(x for x in logs if x.env == log.env and bool(x.settings) == bool(log.settings)).settings
        varied |= {name for name in first | log.settings if first.get(name) != log.settings.get(name)}
    return varied - NOT_THE_METHOD


def _differences(log: Log, varied: set[str]) -> Settings:
    """The fields, by dotted name, whose values differ from the card's; None for what only the card has."""
    if not log.settings:
        return {}
    usual, changed = _usual_settings(log)
    for name, value in log.settings.items():
        counts = name in varied or (name in usual and name not in NOT_THE_METHOD | {BUDGET})
        if counts and usual.get(name) != value:
            changed[name] = value
    return changed | dict.fromkeys(varied & usual.keys() - log.settings.keys())


def _usual_settings(log: Log) -> tuple[Settings, Settings]:
    """The card's settings as they would be with the run's components, and which components are not the card's.

    So the fields of a component that the card does not have are compared with the defaults of that component. Both are
    empty for an agent without a card.
    """
    card = cards.agents().get(log.agent)
    nested = {**card.recipe_for(log.env), "env": log.env} if card and log.env else {}
    usual, changed = _settings(nested), Settings()
    for table in sorted(_tables(log.settings)) if usual else []:
        kind = log.settings.get(f"{table}.kind")
        if table not in _tables(usual) or usual.get(f"{table}.kind") != kind:
            changed[f"{table}.kind" if kind else table] = kind or True
            _put(nested, table, {"kind": kind} if kind else {})
            others = {name: x for name, x in usual.items() if not name.startswith(f"{table}.")}
            usual = _settings(nested) or others
    absent = _tables(usual) - _tables(log.settings)
    changed |= dict.fromkeys(table for table in absent if table.rpartition(".")[0] not in absent)
    return {name: x for name, x in usual.items() if name.rpartition(".")[0] not in absent}, changed


def _settings(nested: Settings) -> Settings:
    """All settings of a recipe, by dotted name; none if it is not valid."""
    from rlsparse.run.recipe import from_dict, to_dict

    try:
        return flat(to_dict(from_dict(nested, "card")))
    except UsageError:
        return {}


def _tables(settings: Settings) -> set[str]:
    """The dotted names of all components."""
    parts = [name.split(".") for name in settings]
    return {".".join(names[:i]) for names in parts for i in range(1, len(names))}


def _put(nested: Settings, table: str, content: Settings) -> None:
    *parents, last = table.split(".")
    for name in parents:
        nested = nested.setdefault(name, {})
    nested[last] = content


def _word(name: str, value: Any, ends: Counter[str]) -> str:
    """One difference in words, as short as it is clear."""
    short = name.rpartition(".")[2]
    if short == "kind":
        return str(value)
    if ends[short] > 1:
        short = name
    if value is None or value is False:
        return f"{'without' if value is None else 'no'} {short}"
    return short if value is True else f"{short}={'-'.join(map(str, value)) if isinstance(value, list) else value}"
