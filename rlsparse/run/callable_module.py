"""Modules that are called: `rlsparse.train` is a function and a module, whichever is imported first."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    """A module that is pickled by its name."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return import_module, (self.__name__,)


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Let a module that is imported be called as `function`, and help tell of that; the rest of it stays as it is."""
    function.__qualname__ = module  # which errors about its arguments name
    signature = inspect.signature(function)
    called = {"__call__": staticmethod(function), "__signature__": signature}
    about = (sys.modules[module].__doc__ or "").rstrip()
    sys.modules[module].__doc__ = f"{about}\n\n{module}{signature}\n\n{inspect.getdoc(function)}\n"
    sys.modules[module].__class__ = type("CallableModule", (_CallableModule,), called)
