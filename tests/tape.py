"""A tape plays the CUDA graph: it notes every operation with the memory it read and wrote, and does the same again.

So what a graph would freeze, such as a number that Python computed or an array that was replaced, is frozen here too.
"""

from contextlib import nullcontext
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Tape(TorchDispatchMode):
    """Notes operations on tensors."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.notes.append((func, args, kwargs or {}, result))
        return result

    def replay(self):
        for func, args, kwargs, into in self.notes:
            result = func(*args, **kwargs)
            if result.untyped_storage().data_ptr() != into.untyped_storage().data_ptr():  # neither a view nor in place
                into.copy_(result)


def tape(function):
    with Tape() as notes:
        result = function()
    return result, notes.replay


class GraphOnTape:
    """A CUDAGraph, as far as `torch.cuda.graph` and a replay ask for it."""

    def capture_begin(self, **options):
        self._tape = Tape()
        self._tape.__enter__()

    def capture_end(self):
        self._tape.__exit__(None, None, None)

    def replay(self):
        self._tape.replay()


class Stream:
    def wait_stream(self, other):
        pass


class Cuda:
    """Plays torch.cuda, as far as recording asks for it; `stream` is the current one."""

    def __init__(self, monkeypatch, graph=GraphOnTape):
        self.stream, self.devices = Stream(), []
        replaced = {"Stream": Stream, "stream": partial(On, self), "current_stream": lambda: self.stream}
        replaced |= {"CUDAGraph": graph, "device": self._device, "synchronize": int, "empty_cache": int}
        for name, fake in replaced.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch._C, "_host_emptyCache", int, raising=False)

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
