"""A user's task is tried once before it is used: what it reads, and whether its functions are array code.

Each function runs on numpy arrays of a few environments, and on tensors of torch's "meta" device, which hold no
numbers: there, as on a GPU, nothing works that is not torch's own.
"""

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from rlsparse.errors import UsageError, in_one_line, nearest
from rlsparse.learner.arrays import Array
from rlsparse.sim.counter_random import EpisodeStream
from rlsparse.sim.model_names import names_of
from rlsparse.sim.own_tasks import called, source_of
from rlsparse.sim.task import Task

ROWS = 3
"""Environments with which functions are tried: one alone would hide what mixes them up."""

ALWAYS = ("qpos", "qvel", "ctrl")
"""What every task has."""

ARRAYS = {
    True: "functions of a task run on arrays of numpy with a row for each environment",
    False: "functions of a task also run on torch's tensors, on a GPU: take namespace(d.qpos) in place of numpy and "
    "math, and where() in place of if",
}
"""What to say where a function fails on numpy arrays, and where only on tensors."""


class Trial:
    """What a task reads: MjData fields of several equal environments; it keeps what was asked for."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, device: str = "") -> None:
        self._data, self._held, self.device = data, dict[str, Array](), device
        self.timestep, self.body_mass = model.opt.timestep, self._converted(model.body_mass)
        vars(self).update(names_of(model))

    @property
    def read(self) -> tuple[str, ...]:
        """The fields that were asked for beside those that every task has, in order."""
        return tuple(name for name in self._held if name not in ALWAYS)

    def __getattr__(self, name: str) -> Array:
        from mujoco.batch import DATA_FIELDS

        if name.startswith("_"):
            raise AttributeError(name)
        if name not in DATA_FIELDS:
            near = nearest(name, DATA_FIELDS)
            raise AttributeError(f"MuJoCo's data has no {name}" + (f": did you mean {near}?" if near else ""))
        if name not in self._held:
            one = np.asarray(getattr(self._data, name))
            self._held[name] = self._converted(np.repeat(one[None], ROWS, 0))
        return self._held[name]

    def _converted(self, x: np.ndarray) -> Array:
        if not self.device:
            return x
        return torch.as_tensor(x, dtype=torch.float32 if x.dtype.kind == "f" else None).to(self.device)


_reads: dict[tuple[type[Task], str], tuple[str, ...]] = {}
"""Of each task that was tried what it reads: its class and its fields say all."""


def fields_read(task: Task, model: mujoco.MjModel) -> tuple[str, ...]:
    """Return the MjData fields that a task reads beside `ALWAYS`.

    Raises UsageError, with file and line, for a function that fails, or returns what is not asked of it.
    """
    key = (type(task), repr(task))
    if key not in _reads:
        _reads[key] = _tried(task, model)
    return _reads[key]


def _tried(task: Task, model: mujoco.MjModel) -> tuple[str, ...]:
    for function in ("observe", "reward"):
        if getattr(type(task), function) is getattr(Task, function):
            raise UsageError(f"{called(task)} has no {function}(): every task needs one")
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    start = _call(task, "reset_noise", task.reset_noise, rng, model.qpos0.copy(), np.zeros(model.nv))
    for name, x, size in (("qpos", start[0], model.nq), ("qvel", start[1], model.nv)):
        _expect(task, "reset_noise", np.shape(x) == (size,), f"{name} of shape {np.shape(x)}", f"({size},)")
        _expect(task, "reset_noise", bool(np.isfinite(x).all()), f"{name} {x}", "finite numbers")
    data.qpos[:], data.qvel[:] = start
    mujoco.mj_forward(model, data)

    on_numpy = Trial(model, data)
    width = _results(task, on_numpy)
    _finite_and_own(task, on_numpy)
    on_device = Trial(model, data, "meta")
    _start_on_device(task, model)
    there = _results(task, on_device)
    _expect(task, "observe", there == width, f"{there} numbers of torch tensors", f"{width}, as of numpy arrays")
    return on_numpy.read


def _start_on_device(task: Task, model: mujoco.MjModel) -> None:
    seeds = torch.zeros(ROWS, dtype=torch.int64, device="meta")
    pose, rest = (torch.zeros(ROWS, size, dtype=torch.float64, device="meta") for size in (model.nq, model.nv))
    start = _call(task, "reset_noise", task.reset_noise, EpisodeStream(seeds, seeds), pose, rest)
    for name, x, expected in (("qpos", start[0], pose.shape), ("qvel", start[1], rest.shape)):
        found = tuple(getattr(x, "shape", ()))
        _expect(task, "reset_noise", found == tuple(expected), f"{name} of shape {found}", f"{tuple(expected)}")


def _results(task: Task, d: Any) -> int:
    """Call all functions, check the shapes of what they return, and return the width of the observation."""
    progress = _call(task, "progress", task.progress, d)
    told = _call(task, "reward", task.reward, d, progress * 0, d.ctrl)
    _expect(task, "reward", isinstance(told, tuple) and len(told) == 2, type(told).__name__, "reward and terminated")
    for name, x in (("progress", progress), ("reward", told[0]), ("terminated", told[1])):
        shape = tuple(getattr(x, "shape", ()))
        function = "progress" if name == "progress" else "reward"
        _expect(task, function, shape == (ROWS,), f"{name} of shape {shape} for {ROWS} environments", f"({ROWS},)")
    kind = str(told[1].dtype)
    _expect(task, "reward", kind.endswith("bool"), f"terminated of {kind}", "true or false, as `height < 0.5`")
    seen = _call(task, "observe", task.observe, d)
    shape = tuple(getattr(seen, "shape", ()))
    fits = len(shape) == 2 and shape[0] == ROWS and shape[1] > 0
    _expect(task, "observe", fits, f"shape {shape} for {ROWS} environments", f"({ROWS}, numbers)")
    again = tuple(_call(task, "observe", task.observe, d).shape)
    _expect(task, "observe", again == shape, f"shape {again} at the second call", f"{shape} as at the first")
    return shape[1]


def _finite_and_own(task: Task, d: Trial) -> None:
    """Refuse numbers that are not finite at the start, and arrays that are MuJoCo's own."""
    reward, _ = task.reward(d, task.progress(d) * 0, d.ctrl)  # type: ignore[arg-type]
    for function, x in (("observe", task.observe(d)), ("reward", reward)):  # type: ignore[arg-type]
        _expect(task, function, bool(np.isfinite(x).all()), f"{np.ravel(x)[:6]} at the start", "finite numbers")
        for name in (*ALWAYS, *d.read):
            if np.shares_memory(x, getattr(d, name)):
                raise UsageError(_at(task, function, f"returns d.{name} itself: return a new array, as d.{name} + 0"))


def _expect(task: Task, function: str, holds: bool, found: str, expected: str) -> None:
    if not holds:
        raise UsageError(_at(task, function, f"returns {found}: expected {expected}"))


def _call(task: Task, function: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a task; raises UsageError with the line of the user's file where it fails."""
    try:
        return call(*arguments)
    except Exception as error:
        on_numpy = not any(isinstance(x, torch.Tensor | EpisodeStream) or getattr(x, "device", "") for x in arguments)
        raise UsageError(_at(task, function, f"{in_one_line(error)[:200]}; {ARRAYS[on_numpy]}", error)) from error


def _at(task: Task, function: str, what: str, error: Exception | None = None) -> str:
    """Say where something is wrong: the file, the line where that is known, and the function."""
    file = source_of(task)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    lines = [x.lineno for x in frames if Path(x.filename) == file]
    line = f":{lines[-1]}" if lines else ""
    code = linecache.getline(str(file), lines[-1] or 0).strip() if lines else ""
    return f"{file.name}{line}: {type(task).__name__}.{function}: {f'`{code}`: ' if code else ''}{what}"
