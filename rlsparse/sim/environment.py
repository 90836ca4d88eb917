"""Which environment: an id or a class, its arguments and its wrappers; and how a Gymnasium environment is made of them.

An id is Gymnasium's, "module:Id" where that module registers it, or a class: "module:Class", "/folder/file.py:Class".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from rlsparse.errors import UsageError
from rlsparse.sim.arguments import SENSING, STEPS, check_names, model_path, plain
from rlsparse.sim.spaces import flattened
from rlsparse.sim.task import Task
from rlsparse.sim.tasks import TASKS, check_task, task_class
from rlsparse.sim.user_classes import given_classes, load_module, load_object, shown_name


@dataclass(frozen=True)
class Environment:
    """One environment as a recipe names it; plain values, from which another process makes the same one."""

    id: str
    """Gymnasium's id, or a class, with its module or file and a colon before it where Gymnasium does not know it."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of its constructor, and `max_episode_steps`."""
    wrappers: tuple[str, ...] = ()
    """Classes put around it, the innermost first: "package.module.Class", "module:Class", "/folder/file.py:Class"."""

    @property
    def batched(self) -> bool:
        """Whether it is a MuJoCo task, to be simulated in a batch: wrappers need single environments."""
        return not self.wrappers and task_class(self.id) is not None


def as_environment(given: "Environment | str") -> Environment:
    """Return an environment that may be given by its id alone."""
    return Environment(given) if isinstance(given, str) else given


def make_single(environment: "Environment | str", render_mode: str | None = None) -> gymnasium.Env:
    """Make one Gymnasium environment with its arguments and time limit, within its wrappers, its observations flat.

    Raises UsageError for arguments that it does not take, and whatever its own code raises.
    """
    environment = as_environment(environment)
    kwargs = plain(environment.kwargs)
    entry: str | EnvSpec = entry_point(environment.id)
    steps = kwargs.pop(STEPS, None)
    if task := task_class(environment.id):
        check_task(environment.id, kwargs)
        if environment.id in TASKS and kwargs.keys() & SENSING:  # which Gymnasium's own class does not have
            entry = specification(environment.id, gymnasium.spec(environment.id).max_episode_steps)
    elif kwargs or ":" in environment.id or entry in gymnasium.registry:
        spec = gymnasium.spec(entry) if isinstance(entry, str) else entry
        check_names(shown_name(environment.id), creator := _creator(spec), kwargs, spec.kwargs)
    if "xml_file" in kwargs and (environment.id in TASKS or not task and creator.__module__.startswith("gymnasium.")):
        model_path(kwargs["xml_file"])
    if render_mode is not None:  # an environment that cannot be drawn may know no render mode
        kwargs["render_mode"] = render_mode
    env: gymnasium.Env = gymnasium.make(entry, max_episode_steps=steps, **kwargs)
    for name in environment.wrappers:
        env = load_object(name)(env)
        if not isinstance(env, gymnasium.Env):
            raise UsageError(f"--wrappers {name} gives {type(env).__name__}: expected a Gymnasium environment")
    return flattened(environment.id, env)


def entry_point(env_id: str) -> str | EnvSpec:
    """Return what `gymnasium.make` takes for an id: itself, or the specification of a class; imports its module."""
    place, colon, name = env_id.rpartition(":")
    if not colon:
        return env_id
    if env_id not in given_classes:
        load_module(place)
        if name in gymnasium.registry:
            return name
    if task := task_class(env_id):
        return specification(env_id, task.horizon)
    return EnvSpec(_spec_name(env_id), load_object(env_id))


def specification(env_id: str, horizon: int | None) -> EnvSpec:
    """Return what Gymnasium makes our environments of a MuJoCo task from, single ones and vectors."""
    single, vector = (f"rlsparse.sim.{module}:{quote(env_id, '')}" for module in ("single_task", "registration"))
    return EnvSpec(_spec_name(env_id), single, max_episode_steps=horizon, vector_entry_point=vector)


def _spec_name(env_id: str) -> str:
    return re.sub(r"[^\w:.-]", "_", shown_name(env_id))


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    found = spec.entry_point
    return load_env_creator(found) if isinstance(found, str) else found  # type: ignore[return-value]


def classes(place: str) -> list[str]:
    """Return the names of the environments' classes in a module or file, which is imported."""
    found = vars(load_module(place)).items()
    return [name for name, x in found if isinstance(x, type) and issubclass(x, gymnasium.Env | Task) and x is not Task]
