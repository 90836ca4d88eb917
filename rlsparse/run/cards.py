"""Environment and agent cards: the TOML files under `envs/` and `agents/` that drive the program.

Hardly more than the standard library is imported, so that the command line can answer a mistyped name at once.
"""

import os
import re
import tomllib
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsparse.advantage.projection import Projection
from rlsparse.errors import RlsparseError, UsageError, nearest
from rlsparse.learner.bounds import Count, Finite, NotNegative, PlainName, within
from rlsparse.run.convert import Reader
from rlsparse.run.foreign import import_named
from rlsparse.run.reading import read_toml

if TYPE_CHECKING:
    from rlsparse.advantage.environments import About
    from rlsparse.run.recipe import Recipe

LAST_REMOVED_VERSION = 3
"""The -v2 and -v3 MuJoCo tasks left Gymnasium for gymnasium-robotics; -v4 is still registered."""


@dataclass(frozen=True)
class RandomReturn:
    """Undiscounted return of whole episodes under uniformly random actions."""

    mean: Finite
    std: NotNegative
    """Standard deviation over the episodes."""
    episodes: Count
    command: str
    """What measured it."""


@dataclass(frozen=True)
class Reference:
    """A published return, for context: the environment's version and the way of measuring may differ."""

    algorithm: str
    environment: str
    steps: Count
    mean: Finite
    seeds: Count
    measured: str
    """Which return it is, in a few words."""
    source: str
    """Library and address, separated by a comma."""
    std: NotNegative | None = None
    """Standard deviation over the seeds, or over the episodes of a single one; None where it is not told."""


@dataclass(frozen=True)
class EnvironmentCard:
    """What is known of a task before running it."""

    id: str
    """Gymnasium's registered id."""
    aliases: tuple[str, ...]
    description: str
    observation_size: Count
    action_size: Count
    horizon: Count
    """Steps after which an episode is truncated."""
    total_steps: Count
    """Default budget of environment steps per seed."""
    default_agent: str
    random_return: RandomReturn
    path: Path
    references: tuple[Reference, ...] = ()
    projections: dict[str, Projection] = field(default_factory=dict)
    """What set functions may see, by name; the first is the usual one."""

    def best_reference(self, algorithm: str | None = None) -> Reference | None:
        """Return the highest reference within the default budget, of that algorithm if one is named, or None."""
        known = [x for x in self.references if x.steps <= self.total_steps and algorithm in (None, x.algorithm)]
        return max(known, key=lambda x: x.mean, default=None)


@dataclass(frozen=True)
class AgentCard:
    """A named recipe, with what differs from it per environment, and its trained policies."""

    name: PlainName
    description: str
    base: "AgentCard | None"
    """The card that this one differs from; what it does not say is as there."""
    path: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    """Nested recipe fields; a table is a component, such as `algorithm`."""
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By environment id, the fields that override `recipe` there."""

    def recipe_for(self, env_id: str) -> dict[str, Any]:
        """Return the recipe's fields on `env_id`, as a nested dict of its own."""
        base = self.base.recipe_for(env_id) if self.base else {}
        return _merged(_merged(base, self.recipe), self.environments.get(env_id, {}))

    def policy_path(self, env_id: str) -> Path | None:
        """Return the trained policy that ships for `env_id`, or None."""
        return self._shipped(env_id, "policy.safetensors")

    def curve_path(self, env_id: str) -> Path | None:
        """Return the reward curve that ships for `env_id`, or None."""
        return self._shipped(env_id, "curve.csv")

    def _shipped(self, env_id: str, name: str) -> Path | None:
        path = self.path.parent / env_id / name
        return path if path.is_file() else None


@cache
def find_cards_root(package: Path | None = None) -> Path:
    """Return the folder that holds `agents/` and `envs/`: shipped inside `package`, or the clone around it.

    The parent folder counts only with our own pyproject.toml: beside an installed package, `agents` is
    someone else's. `package` is this one unless given.
    """
    package = package or Path(__file__).resolve().parent.parent
    shipped = package / "_cards"
    if shipped.is_dir():
        return shipped
    if _is_our_clone(package.parent):
        return package.parent
    raise RlsparseError(f"rlsparse's cards are missing from {shipped}: reinstall rlsparse")


def environments() -> dict[str, EnvironmentCard]:
    """Return every environment card by id."""
    return dict(_environments(find_cards_root()))


def agents() -> dict[str, AgentCard]:
    """Return every agent card by name."""
    return dict(_agents(find_cards_root()))


def environment(name: str) -> EnvironmentCard:
    """Return the card that `name` means: its id, an alias or its file's name, in any case.

    Raises UsageError, with the nearest card, where there is none.
    """
    if card := _card_named(name):
        return card
    raise _unknown_environment(name, ())


def about(recipe: "Recipe") -> "About":
    """Return what the card of a recipe's environment says of it, if there is one, and as far as it still holds.

    What it says of observations by number does not where arguments change them, and nothing does in wrappers or in
    another model.
    """
    from rlsparse.advantage.environments import About

    card, given = environments().get(recipe.env), recipe.env_kwargs
    known = card.projections if card else {}
    other = bool(recipe.wrappers) or "xml_file" in given
    seen = any(name.startswith(("include_", "exclude_")) for name in given)
    left = {name: x for name, x in known.items() if not other and not (seen and x.source == "observation")}
    changed = " with its --env-kwargs and --wrappers" if left.keys() != known.keys() else ""
    return About(recipe.env + changed, left)


def resolve_environment(name: str) -> str:
    """Return the registered id that `name` means, a card's, else one that Gymnasium knows; or the name of a class.

    Gymnasium's ids are found in any case, and without a version as the newest one; of "module:id", "module:Class" and
    "file.py:Class" the module is imported, and files are named with their whole path. Gymnasium is imported only for a
    name that neither is a card's nor, lacking a version, almost one.
    Raises UsageError, with the nearest valid name or what the import raised, for any other.
    """
    if card := _card_named(name):
        return card.id
    base, version = _split_version(name)
    successor = _card_named(base)
    if successor is not None and version is not None and version <= LAST_REMOVED_VERSION:
        raise UsageError(f"{name} has moved out of Gymnasium: its successor is {successor.id}")
    if version is None and not {"/", ":"} & set(name) and _nearest_card(name, cutoff=0.8):
        raise _unknown_environment(name, ())
    if ":" in name:
        return _of_module(name)
    registered, known = _registered(name)
    if registered is None:
        raise _unknown_environment(name, known)
    return registered


def _of_module(name: str) -> str:
    """Return the id or class of a module or file, which is imported unless this process was given the class itself."""
    from rlsparse.sim.environment import classes
    from rlsparse.sim.user_classes import given_classes, has_object

    if name in given_classes:
        return name
    module, _, env_id = name.rpartition(":")
    place = import_named(module)
    registered, known = _registered(env_id)
    if registered != env_id and not has_object(f"{place}:{env_id}"):
        raise _unknown_environment(name, [*_of_others(known), *classes(place)])
    return f"{place}:{env_id}"


def agent(name: str) -> AgentCard:
    """Return the shipped agent of that name, in any case, or the card at that path (a file, or its folder).

    Raises UsageError, with the nearest name, where there is none.
    """
    cards = {other.casefold(): card for other, card in agents().items()}
    if card := cards.get(name.casefold()):
        return card
    path = Path(name).expanduser()
    path = path / "card.toml" if os.path.isdir(path) else path
    if os.path.isfile(path):
        return read_agent_card(path)
    if "/" in name or path.suffix == ".toml":
        raise UsageError(f"no agent card at '{name}': expected a card.toml or a folder that holds one")
    if _card_named(name):
        raise UsageError(f"unknown agent '{name}': it is an environment, which --env names beside an agent")
    hint = _did_you_mean(name, {key: card.name for key, card in cards.items()})
    raise UsageError(f"unknown agent '{name}'{hint} (rlsparse agents lists them)")


def read_environment_card(path: Path) -> EnvironmentCard:
    """Read and check one environment card; UsageError names the file and the key of what is wrong."""
    card = Reader(str(path), bounded=True).build(EnvironmentCard, read_toml(path), path=path)
    for name, projection in card.projections.items():
        if flaw := projection.flaw():
            raise UsageError(f"{path}: projections.{name}.{flaw}")
    return card


def read_agent_card(path: Path) -> AgentCard:
    """Read and check one agent card, all but the recipe's own field names, which `recipe` knows."""
    table = read_toml(path)
    if "env" in table:
        raise UsageError(f"{path} is the recipe of a run and no agent card: use --like {path}")
    base = _base_card(table.pop("base", None), path)
    card = Reader(str(path), bounded=True).build(AgentCard, table, base=base, path=path)
    for env_id in card.environments:
        _check_environment_key(env_id, path)
    overrides = {f'environments."{env_id}"': fields for env_id, fields in card.environments.items()}
    for name, fields in {"recipe": card.recipe, **overrides}.items():
        if "env" in fields:
            raise UsageError(f"{path}: {name}.env does not belong into an agent card: --env says which environment")
        if "wrappers" in fields:  # whose code a file must not choose
            raise UsageError(f"{path}: {name}.wrappers do not belong into an agent card: --wrappers says which")
        _check_fields(fields, path, name)
    return card


def _base_card(name: object, path: Path) -> AgentCard | None:
    """The card of that name in the folder beside `path`'s own."""
    if name is None:
        return None
    plain = isinstance(name, str) and within(PlainName, name)
    other = path.resolve().parent.parent / str(name) / "card.toml"
    shipped = find_cards_root() / "agents" / str(name) / "card.toml"
    file = other if plain and other.is_file() else shipped
    if not plain or not file.is_file():
        raise UsageError(f"{path}: base must be the name of another agent card, not {name!r}")
    if "base" in read_toml(file):
        raise UsageError(f"{path}: base {name!r} has a base itself: name that one, and say here what differs")
    return read_agent_card(file)


@cache
def _environments(root: Path) -> dict[str, EnvironmentCard]:
    return {card.id: card for card in map(read_environment_card, sorted((root / "envs").glob("*.toml")))}


@cache
def _agents(root: Path) -> dict[str, AgentCard]:
    return {card.name: card for card in map(read_agent_card, sorted((root / "agents").glob("*/card.toml")))}


def _is_our_clone(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return bool(project["name"] == "rlsparse")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _key(name: str) -> str:
    """What names that differ only in case, hyphens and underscores have in common."""
    return re.sub(r"[-_]", "", name.casefold())


def _card_keys() -> dict[str, EnvironmentCard]:
    cards = environments().values()
    return {_key(name): card for card in cards for name in (card.id, card.path.stem, *card.aliases)}


def _card_named(name: str) -> EnvironmentCard | None:
    return _card_keys().get(_key(name))


def _nearest_card(name: str, cutoff: float) -> bool:
    return nearest(_key(name), _card_keys(), cutoff) is not None


def _split_version(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.+)-[vV](\d+)", name)
    return (match[1], int(match[2])) if match else (name, None)


def _registered(name: str) -> tuple[str | None, list[str]]:
    """Gymnasium's id for `name`, or None, and all ids it knows."""
    import gymnasium

    known = list(gymnasium.registry)
    if name in gymnasium.registry:
        return name, known
    same = [env_id for env_id in known if name.casefold() in (env_id.casefold(), _split_version(env_id)[0].casefold())]
    newest = max(same, key=lambda env_id: _split_version(env_id)[1] or 0, default=None)
    return newest, known


def _of_others(ids: Iterable[str]) -> list[str]:
    """The ids that are not Gymnasium's own."""
    import gymnasium

    made_by = {env_id: gymnasium.registry[env_id].entry_point for env_id in ids}  # text, or a function
    places = {env_id: str(getattr(entry, "__module__", entry)) for env_id, entry in made_by.items()}
    return [env_id for env_id, place in places.items() if not place.startswith("gymnasium.")]


def _unknown_environment(name: str, registered: Iterable[str]) -> UsageError:
    if name.endswith(".py"):
        return UsageError(f"unknown environment '{name}': name a class of the file too, as in {name}:MyEnv")
    module, colon, env_id = name.rpartition(":")
    base = _split_version(env_id)[0]
    choices = {_key(_split_version(other)[0]): module + colon + other for other in registered}
    if colon:
        hint = _did_you_mean(_key(base), choices) or f": {module} has no class and registers no id like it"
        return UsageError(f"unknown environment '{name}'{hint}")
    hint = _did_you_mean(_key(base), {**choices, **{key: card.id for key, card in _card_keys().items()}})
    others = f"; of another package, name the module too, as module:{name}" if not hint and "-v" in name else ""
    if os.path.isfile(f"{name.partition('.')[0]}.py"):  # also of what no file can be called
        others = f"; a class of your own is named as in {name.partition('.')[0]}.py:MyEnv"
    return UsageError(f"unknown environment '{name}'{hint} (rlsparse envs lists them{others})")


def _did_you_mean(name: str, choices: dict[str, str]) -> str:
    near = nearest(name.casefold(), choices)
    return f": did you mean {choices[near]}?" if near else ""


def _check_environment_key(env_id: str, file: Path) -> None:
    """An override under a name that no run resolves to would be ignored without a word."""
    card = _card_named(env_id)
    expected = card.id if card is not None else env_id
    if env_id != expected:
        raise UsageError(f'{file}: environments."{env_id}" must be the id, {expected}')
    base, version = _split_version(env_id)
    if version is None or (_card_named(base) is None and _nearest_card(base, cutoff=0.9)):
        choices = {key: card.id for key, card in _card_keys().items()}
        raise UsageError(f'{file}: environments."{env_id}" is no environment id{_did_you_mean(_key(base), choices)}')


def _check_fields(fields: dict[str, Any], file: Path, name: str) -> None:
    for key, item in fields.items():
        if isinstance(item, dict):
            _check_fields(item, file, f"{name}.{key}")
        elif not all(isinstance(x, str | int | float) for x in (item if isinstance(item, list) else [item])):
            raise UsageError(f"{file}: {name}.{key} must be text, a number, true or false, or a list of these")


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = deepcopy(base)
    for key, value in override.items():
        old: Any = base.get(key)
        tables = isinstance(value, dict) and isinstance(old, dict)
        alike = tables and len({table["kind"] for table in (old, value) if "kind" in table}) < 2
        merged[key] = _merged(old, value) if alike else deepcopy(value)  # of another kind nothing is taken over
    return merged
