"""Steps of an update recorded once and replayed: on a GPU, launching their many small operations takes the longest."""

from collections.abc import Callable, Sequence

from rlsparse.arrays import Array, namespace

Record = Callable[[Callable[[], Array]], tuple[Array, Callable[[], None]]]
"""Records what a function does to memory; returns where its result will lie, and what does all of it again."""

WARM_UPS = 3


def cuda_graph(function: Callable[[], Array]) -> tuple[Array, Callable[[], None]]:
    """Record a function of tensors on a GPU as a CUDA graph, after calls that let libraries take what they need.

    Source: PyTorch's notes on CUDA graphs, which ask for the calls and for a stream of their own.
    """
    import torch

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return result, graph.replay


class Recorded:
    """A function of arrays of fixed shapes, recorded at its first call; it may change `changed`, in place.

    It must not depend on anything else that changes, nor ask for a number. `function` returns named arrays [S].
    """

    def __init__(self, function: Callable[..., dict[str, Array]], changed: Sequence[Array], record: Record) -> None:
        self._function, self._changed, self._record = function, changed, record
        self._inputs: list[Array] = []
        self._names: list[str] = []
        self._result: Array = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Array) -> dict[str, Array]:
        """Return what the function returns for these inputs."""
        if self._replay is None:
            self._inputs = [x.clone() for x in inputs]
            before = [x.clone() for x in self._changed]
            self._result, self._replay = self._record(self._call)
            for x, own in zip(self._changed, before, strict=True):
                x.copy_(own)
        for own, x in zip(self._inputs, inputs, strict=True):
            own.copy_(x)
        self._replay()
        return dict(zip(self._names, self._result.clone(), strict=True))

    def _call(self) -> Array:
        result = self._function(*self._inputs)
        self._names = list(result)
        return namespace(self._inputs[0]).stack(list(result.values()))
