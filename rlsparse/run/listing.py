"""`rlsparse envs`, `rlsparse agents`: the cards as tables; only the standard library and the parser are imported."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

import tyro

from rlsparse.errors import UsageError, nearest
from rlsparse.run import cards
from rlsparse.run.cards import AgentCard, EnvironmentCard
from rlsparse.run.columns import columns, terminal_width
from rlsparse.run.command_line import fail_in_one_line, parse


@dataclass(frozen=True)
class ListingFlags:
    """List the cards."""

    pattern: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = None
    """Only names with this in them, in any case; * and ? stand for any text and any letter."""
    json: bool = False
    """Print the whole cards as one JSON list."""


def main(arguments: Sequence[str]) -> None:
    """Run the command whose name, `envs` or `agents`, is the first argument."""
    with fail_in_one_line():
        command, *rest = arguments
        flags = parse(ListingFlags, rest, prog=f"rlsparse {command}")
        if command == "envs":
            list_environments(flags)
        else:
            list_agents(flags)


def list_environments(flags: ListingFlags) -> None:
    """Print the environment cards; raises UsageError if none has the pattern."""
    names = {card.id: (card.id, *card.aliases) for card in cards.environments().values()}
    chosen = [cards.environments()[env_id] for env_id in _matching(names, flags.pattern, "environment")]
    if flags.json:
        print(json.dumps([asdict(card) for card in chosen], indent=1, default=str))
        return
    header = ("environment", "obs", "act", "horizon", "budget", "random", "published")
    print(columns([header, *map(_environment_row, chosen)]))
    notes = (
        "Names are understood in any case, with or without hyphens and version. Horizon: steps of an episode; budget: "
        "default training steps; random: mean return of random actions; published: highest mean return "
        "among the references, whose versions and sources --json shows."
    )
    print("\n" + textwrap.fill(notes, terminal_width()))


def list_agents(flags: ListingFlags) -> None:
    """Print the agent cards; raises UsageError if none has the pattern."""
    names = {card.name: (card.name,) for card in cards.agents().values()}
    chosen = [cards.agents()[name] for name in _matching(names, flags.pattern, "agent")]
    if flags.json:
        print(json.dumps([_agent_record(card) for card in chosen], indent=1, default=str))
        return
    margin, width = " " * (2 + max(len(card.name) for card in chosen)), terminal_width()
    for card in chosen:
        for text in (f"{card.name:<{len(margin)}}{card.description}", f"{margin}trained: {_trained_text(card)}"):
            print(textwrap.fill(text, width, subsequent_indent=margin, break_on_hyphens=False))


def trained_environments(card: AgentCard) -> list[str]:
    """Return the ids of the environments that an agent's folder has a trained policy for, sorted."""
    return _folders_with(card, "policy.safetensors")


def _folders_with(card: AgentCard, name: str) -> list[str]:
    folder = card.path.parent
    # a registered id is a folder's name, or two if it has a namespace
    found = [path.parent for pattern in (f"*/{name}", f"*/*/{name}") for path in folder.glob(pattern)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _trained_text(card: AgentCard) -> str:
    policies, curves = trained_environments(card), _folders_with(card, "curve.csv")
    notes = {(True, True): "", (True, False): " (no curve)", (False, True): " (curve only)"}
    ids = sorted({*policies, *curves})
    return ", ".join(env_id + notes[env_id in policies, env_id in curves] for env_id in ids) or "nothing yet"


def _matching(names: Mapping[str, Sequence[str]], pattern: str | None, kind: str) -> list[str]:
    """Return the keys of which some name has the pattern in it."""
    if pattern is None:
        return list(names)
    wanted = pattern.casefold()
    found = [key for key, all_names in names.items() if any(_has(name.casefold(), wanted) for name in all_names)]
    if not found:
        known = {name.casefold(): name for all_names in names.values() for name in all_names}
        near = nearest(wanted, known)
        hint = f"did you mean {known[near]}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"no {kind} card has '{pattern}' in its name: {hint}")
    return found


def _has(name: str, wanted: str) -> bool:
    return wanted in name or fnmatchcase(name, wanted)


def _environment_row(card: EnvironmentCard) -> tuple[str, ...]:
    best = max(card.references, key=lambda reference: reference.mean, default=None)
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
