"""A batch of simulations that also has each body's contact force, `cfrc_ext`.

Gymnasium reads `cfrc_ext` after calling `mj_rnePostConstraint` at the end of each step. `mujoco.batch` has no
method for that, but the C interface below it does (mjbatch.h): `mjb_apply` runs a C function on every
simulation, on the same threads. `mj_rnePostConstraint(m, d)` takes the first two of the four arguments that
`mjb_apply` passes, which the calling conventions of x86-64 and arm64 allow. A sensor cannot give the same
numbers: sensors are evaluated before the last Runge-Kutta stage.
"""

import ctypes
import functools
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int, c_void_p
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import SimulationError

from rlsparse.errors import EnvironmentFailure


class _Config(ctypes.Structure):
    _fields_ = (("nthread", c_int), ("persistent", c_bool))


@functools.cache
def _library() -> ctypes.CDLL:
    """The MuJoCo library that the Python package has loaded, its functions declared as in mjbatch.h."""
    folder = Path(mujoco.__file__).parent
    found = [*folder.glob("libmujoco*.so*"), *folder.glob("libmujoco*.dylib"), *folder.glob("mujoco.dll")]
    if not found:
        raise EnvironmentFailure(f"no MuJoCo library in {folder}: reinstall the mujoco package")
    library = ctypes.CDLL(str(found[0]))
    signatures: dict[str, tuple[Any, Sequence[Any]]] = {
        "mjb_makeBatch": (c_void_p, (c_void_p, c_int, POINTER(_Config), c_char_p, c_int)),
        "mjb_deleteBatch": (None, (c_void_p,)),
        "mjb_nstate": (c_int, (c_void_p,)),
        "mjb_state": (c_void_p, (c_void_p,)),
        "mjb_stateComponent": (c_void_p, (c_void_p, c_int, POINTER(c_int))),
        "mjb_output": (c_void_p, (c_void_p, c_char_p, POINTER(c_int), POINTER(c_int))),
        "mjb_step": (c_int, (c_void_p, c_void_p, c_int, c_int, c_int)),
        "mjb_forward": (c_int, (c_void_p, c_void_p, c_int, c_int)),
        "mjb_reset": (c_int, (c_void_p, c_void_p, c_int, c_void_p, c_int)),
        "mjb_apply": (c_int, (c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_int)),
        "mjb_status": (c_void_p, (c_void_p,)),
        "mjb_error": (c_char_p, (c_void_p, c_int)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class ContactBatch:
    """A `mujoco.batch.Batch` whose `cfrc_ext` is current after `step` and zero after `reset`.

    It has the methods of `Batch` that the vector environment uses, and raises the same SimulationError.
    """

    def __init__(self, model: mujoco.MjModel, nsim: int, nthread: int):
        self._c = _library()
        self._contact_force = ctypes.cast(self._c.mj_rnePostConstraint, c_void_p)
        self.model, self.nsim = model, nsim
        message = ctypes.create_string_buffer(1000)
        # Persistent: every simulation keeps its MjData, which mj_rnePostConstraint needs as `step` left it.
        config = _Config(nthread, persistent=True)
        self._b = self._c.mjb_makeBatch(model._address, nsim, byref(config), message, len(message))
        if not self._b:
            raise EnvironmentFailure(f"MuJoCo could not make a batch: {message.value.decode()}")
        weakref.finalize(self, self._c.mjb_deleteBatch, self._b)
        self.state = self._array(self._c.mjb_state(self._b), self._c.mjb_nstate(self._b))

    def _array(self, address: int, width: int, kind: Any = c_double) -> np.ndarray:
        buffer = (kind * (self.nsim * width)).from_address(address)
        buffer.owner = self  # the memory is kept as long as any array refers to it
        return np.ctypeslib.as_array(buffer).reshape(self.nsim, width)

    def bind(self, name: str) -> np.ndarray:
        """The live array `[nsim, ...]` over a float field of MjData; state fields may be written."""
        shape = getattr(mujoco.MjData(self.model), name).shape
        size, itemsize = c_int(), c_int()
        if name in ("qpos", "qvel", "ctrl"):
            component = getattr(mujoco.mjtState, f"mjSTATE_{name.upper()}").value
            address = self._c.mjb_stateComponent(self._b, component, byref(size))
            start = (address - self.state.ctypes.data) // self.state.itemsize
            return self.state[:, start : start + size.value]
        address = self._c.mjb_output(self._b, name.encode(), byref(size), byref(itemsize))
        return self._array(address, size.value).reshape(self.nsim, *shape)

    def step(self, ids: np.ndarray | None, nstep: int) -> None:
        """Advance by `nstep` calls of mj_step, then compute contact forces."""
        ids, pointer, count = self._select(ids)
        self._check(ids, self._c.mjb_step(self._b, pointer, count, nstep, 0))
        self._check(ids, self._c.mjb_apply(self._b, pointer, count, self._contact_force, None, 0))
        # A call that computes nothing: it copies cfrc_ext to the bound array, which mjb_apply does not.
        self._check(ids, self._c.mjb_forward(self._b, pointer, count, mujoco.mjtStage.mjSTAGE_NONE.value))

    def forward(self, ids: np.ndarray | None) -> None:
        """Compute mj_forward."""
        ids, pointer, count = self._select(ids)
        self._check(ids, self._c.mjb_forward(self._b, pointer, count, mujoco.mjtStage.mjSTAGE_ACC.value))

    def reset(self, ids: np.ndarray | None, *, stage: int) -> None:
        """Reset to the model's defaults (mj_resetData), then compute up to `stage`."""
        ids, pointer, count = self._select(ids)
        self._check(ids, self._c.mjb_reset(self._b, pointer, count, None, int(stage)))

    def error(self, sim: int) -> str:
        """The message of the error that simulation `sim` raised in its last call, or ''."""
        return self._c.mjb_error(self._b, sim).decode()

    def _select(self, ids: np.ndarray | None) -> tuple[np.ndarray | None, int | None, int]:
        if ids is None:
            return None, None, self.nsim
        ids = np.ascontiguousarray(ids, np.int32)
        return ids, ids.ctypes.data, ids.size

    def _check(self, ids: np.ndarray | None, failures: int) -> None:
        if failures:
            status = self._array(self._c.mjb_status(self._b), 1, c_int)[:, 0]
            selected = np.arange(self.nsim) if ids is None else ids
            failed = selected[status[selected] != 0]
            raise SimulationError(failed, self.error(int(failed[0])))
