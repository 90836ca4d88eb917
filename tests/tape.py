"""A tape plays the CUDA graph: it notes every operation with the memory it read and wrote, and does the same again.

So what a graph would freeze, such as a number that Python computed or an array that was replaced, is frozen here too.
"""

from contextlib import nullcontext
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Notes operations on tensors. What they brought forth is spoiled before a replay, which has to write it anew."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {memory(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        self.notes.append((func, args, kwargs or {}, result, memory(result) not in given))
        return result

    def replay(self):
        for *_, result, is_new in self.notes:
            if is_new:
                result.fill_(torch.nan if result.is_floating_point() else 1)
        for func, args, kwargs, into, _ in self.notes:
            result = func(*args, **kwargs)
            unwritten = "empty" in func.__name__
            if memory(result) != memory(into) and not unwritten:  # neither a view nor in place
                into.copy_(result)


def memory(x):
    """Where the numbers of a tensor are."""
    return x.untyped_storage().data_ptr()


def tape(function):
    with Tape() as notes:
        result = function()
    return result, notes.replay


class GraphOnTape:
    """A CUDAGraph, as far as `torch.cuda.graph` and a replay ask for it."""

    invalid = False
    """Whether the capture fails at its end."""

    def capture_begin(self, pool, **options):
        Cuda.underway.add(pool)
        self._tape, self._pool = Tape(), pool
        self._tape.__enter__()

    def capture_end(self):
        """As in torch, an invalid capture raises before the allocator learns that it is over."""
        self._tape.__exit__(None, None, None)
        if self.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        Cuda.underway.remove(self._pool)

    def replay(self):
        self._tape.replay()


class Stream:
    def wait_stream(self, other):
        pass


class Cuda:
    """Plays torch.cuda, as far as recording asks for it; `stream` is the current one."""

    underway = set()
    """Pools of captures of which the allocator does not know that they are over."""

    def __init__(self, monkeypatch, graph=GraphOnTape):
        self.stream, self.devices = Stream(), []
        Cuda.underway.clear()
        replaced = {"Stream": Stream, "stream": partial(On, self), "current_stream": lambda: self.stream}
        replaced |= {"CUDAGraph": graph, "device": self._device, "synchronize": int, "empty_cache": self._empty_cache}
        replaced |= {"graph_pool_handle": object, "current_device": int}
        for name, fake in replaced.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        for name, fake in {
            "_host_emptyCache": int,
            "_cuda_endAllocateToPool": lambda device, pool: self.underway.discard(pool),
            "_cuda_releasePool": lambda device, pool: None,
        }.items():
            monkeypatch.setattr(torch._C, name, fake, raising=False)

    def _empty_cache(self):
        """What a capture begins with."""
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    def _device(self, device):
        self.devices.append(device)
        return nullcontext()


class On:
    """Makes another stream the current one."""

    def __init__(self, cuda, stream):
        self._cuda, self._stream = cuda, stream

    def __enter__(self):
        self._before, self._cuda.stream = self._cuda.stream, self._stream

    def __exit__(self, *error):
        self._cuda.stream = self._before
