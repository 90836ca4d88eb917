"""Steps recorded once and replayed: on a GPU, launching their many small operations takes most of the time.

This is the one place that knows how recording works. A step can be recorded if it does the same to the same memory
every time: it changes arrays in place and never replaces them, reads no number to the host, and draws none.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rlsparse.learner.arrays import Array, namespace

Results = dict[str, Array]

Record = Callable[[Callable[[], list[Array]]], tuple[list[Array], Callable[[], None]]]
"""Records what a function does to memory; returns the memory of its results, and a function that replays it."""

WARM_UPS = 3

log = logging.getLogger(__name__)


def recorder(device: str) -> Record | None:
    """Return how steps on a device are recorded; None on a CPU, where there are no launches to save."""
    return partial(cuda_graph, device) if device.startswith("cuda") else None


def cuda_graph(device: str, function: Callable[[], list[Array]]) -> tuple[list[Array], Callable[[], None]]:
    """Record a function of tensors on a GPU as a CUDA graph, after warm-up calls in which libraries allocate memory.

    Source: PyTorch's notes on CUDA graphs, which require the warm-up calls and a separate stream.
    """
    import torch

    # A failed capture may leave torch on the side stream: the end of the outer block switches back.
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream()):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(beside)
        gc.collect()  # memory that is freed during a capture may break it
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=beside):  # torch's own stream for captures is on the first device
            results = function()
    return results, graph.replay


class Recorded:
    """A function of arrays of fixed shapes, recorded at its first call; it may change `changed`, in place.

    It must not depend on anything else that changes, nor read a number to the host, nor draw one. It returns arrays by
    name. The recording is tried at once: if it fails, or gives other results than the function, a warning says so and
    the function itself is called from then on. If `record` is None, the function is always called directly.
    """

    def __init__(self, function: Callable[..., Results], changed: Sequence[Array], record: Record | None) -> None:
        self._function, self._changed, self._record = function, changed, record
        self._inputs: list[Array] = []
        self._names: list[list[str]] = []
        self._results: list[Array] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Array) -> Results:
        """Return what the function returns for these inputs."""
        if self._record is None:
            return self._function(*inputs)
        if self._replay is None:
            return self._first(self._record, inputs)
        for own, x in zip(self._inputs, inputs, strict=True):
            assert own.shape == x.shape, f"recorded for {own.shape}, called with {x.shape}"
            own.copy_(x)
        self._replay()
        return self._copies()

    def _first(self, record: Record, inputs: Sequence[Array]) -> Results:
        """Call the function, then record it and check that the recording does the same."""
        self._inputs = copies(inputs)
        before = copies(self._changed)
        results = {name: x.clone() for name, x in self._function(*self._inputs).items()}
        after = copies(self._changed)
        overwrite(self._changed, before)
        try:
            self._results, self._replay = record(self._call)
            overwrite(self._changed, before)
            for x in self._results:
                x.zero_()  # the numbers there may not come from the recording
            self._replay()
            again = self._copies()
            alike = all(map(close, [*self._changed, *again.values()], [*after, *(results[name] for name in again)]))
            failure = None if alike else "it does not do what was recorded"
        except RuntimeError as error:
            failure = str(error)
        if failure is not None:
            log.warning("a step goes on unrecorded, which is slower: %s", failure)
            self._record, self._replay, self._results = None, None, []
        overwrite(self._changed, after)
        return results

    def _call(self) -> list[Array]:
        """Call the function; results of equal shape and type are stacked, so that one operation copies them."""
        results = self._function(*self._inputs)
        kinds: dict[object, list[str]] = {}
        for name, x in results.items():
            kinds.setdefault((x.shape, x.dtype), []).append(name)
        self._names = list(kinds.values())
        return [namespace(results[names[0]]).stack([results[name] for name in names]) for names in self._names]

    def _copies(self) -> Results:
        """Return copies of the results, which no replay overwrites."""
        pairs = zip(self._names, copies(self._results), strict=True)
        return {name: x for names, together in pairs for name, x in zip(names, together, strict=True)}


def copies(arrays: Iterable[Array]) -> list[Array]:
    """Return copies of the tensors."""
    return [x.clone() for x in arrays]


def overwrite(arrays: Iterable[Array], numbers: Iterable[Array]) -> None:
    """Write numbers into the memory of tensors."""
    for x, own in zip(arrays, numbers, strict=True):
        x.copy_(own)


def close(x: Array, y: Array) -> bool:
    """Whether two tensors are equal, except for the order of sums; waits for the device."""
    return bool(namespace(x).allclose(x.double(), y.double(), rtol=1e-3, atol=1e-6, equal_nan=True))
