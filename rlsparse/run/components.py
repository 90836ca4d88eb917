"""Choose the components of a recipe on a command line, before it is known which flags they have.

`--explore.proposal gaussian` makes the proposal another one, as it is by default; flags of its own are then parsed.
Any field of a recipe that may hold several kinds of component can be chosen so.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of, kinds, others_with
from rlsparse.run.recipe import Recipe

C = TypeVar("C")


def values(flags: Iterable[str], arguments: Sequence[str]) -> dict[str, str]:
    """Return what the command line gives for the flags, by flag and the last time it says so; the rest is ignored."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(f"--{flag}", nargs="?", dest=flag)
    known, _ = parser.parse_known_args(arguments)
    return {flag: value for flag, value in vars(known).items() if value is not None}


def choose(component: C, arguments: Sequence[str], where: str = "") -> C:
    """Return a component whose parts are of the kinds that the command line names.

    A part that is of that kind already stays as it is, another begins with the defaults of its kind. A kind that does
    not exist is passed over here: `flags_with_kinds` makes the parser refuse it.
    """
    chosen = {}
    for name, flag, part, options in _parts(component, where):
        cls = options.get(values([flag], arguments).get(flag, ""), type(part))
        chosen[name] = choose(part if cls is type(part) else cls(), arguments, flag + ".")
    return replace(component, **chosen) if chosen else component  # type: ignore[type-var]


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
    text = f"Which kind. One that is not the agent card's begins with its defaults; --{flag}.* are its flags."
    hint = Annotated[Literal[tuple(options)], tyro.conf.arg(name=flag, help=text)]  # type: ignore[valid-type]
    return "kind_of_" + flag.replace(".", "_").replace("-", "_"), hint, field(default=kind_of(type(part)))
