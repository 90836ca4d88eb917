"""Worlds of one MuJoCo model, advanced together by MuJoCo Warp on a GPU (or, for tests, on Warp's CPU device).

Everything is float32. The launches of a step are captured once as a graph, which is then replayed on the stream that
torch works on: no step waits for the host.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import mujoco
import torch
from torch import Tensor

from rlsparse.errors import UnsupportedEnvironment, UsageError, import_extra
from rlsparse.learner.recorded import no_collection, records_physics

log = logging.getLogger(__name__)

DETERMINISTIC = "RLSPARSE_DETERMINISTIC"
"""Environment variable: 1 sums contacts in one order, so that a GPU gives the same bits every time, but more slowly."""

_MOST_CONTACTS, _MOST_ROWS = 48, 96


def import_warp(on_cpu: bool) -> tuple[ModuleType, ModuleType]:
    """The packages warp and mujoco_warp, without their messages; raises UsageError if they are missing."""
    warp = import_extra("warp", "gpu", "the GPU simulator")
    warp.config.log_level = warp.LOG_ERROR
    warp.init()
    mujoco_warp = import_extra("mujoco_warp", "gpu", "the GPU simulator")
    # The CPU device is for tests, where the time to compile matters most.
    warp.config.optimization_level = 0 if on_cpu else None
    return warp, mujoco_warp


def contact_capacity(model: mujoco.MjModel) -> tuple[int, int]:
    """Contacts and constraint rows that a world may need: all that could touch at once, up to a limit.

    The limits are more than twice what long episodes of random actions need (docs/gpu.md).
    """
    rows_per_contact = 2 * (model.geom_condim.max(initial=1) - 1) or 1  # a pyramid's edges
    rows = 4 * _possible_pairs(model) * rows_per_contact + 2 * model.jnt_limited.sum() + 2 * model.ntendon + model.neq
    contacts = min(4 * _possible_pairs(model), _MOST_CONTACTS)
    return max(int(contacts), 1), max(int(min(rows, _MOST_ROWS)), 1)


def _possible_pairs(model: mujoco.MjModel) -> int:
    """Number of pairs of geoms that pass MuJoCo's filter of contype and conaffinity, on different bodies."""
    take = model.geom_contype[:, None] & model.geom_conaffinity[None]
    apart = model.geom_bodyid[:, None] < model.geom_bodyid[None]
    return int((((take | take.T) != 0) & apart).sum())


class WarpPhysics:
    """`num_worlds` simulations of `model`; `qpos`, `qvel`, `ctrl`, `warmstart`, `force` and `derived` are live tensors.

    `derived` holds the MjData fields named, `[num_worlds, ...]`; `own` those of the model of which every world has its
    own numbers. `beside` launches kernels that run with every `advance`. Raises UnsupportedEnvironment, about `name`,
    for a model that MuJoCo Warp cannot simulate.
    """

    def __init__(
        self,
        name: str,
        model: mujoco.MjModel,
        num_worlds: int,
        frame_skip: int,
        fields: tuple[str, ...],
        device: str,
        forces_at_start: bool = False,
        own_fields: tuple[str, ...] = (),
        beside: Callable[[], None] = lambda: None,
    ):
        self.device = torch_device(device)
        self._warp, self._mjw = import_warp(self.device.type == "cpu")
        self._place = self._warp.device_from_torch(self.device)
        self._frame_skip, self._aside = frame_skip, beside
        self._contact_force = "cfrc_ext" in fields
        contacts, rows = contact_capacity(model)
        with self._warp.ScopedDevice(self._place):
            try:
                self._model = self._mjw.put_model(model)
            except NotImplementedError as error:
                raise UnsupportedEnvironment(f"MuJoCo Warp cannot simulate {name}: {error}") from error
            self._data = self._mjw.make_data(model, num_worlds, nconmax=contacts, njmax=rows)
        self._model.opt.warn_overflow = 0
        self._model.opt.deterministic = os.environ.get(DETERMINISTIC) == "1"
        if self.device.type == "cuda":
            self._model.opt.graph_conditional = self._warp.is_conditional_graph_supported()

        def view(field: str) -> Tensor:
            return self._warp.to_torch(getattr(self._data, field))

        self.qpos, self.qvel, self.ctrl, self.warmstart = map(view, ("qpos", "qvel", "ctrl", "qacc_warmstart"))
        self.force = view("xfrc_applied")
        self.derived = {field: view(field) for field in fields}
        self.own = {field: self._expanded(field, num_worlds) for field in own_fields}
        self._overflow = view("overflow")
        #: Call to advance every world by `frame_skip` steps; `derived` is then as after mj_step.
        self.advance = self._prepare(self._advance)
        #: Call to compute the derived fields of the present state; without `forces_at_start`, except forces.
        self.kinematics = self._prepare(self._forward if forces_at_start else self._kinematics)
        #: Call to launch what runs beside, alone.
        self.beside = self._prepare(self._aside)
        self._overflow.zero_()

    def _expanded(self, field: str, num_worlds: int) -> Tensor:
        """Give every world its own numbers of a field of the model, and return them, `[num_worlds, ...]`."""
        shared = getattr(self._model, field)
        numbers = self._warp.to_torch(shared)[:1].repeat(num_worlds, *[1] * (self._warp.to_torch(shared).ndim - 1))
        setattr(self._model, field, self._warp.from_torch(numbers, dtype=shared.dtype))
        return numbers

    def _advance(self) -> None:
        for _ in range(self._frame_skip):
            self._mjw.step(self._model, self._data)
        if self._contact_force:
            self._mjw.rne_postconstraint(self._model, self._data)
        self._aside()

    def _kinematics(self) -> None:
        self._mjw.kinematics(self._model, self._data)
        self._mjw.com_pos(self._model, self._data)
        self._mjw.com_vel(self._model, self._data)

    def _forward(self) -> None:
        self._mjw.forward(self._model, self._data)
        if self._contact_force:
            self._mjw.rne_postconstraint(self._model, self._data)

    def _prepare(self, launch: Callable[[], None]) -> Callable[[], None]:
        """`launch` as one call: compiled, and captured as a graph that runs on torch's current stream."""
        warp, device = self._warp, self.device

        def directly() -> None:
            with warp.ScopedDevice(self._place):
                if device.type == "cpu":
                    return launch()
                with warp.ScopedStream(warp.stream_from_torch(device)):
                    launch()

        with warp.ScopedDevice(self._place):
            launch()  # compiles and loads the kernels before the capture
            if not records_physics():
                return directly
            try:
                with no_collection(), warp.ScopedCapture() as capture:
                    launch()
            except RuntimeError as error:
                log.warning("physics goes on unrecorded, which is slower: %s", error)
                return directly
        warp.synchronize_device(self._place)
        if device.type == "cpu":
            return lambda: warp.capture_launch(capture.graph)
        return lambda: warp.capture_launch(capture.graph, stream=warp.stream_from_torch(device))

    @property
    def overflowed(self) -> Tensor:
        """Worlds that ever ran out of memory for contacts or constraints, bool `[num_worlds]`."""
        kind = self._mjw.OverflowType
        room = kind.ALL & ~(kind.ITERATIONS | kind.LS_ITERATIONS)
        return (self._overflow & int(room)) != 0

    @property
    def bytes_per_world(self) -> float:
        """Device memory of all simulation arrays over the number of worlds."""
        return sum(array.capacity for array in _arrays(self._data, self._warp.array)) / self._data.nworld


def torch_device(name: str) -> torch.device:
    """The device with its number; raises UsageError if there is no such GPU."""
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise UsageError(f"device {name}: torch has no such GPU here, only cpu:0")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _arrays(record: Any, kind: type) -> Iterator[Any]:
    """Every array of this kind in a dataclass of arrays and dataclasses."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, kind):
            yield value
        elif dataclasses.is_dataclass(value):
            yield from _arrays(value, kind)
