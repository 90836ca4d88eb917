"""The recipe that a command line begins with: from cards and kinds of components, before all flags are parsed.

A few flags choose among the cards. `--explore.proposal gaussian` then makes the proposal another one, as it is by
default, whose own flags are parsed last; any field of a recipe that may hold several kinds can be chosen so.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of, kinds, others_with
from rlsparse.run import cards
from rlsparse.run.command_line import values
from rlsparse.run.device import gpu_variant, wants_gpu
from rlsparse.run.foreign import class_named
from rlsparse.run.like import as_asked_like, recipe_like
from rlsparse.run.naming import WARM, run_name
from rlsparse.run.recipe import Recipe, from_dict
from rlsparse.run.warm_start import with_policy
from rlsparse.sparse.config import Rule, Sparse

C = TypeVar("C")

RULES = kinds(Rule)

SHORT_NAMES: dict[str, tuple[str, ...]] = {"explore": ("explorler",), "sparse": tuple(RULES)}
"""Components that a recipe may take from an agent card by a flag of their own, and what else that flag may name."""

CHOOSING = ("env", "wrappers", "agent", "like", "init", "algorithm", "device", "simulator", *SHORT_NAMES)
"""Flags by which `chosen_recipe` chooses."""

ALGORITHMS = kinds(get_type_hints(Recipe)["algorithm"])
"""By name; one that has an agent card of that name brings its recipe."""


def chosen_recipe(chosen: Mapping[str, str], trust: bool = False) -> tuple[str, Recipe]:
    """Return the agent's name and its recipe, whose fields are the defaults of the other flags.

    `chosen` is what the command line says of CHOOSING; `trust` runs the code of the environment of a run that it names.
    """
    env = chosen.get("env")
    return _chosen_recipe(None if env is None else cards.resolve_environment(env), chosen, trust)


def as_asked(
    recipe: Recipe, like: str | os.PathLike[str] | None, given: Collection[str]
) -> tuple[Recipe, Collection[str]]:
    """Return a recipe as it is before its budget changes it, and what is asked for: `given`, or by a run it is like."""
    return (recipe, given) if like is None else as_asked_like(recipe, os.fspath(like), given)


def agent_name(chosen: Mapping[str, str], agent: str, usual: Recipe, recipe: Recipe) -> str:
    """Return what to call a run with this recipe, which began as the `usual` one of the `agent`.

    One that is like another run is called by all that differs from the agent's card, not from that run.
    """
    card = agent.partition("+")[0]
    if "like" in chosen and (begun := recipe_of_name(card, recipe.env)):
        with suppress(UsageError):  # no card has such components
            agent, usual = _chosen_recipe(recipe.env, {"agent": card, **_choices_of(recipe, begun[1])})
    return run_name(agent, usual, recipe)


def _choices_of(recipe: Recipe, usual: Recipe) -> dict[str, str]:
    """Return what would have to be chosen to come from the usual recipe to components like those of this one."""
    chosen = {"algorithm": kind_of(type(recipe.algorithm))}
    for name in SHORT_NAMES:
        component = getattr(recipe, name)
        if (component is None) != (getattr(usual, name) is None):
            chosen[name] = "none" if component is None else SHORT_NAMES[name][0]
    return chosen | ({"sparse": kind_of(type(recipe.sparse.rule))} if recipe.sparse else {})


def recipe_of_name(name: str, env_id: str, kinds: Collection[str] = ()) -> tuple[str, Recipe] | None:
    """Return the agent and the recipe that the run of this name began with: of ppo+rigl+nstep, those of ppo+rigl.

    What else the name holds must be `kinds` of components. None for an agent without a shipped card. Imports no code.
    """
    agent, *words = name.split("+")
    chosen = {"agent": agent}
    for word in words:
        field = next((field for field in SHORT_NAMES if word in (f"no-{field}", *SHORT_NAMES[field])), None)
        if field or word in ALGORITHMS:
            chosen[field or "algorithm"] = "none" if word == f"no-{field}" else word
        elif word not in {*kinds, WARM}:
            return None
    with suppress(UsageError):  # a name that no recipe here has
        return _chosen_recipe(env_id, chosen) if agent in cards.agents() else None
    return None


def _chosen_recipe(env_id: str | None, chosen: Mapping[str, str], trust: bool = False) -> tuple[str, Recipe]:
    agent, recipe = _with_algorithm(env_id, chosen, trust)
    for name in (name for name in SHORT_NAMES if name in chosen):
        agent, recipe = _take_from_card(name, chosen[name], agent, recipe)
    if "init" in chosen:
        from rlsparse.run import policy_file  # which brings networks

        recipe = with_policy(recipe, chosen["init"], policy_file.load)
    return agent, recipe


def _with_algorithm(env: str | None, chosen: Mapping[str, str], trust: bool) -> tuple[str, Recipe]:
    """Return agent and recipe with the chosen algorithm; unless an agent is chosen, of the card of its name, if any."""
    algorithm, gpu = chosen.get("algorithm", ""), wants_gpu(chosen)
    if "like" in chosen:
        agent, recipe = recipe_like(chosen["like"], env, trust, "wrappers" not in chosen)
    else:
        agent, recipe = _default_recipe(env, chosen.get("agent"), gpu)
    if type(recipe.algorithm) is ALGORITHMS.get(algorithm, type(recipe.algorithm)):
        return agent, recipe
    if not {"agent", "like"} & chosen.keys() and algorithm in cards.agents():
        return _default_recipe(env, gpu_variant(algorithm) if recipe.simulator == "warp" else algorithm)
    return f"{agent}+{algorithm}", replace(recipe, algorithm=ALGORITHMS[algorithm]())


def _default_recipe(env_id: str | None, agent: str | None, gpu: bool = False) -> tuple[str, Recipe]:
    """Return the agent's name and its recipe for the environment; a usual one is that for a `gpu`, where it can be."""
    if env_id is None:
        card = cards.agent(agent or "ppo")
        return card.name, from_dict({"env": "", **card.recipe_for("")}, str(card.path))
    known = cards.environments().get(env_id)
    usual = known.default_agent if known else "ppo"
    card = cards.agent(agent or (gpu_variant(usual) if gpu and known else usual))
    budget = {"total_steps": known.total_steps} if known else {}
    return card.name, from_dict({"env": env_id, **budget, **card.recipe_for(env_id)}, str(card.path))


def _take_from_card(field: str, name: str, agent: str, recipe: Recipe) -> tuple[str, Recipe]:
    """Return agent and recipe with the component that is named, or without one; the agent is then named after it."""
    if name == "none":
        source, component = f"no-{field}", None
    elif field == "sparse" and name in RULES:
        sparse = recipe.sparse or Sparse()
        source, component = name, sparse if type(sparse.rule) is RULES[name] else replace(sparse, rule=RULES[name]())
    else:
        source, component = _component_of_card(field, name, recipe)
    if component == getattr(recipe, field):
        return agent, recipe
    changes: dict[str, Any] = {field: component}
    return f"{agent}+{name if name in SHORT_NAMES[field] else source}", replace(recipe, **changes)


def _component_of_card(field: str, name: str, recipe: Recipe) -> tuple[str, Any]:
    """Return the name of a card and the component that its recipe has; raises UsageError, with what there is."""
    wanted = name
    if name in SHORT_NAMES[field]:
        own, usual = (f"{name}-{kind_of(type(x.algorithm))}" for x in (recipe, Recipe(recipe.env)))
        wanted = own if own in cards.agents() else usual
    wanted = gpu_variant(wanted) if recipe.simulator == "warp" else wanted
    tables = {card.name: (card.recipe, *card.environments.values()) for card in cards.agents().values()}
    have = [card for card, recipes in tables.items() if any(field in recipe for recipe in recipes)]
    takes = f"--{field} takes {', '.join(('none', *SHORT_NAMES[field], *have))} or the path of a card"
    try:
        card, other = _default_recipe(recipe.env or None, wanted)
    except UsageError as error:
        raise UsageError(f"--{field} {name}: {error}; {takes}") from error
    if getattr(other, field) is None:
        raise UsageError(f"--{field} {name}: the agent {card} has no [recipe.{field}]; {takes}")
    return card, getattr(other, field)


def with_sparsity(recipe: Recipe, sparsity: float | None) -> Recipe:
    """Return the recipe with the share of absent weights that is given, if any; raises UsageError without [sparse]."""
    if sparsity is None:
        return recipe
    if recipe.sparse is None:
        raise UsageError(f"--sparsity {sparsity} needs --sparse, for example --sparse {SHORT_NAMES['sparse'][0]}")
    return replace(recipe, sparse=replace(recipe.sparse, sparsity=sparsity))


def with_kinds(component: C, arguments: Sequence[str], where: str = "") -> C:
    """Return a component whose parts are of the kinds that the command line names.

    A part that is of that kind already stays as it is, another begins with the defaults of its kind. A kind that does
    not exist is passed over here: `flags_with_kinds` makes the parser refuse it.
    """
    chosen = {}
    for name, flag, part, options in _parts(component, where):
        cls = options.get(values([flag], arguments).get(flag, ""), type(part))
        chosen[name] = with_kinds(part if cls is type(part) else cls(), arguments, flag + ".")
    return replace(component, **chosen) if chosen else component  # type: ignore[type-var]


def with_environment(recipe: Recipe, default: Recipe) -> Recipe:
    """Return a parsed recipe with the environment that was resolved, its wrappers imported, and files by whole paths.

    Its arguments are put beside those of an agent card.
    """
    wrappers = recipe.wrappers if recipe.wrappers == default.wrappers else tuple(map(class_named, recipe.wrappers))
    recipe = replace(recipe, env=default.env, wrappers=wrappers)
    if not recipe.env_kwargs:
        return recipe
    from rlsparse.sim.arguments import located

    return replace(recipe, env_kwargs={**default.env_kwargs, **located(recipe.env_kwargs)})


def flags_with_kinds(cls: type[C], recipe: Recipe) -> type[C]:
    """Return a subclass of the dataclass `cls` with a flag for every choice that `recipe` offers."""
    return make_dataclass(
        cls.__name__,
        [_kind_field(flag, part, list(options)) for flag, part, options in _choices(recipe)],
        bases=(cls,),
        frozen=True,
        namespace={"__doc__": cls.__doc__},
    )


def refuse_flags_of_nothing(recipe: Recipe, examples: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Raise UsageError if there is a flag of a component that the recipe does without; `examples` are what to take."""
    for name, example in examples.items():
        flags = (argument.partition("=")[0] for argument in arguments if argument.startswith(f"--{name}."))
        flag = next(flags, None)
        if flag is not None and getattr(recipe, name) is None:
            raise UsageError(f"{flag} needs --{name}, for example --{name} {example}")


def refuse_flags_of_other_kinds(recipe: Recipe, arguments: Sequence[str]) -> None:
    """Raise UsageError if there is a flag that the chosen kind has not, but a part of it has, or another kind."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    for where, part, options in _choices(recipe):
        for flag in (flag for flag in flags if flag.startswith(f"--{where}.")):
            name = flag.removeprefix(f"--{where}.").partition(".")[0].replace("-", "_")
            inside = next((own for _, own, x, _ in _parts(part, where + ".") if name in vars(x)), None)
            if inside is not None and name not in vars(part):
                raise UsageError(f"unknown flag {flag}: did you mean --{inside}.{name.replace('_', '-')}?")
            if others := others_with(name, type(part), options):
                own = kind_of(type(part))
                raise UsageError(f"unknown flag {flag}: --{where} {own} has none, use {' or '.join(others)}")


def _choices(component: Any, where: str = "") -> list[tuple[str, Any, dict[str, type]]]:
    found = []
    for _, flag, part, options in _parts(component, where):
        found += [(flag, part, options)] if len(options) > 1 else []
        found += _choices(part, flag + ".")
    return found


def _parts(component: Any, where: str) -> list[tuple[str, str, Any, dict[str, type]]]:
    """Return the components in a component: field, flag, what it holds, and what it may hold, by kind."""
    hints = get_type_hints(type(component))
    held = {f.name: getattr(component, f.name) for f in fields(component)}
    return [
        (name, where + name.replace("_", "-"), part, kinds(hints[name]))
        for name, part in held.items()
        if is_dataclass(part)
    ]


def _kind_field(flag: str, part: Any, options: list[str]) -> tuple[str, Any, Any]:
    what = flag.rpartition(".")[2]
    text = f"The {what} to use: the agent card's, with the card's settings, or another with its defaults (--{flag}.*)."
    hint = Annotated[Literal[tuple(options)], tyro.conf.arg(name=flag, help=text)]  # type: ignore[valid-type]
    return "kind_of_" + flag.replace(".", "_").replace("-", "_"), hint, field(default=kind_of(type(part)))
