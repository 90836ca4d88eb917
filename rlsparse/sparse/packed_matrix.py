"""Matrices that store only present entries, and products with them that skip the rest.

Activations are stored feature by feature, the samples of a feature side by side: a weight then adds a multiple of one
contiguous row to another, which is fast on processors. Compiled by numba, which is an optional extra.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module

import numpy as np

from rlsparse.errors import BROKEN, in_one_line

log = logging.getLogger(__name__)

Kernel = Callable[..., None]

TILE = 256
"""Number of samples in one block, so that the rows of a layer stay in the cache."""


@cache
def can_multiply() -> bool:
    """Whether the compiler of these products is installed, and works with the installed numpy."""
    try:
        import_module("numba")
    except ModuleNotFoundError:
        return False
    except BROKEN as error:
        log.warning("numba fails and is not used, so sparse networks train slower: %s", in_one_line(error))
        return False
    return True


@dataclass(frozen=True)
class Pattern:
    """The places of the k present entries of each of S matrices [S, in, out], column by column.

    `starts` [S, out + 1]: where each column begins and, last, where all end; `rows` [S, k]: the row of every entry;
    `order` [S, k]: the index of its value.
    """

    starts: np.ndarray
    rows: np.ndarray
    order: np.ndarray
    height: int
    """Number of rows."""

    @classmethod
    def of(cls, active: np.ndarray) -> "Pattern":
        """Find the entries of active [S, in, out] bool, equally many for every member; stored column by column."""
        members, height, _ = active.shape
        rows = np.nonzero(active.mT)[2].reshape(members, -1).astype(np.int32)
        order = np.tile(np.arange(rows.shape[1], dtype=np.int32), (members, 1))
        return cls(_starts(active.sum(1)), rows, order, height)

    @cached_property
    def mT(self) -> "Pattern":
        """The pattern of the transposed matrices, with the values in the same places."""
        by_row = np.argsort(self.rows, axis=1, kind="stable").astype(np.int32)
        counts = np.stack([np.bincount(own, minlength=self.height) for own in self.rows])
        order = np.take_along_axis(self.order, by_row, 1)
        return Pattern(_starts(counts), np.take_along_axis(self.columns, by_row, 1), order, self.starts.shape[1] - 1)

    @cached_property
    def columns(self) -> np.ndarray:
        """The column of every entry, [S, k]."""
        counts = np.diff(self.starts)
        return np.stack([np.repeat(np.arange(len(own), dtype=np.int32), own) for own in counts])

    @cached_property
    def places(self) -> np.ndarray:
        """Where every entry lies in its matrix, row by row, [S, k]."""
        return self.rows * (self.starts.shape[1] - 1) + self.columns


def _starts(counts: np.ndarray) -> np.ndarray:
    starts = np.zeros((len(counts), counts.shape[1] + 1), np.int32)
    np.cumsum(counts, axis=1, out=starts[:, 1:])
    return starts


class PackedMatrix:
    """S sparse matrices [S, in, out]; `values` [S, k] are live, in the order of the pattern.

    `total` [S, in, out], if given, sums the written gradients, including absent entries.
    """

    __array_ufunc__ = None  # tells numpy to call __rmatmul__ for x @ matrix

    def __init__(self, pattern: Pattern, values: np.ndarray) -> None:
        self.pattern, self.values = pattern, values
        self.total: np.ndarray | None = None

    @property
    def mT(self) -> "PackedMatrix":
        """The transposed matrices, with the same live values."""
        return PackedMatrix(self.pattern.mT, self.values)

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        """Return x [S, B, in] times the matrices, [S, B, out], stored feature by feature in memory."""
        pattern = self.pattern
        out = np.empty((len(x), pattern.starts.shape[1] - 1, x.shape[1]), np.float32)
        kernels()[0](_by_feature(x), pattern.starts, pattern.rows, pattern.order, self.values, out)
        return out.mT

    def write_gradient(self, x: np.ndarray, delta: np.ndarray) -> None:
        """Write the present entries of x^T delta into the values; x [S, B, in], delta [S, B, out]."""
        if self.total is None:
            kernels()[1](_by_feature(x), _by_feature(delta), self.pattern.starts, self.pattern.rows, self.values)
            return
        whole = np.matmul(x.mT, delta)
        self.total += whole
        self.values[...] = np.take_along_axis(whole.reshape(len(whole), -1), self.pattern.places, 1)

    def write_scores(self, x: np.ndarray, delta: np.ndarray) -> None:
        """Write the present entries of each sample's outer product into values [S, B, k]."""
        rows, columns = self.pattern.rows[:, None], self.pattern.columns[:, None]
        np.multiply(np.take_along_axis(x, rows, 2), np.take_along_axis(delta, columns, 2), out=self.values)


def _by_feature(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.mT)


@cache
def kernels() -> tuple[Kernel, Kernel]:
    """Compile, or load from the cache, the functions for products and for entries of outer products."""
    from numba import njit

    kept = njit(fastmath={"reassoc", "contract"}, cache=True)
    try:
        return kept(_multiply), kept(_outer)
    except RuntimeError:  # no folder for compiled code
        anew = njit(fastmath={"reassoc", "contract"})
        return anew(_multiply), anew(_outer)


def _multiply(
    x: np.ndarray, starts: np.ndarray, rows: np.ndarray, order: np.ndarray, values: np.ndarray, out: np.ndarray
) -> None:
    """Write x times the matrices into out; x [S, in, B], out [S, out, B]. Four rows at a time: out is read less."""
    for s in range(len(out)):
        inputs, begin, row, place, weight = x[s], starts[s], rows[s], order[s], values[s]
        for first in range(0, out.shape[2], TILE):
            last = min(first + TILE, out.shape[2])
            for j in range(out.shape[1]):
                to = out[s, j][first:last]
                to[:] = 0
                k, end = begin[j], begin[j + 1]
                while k + 4 <= end:
                    w0, w1, w2, w3 = weight[place[k]], weight[place[k + 1]], weight[place[k + 2]], weight[place[k + 3]]
                    x0, x1 = inputs[row[k]][first:last], inputs[row[k + 1]][first:last]
                    x2, x3 = inputs[row[k + 2]][first:last], inputs[row[k + 3]][first:last]
                    for b in range(len(to)):
                        to[b] += w0 * x0[b] + w1 * x1[b] + w2 * x2[b] + w3 * x3[b]
                    k += 4
                while k < end:
                    w0, x0 = weight[place[k]], inputs[row[k]][first:last]
                    for b in range(len(to)):
                        to[b] += w0 * x0[b]
                    k += 1


def _outer(x: np.ndarray, delta: np.ndarray, starts: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Write the entries of x delta^T that the pattern has into values; x [S, in, B], delta [S, out, B]."""
    values[:] = 0
    for s in range(len(delta)):
        inputs, begin, row, to = x[s], starts[s], rows[s], values[s]
        for first in range(0, delta.shape[2], TILE):
            last = min(first + TILE, delta.shape[2])
            for j in range(delta.shape[1]):
                d = delta[s, j][first:last]
                k, end = begin[j], begin[j + 1]
                while k + 4 <= end:
                    x0, x1 = inputs[row[k]][first:last], inputs[row[k + 1]][first:last]
                    x2, x3 = inputs[row[k + 2]][first:last], inputs[row[k + 3]][first:last]
                    s0 = s1 = s2 = s3 = np.float32(0)
                    for b in range(len(d)):
                        s0 += x0[b] * d[b]
                        s1 += x1[b] * d[b]
                        s2 += x2[b] * d[b]
                        s3 += x3[b] * d[b]
                    to[k] += s0
                    to[k + 1] += s1
                    to[k + 2] += s2
                    to[k + 3] += s3
                    k += 4
                while k < end:
                    x0, s0 = inputs[row[k]][first:last], np.float32(0)
                    for b in range(len(d)):
                        s0 += x0[b] * d[b]
                    to[k] += s0
                    k += 1
