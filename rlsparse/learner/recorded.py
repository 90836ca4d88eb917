"""Steps recorded once and replayed: on a GPU, launching their many small operations takes most of the time.

This is the one place that knows how recording works. A step can be recorded if it does the same to the same memory
every time: it changes arrays in place and never replaces them, reads no number to the host, and draws none.
"""

import gc
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from rlsparse.learner.arrays import Array, namespace

Results = dict[str, Array]

Record = Callable[[Callable[[], list[Array]]], tuple[list[Array], Callable[[], None]]]
"""Records what a function does to memory; returns the memory of its results, and a function that replays it."""

WARM_UPS = 3

SWITCH = "RLSPARSE_RECORD"
"""Environment variable: 0 records nothing, `physics` the steps of the simulator alone."""

TOLERANCE = 1e-3
"""Largest difference between a replay and the function, as a share of the largest number of the tensor."""

log = logging.getLogger(__name__)


def recorder(device: str) -> Record | None:
    """Return how steps on a device are recorded; None on a CPU, where there are no launches to save."""
    return partial(cuda_graph, device) if device.startswith("cuda") and SWITCH not in os.environ else None


def records_physics() -> bool:
    """Whether steps of the simulator are recorded."""
    return os.environ.get(SWITCH) != "0"


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage now, and none inside: memory that is freed during a capture may break it."""
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


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
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        # torch's own stream for captures is on the first device
        capture = torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local")
        try:
            with no_collection(), capture:
                results = function()
        except BaseException as error:
            abandon(torch.cuda.current_device(), pool)
            raise first_cause(error) from None
    return results, graph.replay


def abandon(device: int, pool: Any) -> None:
    """Tell torch's allocator that a capture into a pool has failed: else no later capture could begin."""
    import torch

    for end in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        with suppress(AttributeError, RuntimeError):
            getattr(torch._C, end)(device, pool)


def first_cause(error: BaseException) -> BaseException:
    """Return what was raised first: the end of a failed capture raises an error of its own in its place."""
    while error.__context__ is not None:
        error = error.__context__
    return error


class Recorded:
    """A function of arrays of fixed shapes, recorded at its first call; it may change `changed`, in place.

    It must not depend on anything else that changes, nor read a number to the host, nor draw one. It returns arrays by
    name. The recording is tried at once, with these inputs and with others: if it fails, or gives other results than
    the function, a warning says so and the function itself is called from then on. If `record` is None, the function is
    always called directly.
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
        self._inputs, before = copies(inputs), copies(self._changed)
        results, after = self._tried(self._direct, inputs, before)
        try:
            overwrite(self._changed, before)
            self._results, self._replay = record(self._call)
            gaps = [self._gap(trial, before) for trial in (inputs, [turned(x) for x in inputs])]
            log.debug("a recorded step differs by %s", gaps)
            failure = None if max(gaps) <= TOLERANCE else f"it does not do what was recorded, by {max(gaps):.0e}"
        except RuntimeError as error:
            failure = str(error)
        if failure is not None:
            log.warning("a step goes on unrecorded, which is slower: %s", failure)
            self._record, self._replay, self._results = None, None, []
        overwrite(self._changed, after)
        return results

    def _tried(
        self, run: Callable[[], Results], inputs: Sequence[Array], before: Sequence[Array]
    ) -> tuple[Results, list[Array]]:
        """Run from a state with these inputs; return copies of the results, and of what has changed."""
        overwrite(self._inputs, inputs)
        overwrite(self._changed, before)
        return {name: x.clone() for name, x in run().items()}, copies(self._changed)

    def _gap(self, inputs: Sequence[Array], before: Sequence[Array]) -> float:
        """Return by how much a replay differs from the function, as a share of the numbers."""
        wanted, after = self._tried(self._direct, inputs, before)
        found, changed = self._tried(self._replayed, inputs, before)
        return max(map(gap, [*changed, *found.values()], [*after, *(wanted[name] for name in found)]), default=0.0)

    def _direct(self) -> Results:
        return self._function(*self._inputs)

    def _replayed(self) -> Results:
        assert self._replay is not None
        for x in self._results:
            x.zero_()  # the numbers there may not come from the recording
        self._replay()
        return self._copies()

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


def turned(x: Array) -> Array:
    """Return a tensor whose numbers are in other places, along its longest axis."""
    return x.roll(1, max(range(x.ndim), key=lambda axis: x.shape[axis])) if x.ndim else x


def gap(x: Array, y: Array) -> float:
    """Largest difference of two tensors as a share of the largest finite number of the second; waits for the device."""
    x, y = x.double(), y.double()
    same = (x == y) | (x.isnan() & y.isnan())
    if bool(same.all()):
        return 0.0
    finite = y.isfinite()
    size = float((y.abs() * finite).nan_to_num(0.0).max()) + 1e-9
    apart = float((x - y).abs().masked_fill(same, 0.0).nan_to_num(math.inf).max())
    return apart / size
