"""`rlsparse envs`, `rlsparse agents`: the cards as tables; only the standard library and the parser are imported."""

import csv
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar

import tyro

from rlsparse.errors import UsageError, nearest
from rlsparse.run import cards
from rlsparse.run.cards import AgentCard, EnvironmentCard
from rlsparse.run.columns import columns, terminal_width
from rlsparse.run.command_line import fail_in_one_line, parse

C = TypeVar("C")


@dataclass(frozen=True)
class ListingFlags:
    """List the cards."""

    pattern: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = None
    """Only names with this in them, in any case; * and ? stand for any text and any letter."""
    json: bool = False
    """Print the whole cards as one JSON list."""


@dataclass(frozen=True)
class EnvironmentFlags(ListingFlags):
    """List the cards of environments, or try an environment."""

    check: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """Try an environment, such as file.py:Class, with random actions, and tell its sizes, its speed and its flaws."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment that is tried, each as --env-kwargs.NAME VALUE."""


def main(arguments: Sequence[str]) -> None:
    """Run the command whose name, `envs` or `agents`, is the first argument."""
    with fail_in_one_line():
        command, *rest = arguments
        if command == "envs":
            _environments(parse(EnvironmentFlags, rest, prog=f"rlsparse {command}"))
        else:
            flags = parse(ListingFlags, rest, prog=f"rlsparse {command}")
            agents = _matching(cards.agents(), flags.pattern, "agent")
            print(_as_json(map(_agent_record, agents)) if flags.json else _agent_list(agents))


def _environments(flags: EnvironmentFlags) -> None:
    if flags.check is not None:
        from rlsparse.run.environment_check import checked

        print("\n".join(checked(flags.check, flags.env_kwargs)))
        return
    if flags.env_kwargs:
        raise UsageError("--env-kwargs are of an environment that is tried: --check ENV names it")
    environments = _matching(cards.environments(), flags.pattern, "environment")
    print(_as_json(map(asdict, environments)) if flags.json else _environment_table(environments))


def _as_json(records: Iterable[dict[str, Any]]) -> str:
    return json.dumps([*records], indent=1, default=str)  # paths as text


def _environment_table(chosen: list[EnvironmentCard]) -> str:
    header = ("environment", "obs", "act", "horizon", "budget", "random", "published")
    notes = (
        "Names are understood in any case, with or without hyphens and version. Horizon: steps of an episode; budget: "
        "default training steps; random: mean return of random actions; published: highest mean return of any "
        "algorithm within that budget. Versions of the task, numbers of seeds and ways of measuring differ: "
        "--json tells them."
    )
    return f"{columns([header, *map(_environment_row, chosen)])}\n\n{textwrap.fill(notes, terminal_width())}"


def _agent_list(chosen: list[AgentCard]) -> str:
    """First what trained agents earned where, then what each agent is; those that are recipes alone come last."""
    trained = [card for card in chosen if trained_environments(card)]
    recipes = [card for card in chosen if card not in trained]
    margin = " " * (2 + max(len(card.name) for card in chosen))
    paragraphs = [f"{card.name:<{len(margin)}}{card.description}" for card in trained]
    if recipes:
        paragraphs += [
            *[""] * bool(paragraphs),
            "Recipes, of which no policy ships: rlsparse train --agent NAME",
            *(f"{card.name:<{len(margin)}}{card.description}" for card in recipes),
        ]
    width = terminal_width()
    told = (textwrap.fill(x, width, subsequent_indent=margin, break_on_hyphens=False) for x in paragraphs)
    return "\n".join([*([_matrix(trained), ""] if trained else []), *told])


def _matrix(trained: list[AgentCard]) -> str:
    """A row for each environment, a column for each agent."""
    ids = sorted({env_id for card in trained for env_id in trained_environments(card)})
    rows = [[env_id, *(_return_there(card, env_id) for card in trained)] for env_id in ids]
    notes = (
        "Mean return of the last evaluation of all seeds (how many) of the reward curve that ships. Where there is a "
        "number, a policy ships too: rlsparse play AGENT --env ENVIRONMENT."
    )
    table = columns([("environment", *(card.name for card in trained)), *rows])
    return f"{table}\n\n{textwrap.fill(notes, terminal_width())}"


def _return_there(card: AgentCard, env_id: str) -> str:
    if card.policy_path(env_id) is None:
        return "-"
    finals = final_returns(card, env_id)
    return f"{_return(sum(finals) / len(finals))} ({len(finals)})" if finals else "no curve"


def final_returns(card: AgentCard, env_id: str) -> list[float]:
    """Return the last evaluation of each seed of the curve that an agent ships; none without a curve."""
    path = card.curve_path(env_id)
    if path is None:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [*{row["seed"]: float(row["return_mean"]) for row in csv.DictReader(file)}.values()]


def trained_environments(card: AgentCard) -> list[str]:
    """Return the ids of the environments that an agent's folder has a trained policy for, sorted."""
    return _folders_with(card, "policy.safetensors")


def _folders_with(card: AgentCard, name: str) -> list[str]:
    folder = card.path.parent
    # a registered id is a folder's name, or two if it has a namespace
    found = [path.parent for pattern in (f"*/{name}", f"*/*/{name}") for path in folder.glob(pattern)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _matching(known: Mapping[str, C], pattern: str | None, kind: str) -> list[C]:
    """Return the cards of which some name has the pattern in it; raises UsageError if there is none."""
    if pattern is None:
        return list(known.values())
    names = {key: [key, *getattr(card, "aliases", ())] for key, card in known.items()}
    wanted = pattern.casefold()
    found = [key for key, own in names.items() if any(_has(name.casefold(), wanted) for name in own)]
    if not found:
        spelt = {name.casefold(): name for own in names.values() for name in own}
        near = nearest(wanted, spelt)
        hint = f"did you mean {spelt[near]}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"no {kind} card has '{pattern}' in its name: {hint}")
    return [known[key] for key in found]


def _has(name: str, wanted: str) -> bool:
    return wanted in name or fnmatchcase(name, wanted)


def _environment_row(card: EnvironmentCard) -> tuple[str, ...]:
    best = card.best_reference()
    return (
        card.id,
        str(card.observation_size),
        str(card.action_size),
        f"{card.horizon:,}",
        _steps(card.total_steps),
        _return(card.random_return.mean),
        f"{_return(best.mean)} {best.algorithm:<4}" if best else "-" + " " * 5,
    )


def _return(mean: float) -> str:
    return f"{mean:,.0f}" if abs(mean) >= 1_000 else f"{mean:.1f}"


def _steps(number: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def _agent_record(card: AgentCard) -> dict[str, Any]:
    policies = {env_id: card.policy_path(env_id) for env_id in trained_environments(card)}
    curves = {env_id: card.curve_path(env_id) for env_id in _folders_with(card, "curve.csv")}
    return asdict(card) | {"policies": policies, "curves": curves}
