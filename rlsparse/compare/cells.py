"""One arm in one environment: its seeds on the common range, their mean and IQM with intervals, their scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from rlsparse.compare import statistics
from rlsparse.compare.arms import Arms, Member
from rlsparse.compare.record import Axis, rising
from rlsparse.compare.statistics import Interval, mean_interval
from rlsparse.errors import RunDirectoryError, UsageError

SHORT = 0.9
"""A seed that stops before this share of where its siblings end has stopped early."""


FEWEST_POINTS, LEAST_SHARE = 3, 0.2
"""A common range of fewer points, or of a smaller share of what the longest curve has, is too small."""


@dataclass(frozen=True)
class Track:
    """One seed on the chosen axis."""

    arm: str
    member: Member
    x: np.ndarray
    y: np.ndarray
    why: str = ""
    """Why it is named and drawn, but not averaged; empty if it is."""

    @property
    def end(self) -> float:
        """Where it stops; minus infinity if it has no point."""
        return float(self.x[-1]) if len(self.x) else -np.inf

    @property
    def crash(self) -> str:
        """What ended it, if it did not end by itself."""
        log = self.member.log
        failed = log.state + (f" ({log.reason})" if log.reason else "") if log.state in ("failed", "killed") else ""
        return self.member.curve.broken or failed


@dataclass
class Cell:
    """One arm in one environment; arrays are over its n seeds, or [n, P] over points x [P]."""

    arm: str
    env: str
    seeds: list[int | None]
    x: np.ndarray
    returns: np.ndarray
    mean: Interval
    """Mean over seeds and the ends of its t interval, each [P]."""
    iqm: Interval
    """Interquartile mean over seeds and the ends of its interval, each [P]."""
    finals: np.ndarray
    """Mean of each seed's last 10 % of points."""
    summary: dict[str, Any]
    """The finals in numbers: what `describe` says."""
    areas: np.ndarray
    reached: np.ndarray
    """x at which each seed first reaches the threshold; infinity if it never does."""
    left_out: list[Track]
    spent: dict[str, float]
    """Mean steps per seed over the whole log: train, probe, eval, as far as known."""

    @property
    def n(self) -> int:
        """Seeds that are averaged."""
        return len(self.finals)

    @property
    def n_text(self) -> str:
        """`n=5`, or `n=4 of 5` if some stopped early."""
        return f"n={self.n}" + (f" of {self.n + len(self.left_out)}" if self.left_out else "")


@dataclass
class Panel:
    """One environment: the cells of all arms that ran there, on one common range."""

    env: str
    start: float
    end: float
    cells: dict[str, Cell]
    threshold: float
    remarks: list[str]
    warning: str
    """That the common range is too small to mean much, if it is."""


def panel(arms: Arms, env: str, axis: Axis, threshold: float | None) -> Panel:
    """Put all arms that ran in `env` on their common range.

    Raises RunDirectoryError if there is none, UsageError if a log does not know the axis.
    """
    tracks = {name: _tracks(name, by_env[env], axis) for name, by_env in arms.members.items() if env in by_env}
    longest = max((t.end for t in chain(*tracks.values()) if not t.crash), default=-np.inf)
    tracks = {name: _judged(those, longest) for name, those in tracks.items()}
    counted = [t for t in chain(*tracks.values()) if not t.why]
    if not counted:
        raise RunDirectoryError(f"no curve of {env} has a point")
    late, early = max(counted, key=lambda t: t.x[0]), min(counted, key=lambda t: t.end)
    start, end = float(late.x[0]), early.end
    if end < start:
        one, other = early.member.log.path, late.member.log.path
        hint = "; --join makes one run of pieces like these" if one.parent == other.parent else ""
        raise RunDirectoryError(
            f"the curves of {env} have no range in common: {one} ends at {end:,.0f}, {other} begins at {start:,.0f}"
            f"{hint}"
        )
    if threshold is None:
        finals = [[statistics.final_score(t.x, t.y, end) for t in those if not t.why] for those in tracks.values()]
        threshold = min(float(np.mean(x)) for x in finals if x)
    cells = {name: _cell(name, env, those, (start, end), threshold) for name, those in tracks.items()}
    remarks = _range_remarks(env, counted, start, early, axis.replace("train-", "training "))
    warning = _short_range(env, counted, start, end, axis.replace("train-", "training "))
    return Panel(env, start, end, cells, threshold, remarks + _member_remarks(env, tracks), warning)


def _tracks(arm: str, members: list[Member], axis: Axis) -> list[Track]:
    tracks = []
    for member in members:
        curve = member.curve
        if len(curve.returns) and axis not in curve.axes:
            known = ", ".join(curve.axes)
            raise UsageError(f"--x {axis}: {member.log.path} does not log it, only {known}")
        tracks.append(Track(arm, member, *rising(curve.axes.get(axis, np.array([])), curve.returns)))
    return tracks


def _judged(tracks: list[Track], longest: float) -> list[Track]:
    """Give each track that is not averaged its reason: it has no point, it crashed, or most of its siblings go on."""
    usual = float(np.median([t.end for t in tracks if len(t.x)] or [0.0]))
    return [replace(t, why=_why_left_out(t, usual, longest)) for t in tracks]


def _why_left_out(t: Track, usual: float, longest: float) -> str:
    """`usual` is where the arm's tracks end, `longest` where the last one of all arms ends that did not crash."""
    state, at = t.member.log.state, f"{t.end:,.0f}"
    if not len(t.x):
        return t.crash or "has no evaluation" + f", its run is {state}" * bool(state)
    if t.crash:
        return f"{t.crash} at {at}" if t.end < SHORT * longest else ""
    return f"{state or 'ends'} at {at}" if state != "finished" and t.end < SHORT * usual else ""


def _cell(arm: str, env: str, tracks: list[Track], common: tuple[float, float], threshold: float) -> Cell:
    counted = [t for t in tracks if not t.why]
    points = [(t.x, t.y) for t in counted]
    x, returns = statistics.align(points, *common) if points else (np.array(common), np.empty((0, 2)))
    finals = np.array([statistics.final_score(*xy, common[1]) for xy in points])
    spent = [t.member.curve.spent for t in counted]
    known = [name for name in ("train", "probe", "eval") if spent and all(name in one for one in spent)]
    return Cell(
        arm=arm,
        env=env,
        seeds=[t.member.curve.seed for t in counted],
        x=x,
        returns=returns,
        mean=_over_seeds(_t_interval, returns),
        iqm=_over_seeds(statistics.iqm_interval, returns),
        finals=finals,
        summary=describe(finals),
        areas=np.array([statistics.area(*xy, *common) for xy in points]),
        reached=np.array([statistics.first_reach(*xy, threshold, common[1]) for xy in points]),
        left_out=[t for t in tracks if t.why],
        spent={name: float(np.mean([one[name] for one in spent])) for name in known},
    )


def _over_seeds(interval: Callable[[np.ndarray], Interval], returns: np.ndarray) -> Interval:
    """The interval of returns [n, P]; NaN without a seed."""
    return interval(returns) if len(returns) else Interval(*np.full((3, returns.shape[1]), np.nan))


def _t_interval(returns: np.ndarray) -> Interval:
    mean, half_width = mean_interval(returns)
    return Interval(mean, mean - half_width, mean + half_width)


def describe(x: np.ndarray) -> dict[str, Any]:
    """Return n, mean, standard deviation, IQM, smallest, largest and the 95 % t interval of the mean of scores [n]."""
    if not len(x):
        return {"n": 0}
    mean, iqm = _t_interval(x), statistics.iqm_interval(x)
    return {
        "n": len(x),
        "mean": mean.estimate,
        "std": x.std(ddof=1) if len(x) > 1 else np.nan,
        "iqm": iqm.estimate,
        "min": x.min(),
        "max": x.max(),
        "low": mean.low,
        "high": mean.high,
        "iqm_low": iqm.low,
        "iqm_high": iqm.high,
        "iqm_interval": "bootstrap" if len(x) >= statistics.BOOTSTRAP_FROM else "t of the trimmed mean",
    }


def _range_remarks(env: str, counted: list[Track], start: float, shortest: Track, unit: str) -> list[str]:
    """State the common range and what was cut to get there."""
    remarks, longest = [], max(t.end for t in counted)
    if longest > shortest.end:
        remarks.append(
            f"{env} is compared up to {shortest.end:,.0f} {unit}, where {shortest.member.label} of {shortest.arm} "
            f"ends; what others have up to {longest:,.0f} is cut"
        )
    if start > min(t.x[0] for t in counted):
        remarks.append(f"{env} is compared from {start:,.0f} {unit} on, where the last curve begins")
    return remarks


def _short_range(env: str, counted: list[Track], start: float, end: float, unit: str) -> str:
    """Say that almost nothing is compared, where a short curve cuts the others to it."""
    begin, longest = min(float(t.x[0]) for t in counted), max(t.end for t in counted)
    points = min(int(np.sum((t.x >= start) & (t.x <= end))) for t in counted)
    cut = start > begin or end < longest
    if not cut or (points >= FEWEST_POINTS and end - start >= LEAST_SHARE * (longest - begin)):
        return ""
    many = {0: "NO POINT", 1: "ONE POINT"}.get(points, f"{points} POINTS")
    common = f"{start:,.0f}" if start == end else f"{start:,.0f} to {end:,.0f}"
    return f"on {env} the curves have {many} in common, {common} of {longest:,.0f} {unit}"


def _member_remarks(env: str, tracks: dict[str, list[Track]]) -> list[str]:
    """Name every seed that is not averaged, and every crashed one that is."""
    return [
        f"{t.arm} on {env}: {t.member.label} "
        + (f"{t.why}; it is not in the mean" if t.why else f"{t.crash} at {t.end:,.0f}")
        for t in chain(*tracks.values())
        if t.why or t.crash
    ]
