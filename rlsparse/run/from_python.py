"""The recipe that Python code asks for: components, names of kinds or plain dicts, over an agent's card."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from rlsparse.errors import UsageError, listed, nearest
from rlsparse.learner.bounds import whole_number
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.run import choose
from rlsparse.run.compatibility import components
from rlsparse.run.other_names import ours
from rlsparse.run.reading import shorten
from rlsparse.run.recipe import Recipe, from_dict, to_dict
from rlsparse.run.status import Where

SOURCE = "rlsparse.train"
"""What errors name."""

OTHERS = (
    *("agent", "like", "init", "sparsity", "out", "run_dir", "resume", "device", "keep_checkpoints", "env_workers"),
    *("explore_workers", "env_timeout", "checkpoint_every", "trust", "quiet", "callbacks"),
)
"""Arguments of `rlsparse.train` that are no fields of the recipe, or are more than that."""


def recipe(
    env: str | None,
    agent: str | None,
    device: str,
    fields: Mapping[str, Any],
    like: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> tuple[str, Recipe]:
    """Return the agent's name and the recipe; raises UsageError, with the nearest name, for a field that there is not.

    What a dict says differs from the component of the card, or of the run that the new one is to be `like`, or from the
    defaults of the `kind` that it names. `trust` runs the code of the environment of that run.
    """
    if agent is not None and like is not None:
        raise UsageError("like and agent both say which recipe is the default: give one of them")
    if env is None and like is None:
        raise UsageError("which environment? e.g. rlsparse.train('HalfCheetah') (rlsparse envs lists them)")
    fields = dict(fields)
    sparsity = plain_numbers(fields.pop("sparsity", None))
    given = {"env": env, "device": device, "agent": agent, "like": like}
    chosen = {name: text(name, x) for name, x in given.items() if x is not None or name == "device"}
    if "wrappers" in fields:
        chosen["wrappers"] = "given"
    if (init := fields.pop("init", None)) is not None:
        parts = dict(init) if isinstance(init, Mapping) else {"policy": init}
        chosen["init"] = text("init", parts.pop("policy", "none"))
        fields |= {"init": parts} if parts else {}
    for name in ("algorithm", "simulator", *choose.SHORT_NAMES):
        if name in fields:
            chosen[name] = _named(name, fields[name])
    agent, default = choose.chosen_recipe(_choosing(chosen, fields, trust), trust)
    _check_names(default, fields)
    if "init" in fields and default.init is None:
        raise UsageError(f"{SOURCE}: init needs a policy to begin with, as in init={{'policy': RUN, ...}}")
    if "wrappers" in fields:
        fields["wrappers"] = class_names(fields["wrappers"])
    table = to_dict(default)
    for name in (name for name in fields if not (name in choose.SHORT_NAMES and not is_parts(fields[name]))):
        table[name] = _plain(get_type_hints(Recipe)[name], getattr(default, name), fields[name])
    given_recipe = from_dict(plain_numbers(table), SOURCE)
    found = choose.with_sparsity(choose.with_environment(given_recipe, default), sparsity)
    return choose.agent_name(chosen, agent, default, found), found


def text(name: str, given: object) -> str:
    """Return what the argument `name` is given, a name or a path, as text; raises UsageError for anything else."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    raise UsageError(f"{name} must be text or a path, not {shorten(repr(given))}")


def class_name(env: str | os.PathLike[str] | Callable[..., Any] | None) -> str | None:
    """Return the id of an environment that may be given as a class; raises UsageError where it cannot be imported."""
    if env is None or isinstance(env, str | os.PathLike):
        return None if env is None else os.fspath(env)
    from rlsparse.sim.user_classes import entry_of

    if not callable(env):
        raise UsageError(f"expected a name, as 'Hopper-v5' or 'file.py:Class', or a class, not {shorten(repr(env))}")
    return entry_of(env)


def class_names(wrappers: Iterable[str | Callable[..., Any]] | None) -> tuple[str, ...] | None:
    """Return the names of wrappers that may be given as classes; None if none are given."""
    return None if wrappers is None else tuple(filter(None, map(class_name, listed("wrappers", wrappers))))


def is_parts(given: Any) -> bool:
    """Whether a component is given, or what differs in one: not its name alone. Raises UsageError for its class."""
    if isinstance(given, type) and is_dataclass(given):
        raise UsageError(f"{SOURCE}: {given.__name__} is a class: write {given.__name__}()")
    return isinstance(given, Mapping) or is_dataclass(given)


def asked(fields: Mapping[str, Any]) -> list[str]:
    """Return which flags that a short budget would change are given."""
    given = {name.replace("_", "-"): name in fields for name in ("eval_every", "eval_episodes")}
    explore = fields.get("explore")
    given |= {"explore.start": "start" in explore if isinstance(explore, Mapping) else is_parts(explore)}
    return [flag for flag, is_given in given.items() if is_given]


def settings(env_timeout: Any = None, **given: Any) -> dict[str, Any]:
    """Return what is given of flags that are no fields; raises UsageError for a number, but the first, not whole."""
    found = {name: plain_numbers(x) for name, x in given.items() if x is not None}
    for name, x in found.items():
        with suppress(ValueError):
            found[name] = whole_number(x) if isinstance(x, float) else x
        if type(found[name]) is not int:
            raise UsageError(f"{name} is {x!r}: expected a whole number")
    return found if env_timeout is None else found | {"env_timeout": plain_numbers(env_timeout)}


def workers(given: object) -> dict[str, Any]:
    """Return who runs the episodes of probes, if that is given; raises UsageError for a word that there is not."""
    known = get_args(Where)
    if given is not None and given not in known:
        raise UsageError(f"explore_workers is {shorten(repr(given))}: expected one of {', '.join(known)}")
    return {} if given is None else {"explore_workers": given}


def refuse_beside_resume(fields: Mapping[str, Any], **others: Any) -> None:
    """Raise UsageError for what a run that goes on cannot take: it keeps its recipe."""
    for name in (*fields, *(name for name, given in others.items() if given is not None)):
        raise UsageError(f"{name} does not go with resume: a resumed run keeps its recipe")


def _choosing(chosen: Mapping[str, str], fields: Mapping[str, Any], trust: bool) -> dict[str, str]:
    """Return what chooses the default recipe: a dict does not where the agent has what the dict says more of."""
    given = {name: x for name, x in chosen.items() if x}
    parts = [name for name in choose.SHORT_NAMES if isinstance(fields.get(name), Mapping)]
    if not parts:
        return given
    _, own = choose.chosen_recipe({name: x for name, x in given.items() if name not in parts}, trust)
    return {name: x for name, x in given.items() if name not in parts or getattr(own, name) is None}


def _named(name: str, given: Any) -> str:
    """Return what the command line's flag of that name would be given; "" for nothing."""
    if isinstance(given, str):
        return given
    if given is None:
        return "none" if name in choose.SHORT_NAMES else ""
    if not is_parts(given):
        raise UsageError(f"{SOURCE}: {name} must be a name, a dict or an object, not {shorten(repr(given))}")
    if name == "sparse":
        rule = given.get("rule") if isinstance(given, Mapping) else getattr(given, "rule", None)
        return _kind(rule) or choose.SHORT_NAMES[name][0]
    return choose.SHORT_NAMES[name][0] if name in choose.SHORT_NAMES else _kind(given)


def _kind(given: Any) -> str:
    if isinstance(given, Mapping):
        return given.get("kind", "")
    return given if isinstance(given, str) else kind_of(type(given)) if is_dataclass(given) else ""


def _check_names(default: Recipe, fields: Mapping[str, Any]) -> None:
    known = [*(f.name for f in fields_of(default)), *OTHERS]
    for name in (name for name in fields if name not in known):
        flag = re.search(r"--([\w.-]+)", ours(name.replace("_", "-")) or "")
        own = flag[1].rpartition(".")[2].replace("-", "_") if flag else name
        inside, near = next(_places(default, own), ""), own if own in known else nearest(name, known)
        hint = f"did you mean {near}?" if near else f"known are {', '.join(dict.fromkeys(known))}"
        raise UsageError(f"{SOURCE}: unknown argument {name}: {f'write {inside}' if inside else hint}")


def _places(default: Recipe, name: str) -> Iterator[str]:
    """Yield how a field of a part of the recipe is given."""
    for where, part in components(default):
        if where and name in (f.name for f in fields_of(part)):
            text = f"{{{name!r}: ...}}"
            first, *inner = where.split(".")
            for outer in reversed(inner):
                text = f"{{{outer!r}: {text}}}"
            yield f"{first}={text}"


def _plain(hint: Any, before: Any, given: Any) -> Any:
    """Return a field as the plain value that a recipe's file would have; `before` is what it is otherwise."""
    options = kinds(hint)
    if not isinstance(given, Mapping) and is_parts(given):
        return ({"kind": kind_of(type(given))} if len(options) > 1 else {}) | to_dict(given)
    if isinstance(given, str) and len(options) > 1:
        given = {"kind": given}
    if isinstance(given, Mapping) and options:
        return _plain_parts(options, before, given)
    return given


def plain_numbers(given: Any) -> Any:
    """Return numbers and arrays of numpy as Python's, and sequences as lists, in tables and lists too."""
    if isinstance(given, np.generic | np.ndarray):
        return given.tolist()
    if isinstance(given, Mapping):
        return {name: plain_numbers(x) for name, x in given.items()}
    return [*map(plain_numbers, given)] if isinstance(given, list | tuple | range) else given


def _plain_parts(options: dict[str, type], before: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    usual = type(before) if is_dataclass(before) else next(iter(options.values()))
    cls = options.get(given["kind"]) if "kind" in given else usual
    if cls is None:
        return dict(given)  # which is refused with the kinds that there are
    base = before if type(before) is cls else cls()
    parts = ({"kind": kind_of(cls)} if len(options) > 1 else {}) | to_dict(base)
    hints = get_type_hints(cls)
    for name, x in given.items():
        if name != "kind":
            parts[name] = _plain(hints.get(name), getattr(base, name, None), x)
    return parts
