"""`rlsparse envs`, `rlsparse agents`: the cards as tables; only the standard library and the parser are imported."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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


def main(arguments: Sequence[str]) -> None:
    """Run the command whose name, `envs` or `agents`, is the first argument."""
    with fail_in_one_line():
        command, *rest = arguments
        flags = parse(ListingFlags, rest, prog=f"rlsparse {command}")
        if command == "envs":
            environments = _matching(cards.environments(), flags.pattern, "environment")
            print(_as_json(map(asdict, environments)) if flags.json else _environment_table(environments))
        else:
            agents = _matching(cards.agents(), flags.pattern, "agent")
            print(_as_json(map(_agent_record, agents)) if flags.json else _agent_list(agents))


def _as_json(records: Iterable[dict[str, Any]]) -> str:
    return json.dumps([*records], indent=1, default=str)  # paths as text


def _environment_table(chosen: list[EnvironmentCard]) -> str:
    header = ("environment", "obs", "act", "horizon", "budget", "random", "published")
    notes = (
        "Names are understood in any case, with or without hyphens and version. Horizon: steps of an episode; budget: "
        "default training steps; random: mean return of random actions; published: highest mean return "
        "among the references, whose versions and sources --json shows."
    )
    return f"{columns([header, *map(_environment_row, chosen)])}\n\n{textwrap.fill(notes, terminal_width())}"


def _agent_list(chosen: list[AgentCard]) -> str:
    """First the agents that bring something trained, then the others, which are recipes alone."""
    margin = " " * (2 + max(len(card.name) for card in chosen))
    paragraphs, recipes = [], []
    for card in chosen:
        told, trained = f"{card.name:<{len(margin)}}{card.description}", _trained_text(card)
        if trained:
            paragraphs += [told, f"{margin}trained: {trained}"]
        else:
            recipes += [told]
    if recipes:
        paragraphs += [
            *[""] * bool(paragraphs),
            "Recipes, of which no policy ships: rlsparse train --agent NAME",
            *recipes,
        ]
    width = terminal_width()
    return "\n".join(textwrap.fill(x, width, subsequent_indent=margin, break_on_hyphens=False) for x in paragraphs)


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
    return ", ".join(env_id + notes[env_id in policies, env_id in curves] for env_id in ids)


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
