"""Logs that belong together: pieces of one run, to be joined, and one training that was logged twice."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from rlsparse.compare.find import natural
from rlsparse.compare.origin import origin_of
from rlsparse.compare.record import Axes, Curve, Log

LEAST_AGREEMENT = 0.9
"""The share of the points of one log that lie on the curve of the other, where both are of one training."""

FEWEST_VALUES = 5
"""Fewer different values may agree by chance."""

BEHIND = 0.8
"""A monitor counts the steps of finished episodes alone; so far it may be behind what others count."""

PRECISION = 1e-5
"""Some logs keep numbers with 32 bits."""


def join_pieces(logs: Sequence[Log]) -> list[Log]:
    """Join logs of one folder of which one begins after the steps at which another ended; each says so."""
    runs: list[list[Log]] = []
    for log in sorted(logs, key=lambda log: (log.span or (np.inf, np.inf), natural(log.path))):
        before = next((pieces for pieces in reversed(runs) if goes_on(pieces[-1], log)), None)
        if before:
            before.append(log)
        else:
            runs.append([log])
    place = {id(log): i for i, log in enumerate(logs)}
    runs.sort(key=lambda pieces: place[id(pieces[0])])
    return [_joined(pieces) if len(pieces) > 1 else pieces[0] for pieces in runs]


def goes_on(before: Log, log: Log) -> bool:
    """Whether a log may be the next piece of the run of another."""
    if not all(len(x.curves) == 1 and len(x.curves[0].returns) for x in (before, log)):
        return False
    a, b = ((x.path.parent, x.kind, x.env, x.measure, x.curves[0].seed) for x in (before, log))
    return a == b and bool(log.curves[0].axes["steps"][0] > before.curves[0].axes["steps"][-1])


def _joined(pieces: list[Log]) -> Log:
    """One log of all pieces; clocks and numbers of updates begin again in each."""
    first, curves = pieces[0], [piece.curves[0] for piece in pieces]
    axes: Axes = {}
    for name in (name for name in curves[0].axes if all(name in curve.axes for curve in curves)):
        parts, before = [], 0.0
        for part in (curve.axes[name] for curve in curves):
            parts.append(part + (before if part[0] < before else 0.0))
            before = float(parts[-1][-1])
        axes[name] = np.concatenate(parts)
    agents = {piece.agent for piece in pieces}
    ranges = ", ".join(f"{piece.path} (to {piece.curves[0].axes['steps'][-1]:,.0f})" for piece in pieces)
    return replace(
        first,
        agent=first.agent if len(agents) == 1 else origin_of(first.path.parent).agent,
        curves=(Curve(curves[0].seed, axes, np.concatenate([x.returns for x in curves]), curves[-1].spent),),
        remarks=(f"joined as one run: {ranges}", *(text for piece in pieces for text in piece.remarks)),
    )


def each_training_once(logs: Sequence[Log]) -> tuple[list[Log], list[str]]:
    """Leave out what another log holds too that a different program wrote, and say so.

    Of two logs of one training, that which knows its seed stays, else that of more points.
    """
    left_out: dict[int, str] = {}
    for a, b in combinations(sorted(logs, key=_knowledge, reverse=True), 2):
        if id(a) not in left_out and id(b) not in left_out and _are_of_one_training(a, b):
            left_out[id(b)] = f"{b.path} ({b.kind}) is of the same training as {a.path} ({a.kind}) and counts once"
    return [log for log in logs if id(log) not in left_out], list(left_out.values())


def _knowledge(log: Log) -> tuple[bool, int]:
    return any(x.seed is not None for x in log.curves), sum(len(x.returns) for x in log.curves)


def _are_of_one_training(a: Log, b: Log) -> bool:
    if a.kind == b.kind or a.measure != b.measure or None not in (a.env, b.env) and a.env != b.env:
        return False
    if a.span and b.span and (a.span[1] < b.span[0] or b.span[1] < a.span[0]):
        return False
    return len(a.curves) == len(b.curves) == 1 and _agree(a.curves[0], b.curves[0])


def _agree(a: Curve, b: Curve) -> bool:
    """Whether almost all points of the curve with fewer of them are on the other, at about the same steps."""
    few, many = sorted((a, b), key=lambda curve: len(curve.returns))
    if not len(few.returns):
        return False
    x, at = few.axes["steps"], many.axes["steps"]
    inside = (x >= at[0]) & (x * BEHIND <= at[-1])
    y = few.returns[inside]
    first, last = (np.searchsorted(at, edge, "right") for edge in (BEHIND * x[inside], x[inside]))
    near = PRECISION * np.maximum(1, np.abs(y))
    found = [
        bool((np.abs(many.returns[max(0, i - 1) : j] - value) <= close).any())
        for i, j, value, close in zip(first, last, y, near, strict=True)
    ]
    different = len(np.unique(y[found])) if found else 0
    return different >= FEWEST_VALUES and sum(found) >= LEAST_AGREEMENT * len(found)
