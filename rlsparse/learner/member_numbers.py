"""One number for each of S members that are trained together, which formulas read as if it were a Python float.

Between numbers arithmetic is that of Python floats, member by member. With an array each number is rounded to the
array's precision, as a Python float is, and meets the rows of its own member. So a member's bits are those of a run
with its number alone.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from numbers import Real
from typing import Any

import numpy as np

from rlsparse.learner.arrays import Array, namespace, to_device


def _both(function: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return an operator's method and the reflected one; arrays take care of themselves."""

    def method(self: "MemberNumbers", other: Any) -> Any:
        return _of_numbers(function, self, other) if _is_number(other) else NotImplemented

    def reflected(self: "MemberNumbers", other: Any) -> Any:
        return _of_numbers(function, other, self) if _is_number(other) else NotImplemented

    return method, reflected


@dataclass(frozen=True)
class MemberNumbers:
    """One number for each member, [S]; equal and hashable like the tuple of them.

    The member axis of an array with one axis is that one, [S]; else it is the last but one: [S, B], [T, S, N]. Raises
    ValueError where an array has another number of members, and TypeError where one number for all is needed.
    """

    numbers: tuple[float, ...]

    __add__, __radd__ = _both(operator.add)
    __sub__, __rsub__ = _both(operator.sub)
    __mul__, __rmul__ = _both(operator.mul)
    __truediv__, __rtruediv__ = _both(operator.truediv)
    __pow__, __rpow__ = _both(operator.pow)

    def __neg__(self) -> "MemberNumbers":
        """Change the sign of all."""
        return _of_numbers(operator.neg, self)

    def __len__(self) -> int:
        """S."""
        return len(self.numbers)

    def __bool__(self) -> bool:
        """Refuse: the answer may differ between members."""
        raise TypeError("numbers that differ between members are no condition")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Refuse: nothing says which axis would be that of the members."""
        raise TypeError("numbers that differ between members are no array: an operator combines them with one")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Call a function of numpy in which these numbers meet arrays, or other numbers."""
        if method != "__call__":
            return NotImplemented
        arrays = [x for x in inputs if isinstance(x, np.ndarray) and x.ndim]
        if not arrays:
            return _of_numbers(ufunc, *inputs)
        if ufunc is np.power:
            return _power(*inputs, **options)
        dtype = np.result_type(*arrays, 0.0)
        return ufunc(*(_laid_out(x, arrays, dtype, "cpu") for x in inputs), **options)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, inputs: Sequence[Any] = (), options: Any = None
    ) -> Any:
        """Call a function of torch in which these numbers meet tensors."""
        import torch

        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        if function.__name__ == "pow":
            return _power(*inputs)
        dtype, device = torch.result_type(tensors[0], 0.0), str(tensors[0].device)
        if function is torch.clip:  # its limits must be tensors both, if one is
            members = max(len(x) for x in inputs if isinstance(x, MemberNumbers))
            inputs = [MemberNumbers((float(x),) * members) if isinstance(x, Real) else x for x in inputs]
        return function(*(_laid_out(x, tensors, dtype, device) for x in inputs), **(options or {}))


def _is_number(x: Any) -> bool:
    return isinstance(x, Real | MemberNumbers)


@lru_cache(maxsize=1024)
def _of_numbers(function: Callable[..., Any], *inputs: Any) -> MemberNumbers:
    """Call a function of Python floats for each member; formulas ask for the same again in every minibatch."""
    sizes = {len(x) for x in inputs if isinstance(x, MemberNumbers)}
    if len(sizes) > 1:
        raise ValueError(f"numbers of {' and of '.join(map(str, sorted(sizes)))} members do not go together")
    rows = [x.numbers if isinstance(x, MemberNumbers) else (float(x),) * max(sizes) for x in inputs]
    return MemberNumbers(tuple(float(function(*own)) for own in zip(*rows, strict=True)))


def _power(base: Array, exponent: Any, **options: Any) -> Array:
    """Return base ** exponent, member by member: to square, for example, is not rounded as other powers are."""
    if not isinstance(exponent, MemberNumbers) or options:
        raise TypeError("of a power the exponent may differ between members, the base may not")
    axis = _axis([base], len(exponent))
    member = (slice(None),) * axis
    rows = [base[(*member, slice(s, s + 1))] ** x for s, x in enumerate(exponent.numbers)]
    return namespace(base).concatenate(rows, axis)


def _axis(arrays: Sequence[Array], members: int) -> int:
    """Return the member axis of arrays that meet in a formula; raises ValueError if it has another length."""
    shape = max((tuple(x.shape) for x in arrays), key=len)
    axis = max(len(shape) - 2, 0)
    if shape[axis] != members:
        raise ValueError(f"numbers of {members} members meet an array of shape {shape}: expected that at axis {axis}")
    return axis


def _laid_out(x: Any, arrays: Sequence[Array], dtype: Any, device: str) -> Any:
    """Return member numbers as an array that fits the others; anything else as it is."""
    if not isinstance(x, MemberNumbers):
        return x
    _axis(arrays, len(x))
    return _array(x.numbers, max(array.ndim for array in arrays) > 1, dtype, device)


@cache
def _array(numbers: tuple[float, ...], column: bool, dtype: Any, device: str) -> Array:
    """Return the numbers as [S] or [S, 1]; made once, so that recorded steps copy nothing from the host."""
    rounded = np.array(numbers, np.float64).reshape((-1, 1) if column else -1)
    if isinstance(dtype, np.dtype):
        rounded = rounded.astype(dtype)
        rounded.flags.writeable = False
        return rounded
    return to_device(rounded, "cpu:0" if device == "cpu" else device).to(dtype)
