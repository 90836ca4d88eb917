"""The agent and the recipe that a command line begins with: from cards, by the few flags that choose among them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import Rule

FROM_CARDS: dict[str, dict[str, Any]] = {"explore": {"explorler": "explorler-{algorithm}"}, "sparse": kinds(Rule)}
"""Components that a recipe may take from an agent card by a flag of their own, and short names for it.

A name stands for a card, or for a kind of rule with which the recipe's own component, or a new one, is to be.
"""

CHOOSING = ("env", "agent", "algorithm", "device", "simulator", *FROM_CARDS)
"""Flags by which `chosen_recipe` chooses."""

ON_GPU = "-gpu"
"""How the card is called that trains as the card without it does, but in environments on a GPU."""

ALGORITHMS = kinds(get_type_hints(Recipe)["algorithm"])
"""By name; one that has an agent card of that name brings its recipe."""


def chosen_recipe(chosen: Mapping[str, str]) -> tuple[str, Recipe]:
    """Return the agent's name and its recipe, whose fields are the defaults of the other flags.

    `chosen` is what the command line says of CHOOSING.
    """
    agent, recipe = _with_algorithm(chosen)
    for name in (name for name in FROM_CARDS if name in chosen):
        agent, recipe = _take_from_card(name, chosen[name], agent, recipe)
    return agent, recipe


def gpu_agent(recipe: Recipe) -> tuple[str, int] | None:
    """Return the card that trains this algorithm in environments on a GPU, and how many it has; None: there is none."""
    name = kind_of(type(recipe.algorithm)) + ON_GPU
    if recipe.env not in cards.environments() or name not in cards.agents():
        return None
    return name, cards.agent(name).recipe_for(recipe.env)["num_envs"]


def _wants_gpu(chosen: Mapping[str, str]) -> bool:
    """Whether the command line asks for environments on a GPU, in so far as there are any."""
    device, simulator = chosen.get("device", "auto"), chosen.get("simulator")
    return simulator == "warp" if device == "auto" else device.startswith("cuda") and simulator != "mujoco"


def _with_algorithm(chosen: Mapping[str, str]) -> tuple[str, Recipe]:
    """Return agent and recipe with the chosen algorithm; unless an agent is chosen, of the card of its name, if any."""
    env, algorithm, gpu = chosen.get("env"), chosen.get("algorithm", ""), _wants_gpu(chosen)
    agent, recipe = _default_recipe(env, chosen.get("agent"), gpu)
    if type(recipe.algorithm) is ALGORITHMS.get(algorithm, type(recipe.algorithm)):
        return agent, recipe
    if "agent" not in chosen and algorithm in cards.agents():
        return _default_recipe(env, _variant(algorithm) if recipe.simulator == "warp" else algorithm)
    return f"{agent}+{algorithm}", replace(recipe, algorithm=ALGORITHMS[algorithm]())


def _variant(agent: str) -> str:
    """Return the agent's card for environments on a GPU, itself if there is none."""
    return agent + ON_GPU if agent + ON_GPU in cards.agents() else agent


def _default_recipe(env: str | None, agent: str | None, gpu: bool = False) -> tuple[str, Recipe]:
    """Return the agent's name and its recipe for the environment; a usual one is that for a `gpu`, where it can be."""
    if env is None:
        card = cards.agent(agent or "ppo")
        return card.name, from_dict({"env": "", **card.recipe_for("")}, str(card.path))
    env_id = cards.resolve_environment(env)
    known = cards.environments().get(env_id)
    usual = known.default_agent if known else "ppo"
    card = cards.agent(agent or (_variant(usual) if gpu and known else usual))
    budget = {"total_steps": known.total_steps} if known else {}
    return card.name, from_dict({"env": env_id, **budget, **card.recipe_for(env_id)}, str(card.path))


def _take_from_card(field: str, name: str, agent: str, recipe: Recipe) -> tuple[str, Recipe]:
    """Return agent and recipe with the component that a card has, or without one; the agent is then named after it."""
    card, component = (f"no-{field}", None) if name == "none" else _component(field, name, recipe)
    if component == getattr(recipe, field):
        return agent, recipe
    changes: dict[str, Any] = {field: component}
    return f"{agent}+{name if name in FROM_CARDS[field] else card}", replace(recipe, **changes)


def _component(field: str, name: str, recipe: Recipe) -> tuple[str, Any]:
    """Return the name of a card and the component that its recipe has; raises UsageError, with what there is."""
    short = FROM_CARDS[field].get(name, name)
    if isinstance(short, type):
        return name, _with_rule(recipe.sparse or Sparse(rule=short()), short)
    short = short.replace("{algorithm}", kind_of(type(recipe.algorithm)))
    short = _variant(short) if recipe.simulator == "warp" else short
    tables = {card.name: (card.recipe, *card.environments.values()) for card in cards.agents().values()}
    have = [card for card, recipes in tables.items() if any(field in recipe for recipe in recipes)]
    takes = f"--{field} takes {', '.join(('none', *FROM_CARDS[field], *have))} or the path of a card"
    try:
        card, other = _default_recipe(recipe.env or None, short)
    except UsageError as error:
        raise UsageError(f"--{field} {name}: {error}; {takes}") from error
    if getattr(other, field) is None:
        raise UsageError(f"--{field} {name}: the agent {card} has no [recipe.{field}]; {takes}")
    return card, getattr(other, field)


def _with_rule(sparse: Sparse, rule: type) -> Sparse:
    """Return the sparse networks with this kind of rule: their own, or one with its defaults."""
    return sparse if type(sparse.rule) is rule else replace(sparse, rule=rule())
