"""Tensors in place of numpy's arrays, on the CPU: environments as a GPU has them, and streams that numpy draws."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rlsparse import sim
from rlsparse.learner.streams import HostStreams

DEVICE = "cpu:0"
make_on_the_host = sim.make


class TensorEnv:
    """MuJoCo's environments with the arrays of a simulator that lives on a device."""

    def __init__(self, env_id, num_envs, *, autoreset=True, seeds=(), simulator="warp", device=DEVICE):
        assert (simulator, device) == ("warp", DEVICE)
        self._env = make_on_the_host(env_id, num_envs, autoreset=autoreset)

    def __getattr__(self, name):
        return getattr(self._env, name)

    def reset(self, *, seed=None, options=None):
        with waiting():
            options = options and {name: mask.numpy() for name, mask in options.items()}
        if seed is None and not any(mask.any() for mask in options.values()):
            return self._last, {}
        obs, info = self._env.reset(seed=seed, options=options)
        return tensor(obs), info

    def step(self, actions):
        with waiting():
            obs, reward, terminated, truncated, info = self._env.step(actions.numpy())
            last, ended = {"final_obs": obs.copy(), "final_qpos": self._env.qpos.copy()}, terminated | truncated
        for name, x in last.items():
            if name in info:
                x[ended] = np.stack(info[name][ended])
        self._last = tensor(obs)
        return (
            self._last,
            tensor(reward),
            torch.tensor(terminated),
            torch.tensor(truncated),
            {name: tensor(x) for name, x in last.items()},
        )

    @property
    def qpos(self):
        return tensor(self._env.qpos)

    def halt(self, where):
        self._env.halt(where.numpy())


def tensor(x):
    return torch.tensor(x, dtype=torch.float32)


class NumpyDraws:
    """Streams of tensors that hold what numpy's would."""

    def __init__(self, seeds, purpose):
        self._streams = HostStreams(seeds, purpose)

    def normal(self, *shape):
        return torch.from_numpy(self._streams.normal(*shape))

    def permutations(self, count):
        return torch.from_numpy(self._streams.permutations(count))


ASKING = ("cpu", "item", "numpy", "tolist", "__array__", "__bool__", "__float__", "__int__", "__index__")


@contextmanager
def never_waiting():
    """Fail wherever the host would wait for a device, had the tensors been on one."""

    def ask(*_args, **_kwargs):
        raise AssertionError("the host waits for a number from the device")

    with pytest.MonkeyPatch.context() as patch, _NoQuestions():
        for name in ASKING:
            patch.setattr(torch.Tensor, name, ask)
        patch.setattr("tensors.asking", {name: getattr(torch._C.TensorBase, name, None) for name in ASKING})
        yield


asking = {}


@contextmanager
def waiting():
    """Let an environment that only plays one on a device look into its tensors."""
    with pytest.MonkeyPatch.context() as patch:
        for name, original in asking.items():
            if original is not None:
                patch.setattr(torch.Tensor, name, original)
        yield


class _NoQuestions(TorchDispatchMode):
    """Refuse operations whose result has a size that depends on numbers, and those that return a plain number."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "bincount")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.REFUSED, f"the host waits for {name}"
        if name in ("index", "index_put", "index_put_"):
            assert not any(x is not None and x.dtype == torch.bool for x in args[1]), (
                f"the host waits for {name} by a mask"
            )
        return func(*args, **(kwargs or {}))
