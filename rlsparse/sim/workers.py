"""Other Gymnasium environments, stepped in several processes at the same time; results are those of one process.

Each process holds a part of every batch of a run: consecutive environments in a `GymVectorEnv` of its own, in which
episode k of environment i begins from the same seed as in one process. So the number of processes is only a matter of
speed, and a checkpoint does not depend on it.
"""

import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsparse.errors import BROKEN, EnvironmentFailure, RlsparseError, in_one_line
from rlsparse.sim.curriculum_envs import GymCurriculumEnv
from rlsparse.sim.environment import Environment, as_environment
from rlsparse.sim.finite import place
from rlsparse.sim.gym import GymVectorEnv, check_fits
from rlsparse.sim.processes import POSSIBLE, Processes, ProcessLost
from rlsparse.sim.restarts import RestartingEnvs, Restarts
from rlsparse.sim.user_classes import given_classes, moved_files
from rlsparse.sim.vector import StepResult, chosen_environments, seed_each, usable_cores
from rlsparse.sim.worker import ask

MESSAGE_SECONDS = 1.5e-4
"""What a message to one process and its answer cost, about, whatever the environment."""

WORTH = 0.8
"""Processes are used if they take at most so much of the time that one takes."""

MEASURED_SECONDS, MEASURED_STEPS = 0.25, 20
"""An environment is stepped so long; fewer steps do if all environments together are too cheap for processes."""


def shared(
    workers: int, environment: Environment, restarts: int | None, timeout: float | None
) -> Callable[..., VectorEnv]:
    """Return `make` for the environments of one run; `workers` processes hold them all."""
    counted = Restarts(restarts) if restarts else None
    processes = Processes(workers, timeout, counted.spend if counted else _refuse)
    return partial(WorkerVectorEnv, processes, environment, restarts=counted)


def _refuse(question: str) -> None:
    raise EnvironmentFailure(question)


class _Asking(Restarts):
    """In a worker: the parent counts, for all of them."""

    def spend(self, error: object) -> None:
        ask(str(error))


def make_part(
    told: bytes, num_envs: int, first: int, total: int, restarting: bool, options: dict[str, Any]
) -> tuple[GymCurriculumEnv, tuple[Any, ...]]:
    """In a worker: make environments `first` to `first + num_envs` of `total`; return them, and what they are."""
    np.seterr(over="ignore", invalid="ignore")  # as around training
    environment = unpacked(told)

    class Part(RestartingEnvs if restarting else GymCurriculumEnv):  # type: ignore[misc]
        def where(self, i: int) -> str:
            return f"{self._env_id}: {place(first + i, total, self._members)}"

        def reset(self, seeds: list[int | None], chosen: np.ndarray) -> np.ndarray:
            return super().reset(seed=seeds, options={"reset_mask": chosen})[0]

        def step(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
            *outcome, info = super().step(actions)
            return np.column_stack(outcome), info  # one array costs half as much to send as four

    envs = (partial(Part, _Asking(0)) if restarting else Part)(environment, num_envs, **options)
    spec = envs.spec
    if spec is not None and callable(spec.entry_point):  # of a module or file that the parent may not have imported
        spec = replace(spec, entry_point=None)
    return envs, (spec, envs.single_observation_space, envs.single_action_space)


def unpacked(told: bytes) -> Environment:
    """In a worker: return the environment that was packed; it can be made from now on."""
    environment, spec, given, moved = pickle.loads(told)
    given_classes.update(given)
    moved_files.update(moved)
    if spec is not None:  # registered by a script that this process has not run
        gymnasium.registry[spec.id] = spec
    return environment  # type: ignore[no-any-return]


class WorkerVectorEnv(VectorEnv):
    """As GymVectorEnv, in `processes`; see `rlsparse.sim.make`."""

    def __init__(
        self,
        processes: Processes,
        environment: Environment | str,
        num_envs: int,
        *,
        autoreset: bool = True,
        seeds: Sequence[int] = (),
        restarts: Restarts | None = None,
    ):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED}
        self._processes, self._key = processes, processes.new_key()
        environment = as_environment(environment)
        self._env_id, self._members, self._restarts = environment.id, seeds, restarts
        parts = min(processes.count, num_envs)
        self._slices = [(num_envs * k // parts, num_envs * (k + 1) // parts) for k in range(parts)]
        """First environment of every part, and the one after its last."""
        options = {"autoreset": autoreset, "seeds": seeds}
        told = packed_environment(environment)
        arguments = [(told, b - a, a, num_envs, restarts is not None, options) for a, b in self._slices]
        self.spec, observation, action = self._call(make_part, arguments)[0]
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space, self.action_space = batch_space(observation, num_envs), batch_space(action, num_envs)
        self._observation = np.zeros((num_envs, observation.low.size))
        self._truncated = np.zeros(num_envs, bool)
        self._begun = False

    def _call(self, method: str | Callable[..., Any], arguments: Sequence[tuple | None]) -> list[Any]:
        """Call a method of the parts, each with its arguments; those without any are left out."""
        given = {k: x for k, x in enumerate(arguments) if x is not None}
        return self._processes.call(self._key, method, given, self._whose)

    def _everywhere(self, method: str, *arguments: Any) -> list[Any]:
        return self._call(method, [arguments] * len(self._slices))

    def _split(self, array: np.ndarray) -> list[tuple[np.ndarray]]:
        return [(array[a:b],) for a, b in self._slices]

    def _whose(self, k: int) -> str:
        first, last = (place(i, self.num_envs, self._members) for i in (self._slices[k][0], self._slices[k][1] - 1))
        member, _, number = last.rpartition(" ")
        until = "" if last == first else f" to {number if first.startswith(member) else last}"
        return f"{self._env_id}: the process of {first}{until}"

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        chosen, seeds = chosen_environments(options, self.num_envs), seed_each(seed, self.num_envs)
        if not self._begun and not chosen.all():
            raise ResetNeeded("the first reset() must start every environment")
        given = [(seeds[a:b], chosen[a:b]) if chosen[a:b].any() else None for a, b in self._slices]
        answers = iter(self._call("reset", given))
        for (a, b), arguments in zip(self._slices, given, strict=True):
            if arguments is not None:
                self._observation[a:b] = next(answers)
        self._begun = True
        self._truncated[chosen] = False
        return self._observation.copy(), {}

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`; returns as `MujocoVectorEnv.step` does."""
        actions, expected = np.asarray(actions, self.action_space.dtype), self.action_space.shape
        if actions.shape != expected:
            raise ValueError(f"actions have shape {actions.shape}, expected {expected}")
        if not self._begun:
            raise ResetNeeded("call reset() before step()")
        parts, infos = zip(*self._call("step", self._split(actions)), strict=True)
        rows = np.concatenate(parts)
        self._observation, truncated = rows[:, :-3], rows[:, -1] > 0
        self._truncated = truncated.copy()
        return self._observation.copy(), rows[:, -3].copy(), rows[:, -2] > 0, truncated, self._merged(infos)

    def _merged(self, infos: Sequence[dict[str, np.ndarray]]) -> dict[str, Any]:
        if not any(infos):
            return {}
        final, over = np.full(self.num_envs, None, dtype=object), np.zeros(self.num_envs, bool)
        for (a, b), info in zip(self._slices, infos, strict=True):
            if info:
                final[a:b], over[a:b] = info["final_obs"], info["_final_obs"]
        return {"final_obs": final, "_final_obs": over}

    def halt(self, where: np.ndarray) -> None:
        """Let the environments `where` (bool `[num_envs]`) stand still until `reset`; only without autoreset."""
        if (where & ~self._truncated).any():  # asked before every step, where nothing changes mostly
            self._call("halt", self._split(where))
            self._truncated |= where

    def snapshots(self) -> np.ndarray:
        """The seed with which every environment's episode began, `[num_envs, 1]` float64, for `restore`."""
        return np.concatenate(self._everywhere("snapshots"))

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """As `GymVectorEnv.restore`."""
        arguments = [(i - a, snapshot, np.asarray(actions)) if a <= i < b else None for a, b in self._slices]
        observation, steps = self._call("restore", arguments)[0]
        self._observation[i], self._truncated[i] = observation, False
        return observation, steps

    def metrics(self) -> dict[str, np.ndarray]:
        """Return numbers about the environments, [S] each."""
        return {} if self._restarts is None else self._restarts.metrics(self._members)

    def task_numbers(self) -> dict[str, Any]:
        """As `GymCurriculumEnv.task_numbers`."""
        return self._call("task_numbers", [()])[0]  # type: ignore[no-any-return]

    def set_task(self, values: Mapping[str, np.ndarray]) -> None:
        """As `GymCurriculumEnv.set_task`."""
        self._call("set_task", [({name: x[a:b] for name, x in values.items()},) for a, b in self._slices])

    def get_state(self) -> dict[str, np.ndarray]:
        """The same arrays as those of one process."""
        parts = self._everywhere("get_state")
        state = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return state if self._restarts is None else state | self._restarts.get_state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Put back the state of any number of processes, as `GymVectorEnv.set_state`."""
        check_fits(state, self._observation, self._env_id)
        if self._restarts is not None:
            self._restarts.set_state(state)
        rows = np.append(0, np.cumsum(state["length"]))
        whole = {name: x for name, x in state.items() if name not in ("actions", "restarts")}
        rest = {name: state[name] for name in ("restarts",) if name in state}
        parts = [
            {name: x[a:b] for name, x in whole.items()} | {"actions": state["actions"][rows[a] : rows[b]]} | rest
            for a, b in self._slices
        ]
        self._call("set_state", [(part,) for part in parts])
        self._observation, self._truncated = state["observation"].copy(), state["truncated"].copy()
        self._begun = True

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment; the processes stay for others."""
        with suppress(ProcessLost):
            self._everywhere("close")


def packed_environment(environment: Environment, instead: str = "--env-workers 1") -> bytes:
    """Return what a worker needs to make an environment; of the main module, which it does not run, classes themselves.

    Raises EnvironmentFailure, with what to use `instead`, for one that cannot leave this process.
    """
    spec = gymnasium.registry.get(environment.id.rpartition(":")[2])
    if spec is not None and str(spec.entry_point).startswith("__main__:"):
        spec = replace(spec, entry_point=load_env_creator(spec.entry_point))  # type: ignore[arg-type]
    given = {name: given_classes[name] for name in (environment.id, *environment.wrappers) if name in given_classes}
    main = {name: cls for name, cls in given.items() if cls.__module__ == "__main__"}
    try:
        return cloudpickle.dumps((environment, spec, main, moved_files))  # type: ignore[no-any-return]
    except BROKEN as error:
        raise EnvironmentFailure(
            f"{environment.id} cannot be given to other processes, for {in_one_line(error)}; use {instead}"
        ) from error


def measured(environment: Environment, num_envs: int) -> tuple[int, str]:
    """Return how many processes are worth it for so many environments, and what to tell of it; nothing if one is.

    An environment of its own is stepped with random actions, which are counted nowhere and move no random stream. Cores
    that other programs keep busy meanwhile are left to them.
    """
    if not POSSIBLE or min(usable_cores(), num_envs) < 2:
        return 1, ""
    try:
        seconds, waited = step_seconds(environment, num_envs)
        packed_environment(environment)
    except RlsparseError:  # which training tells better
        return 1, ""
    workers = fitting(seconds, num_envs, round(usable_cores() * (1 - waited)))
    told = f"environments step in {workers} processes ({1e3 * seconds:.2f} ms a step here); --env-workers changes that"
    return workers, told if workers > 1 else ""


def step_seconds(environment: Environment, num_envs: int) -> tuple[float, float]:
    """Return the time of a step of one environment, resets included, and the share of time that waited for a core.

    The time of a step is without that.
    """
    env = GymVectorEnv(environment, 1)
    env.action_space.seed(0)
    env.reset(seed=0)
    env.step(env.action_space.sample())  # the first may compile or load something
    begun, waited_before, steps, seconds = time.perf_counter(), _waited_for_a_core(), 0, 0.0
    while seconds < MEASURED_SECONDS:
        env.step(env.action_space.sample())
        steps, seconds = steps + 1, time.perf_counter() - begun
        if steps == MEASURED_STEPS and fitting(seconds / steps, num_envs, num_envs) == 1:
            break
    waited = (_waited_for_a_core() - waited_before) / seconds
    env.close()
    return seconds * (1 - waited) / steps, waited


def _waited_for_a_core() -> float:
    """Seconds that this thread has waited for a core so far; 0 where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def fitting(step_seconds: float, num_envs: int, most: int) -> int:
    """Return how many processes, at most `most`, step `num_envs` environments fastest; 1 if others gain little."""

    def seconds(workers: int) -> float:
        return math.ceil(num_envs / workers) * step_seconds + (workers * MESSAGE_SECONDS if workers > 1 else 0)

    best = min(range(1, max(1, min(most, num_envs)) + 1), key=seconds)
    return best if seconds(best) <= WORTH * seconds(1) else 1
