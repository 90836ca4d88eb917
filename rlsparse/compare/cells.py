"""One arm in one environment: its seeds on the common range, their mean and IQM with intervals, their scores."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlsparse.compare.arms import Arms, Member
from rlsparse.compare.interval import mean_interval
from rlsparse.compare.record import Axis, rising
from rlsparse.compare.shape import align, area, final_score, first_reach
from rlsparse.compare.statistics import BOOTSTRAP_FROM, Interval, iqm_interval
from rlsparse.errors import RunDirectoryError, UsageError

SHORT = 0.9
"""A seed that stops before this share of where its siblings end has stopped early."""

LEAST_SEEDS_FOR_FIGURE = 5
"""With fewer, a figure is a smoke check and says so."""


@dataclass(frozen=True)
class LeftOut:
    """A seed that is named and drawn, but not averaged."""

    label: str
    why: str
    x: np.ndarray
    y: np.ndarray


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
    left_out: list[LeftOut]
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
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Track:
    """One member on the chosen axis."""

    arm: str
    member: Member
    x: np.ndarray
    y: np.ndarray

    @property
    def end(self) -> float:
        return float(self.x[-1]) if len(self.x) else -np.inf


def panel(arms: Arms, env: str, axis: Axis, threshold: float | None) -> Panel:
    """Put all arms that ran in `env` on their common range.

    Raises RunDirectoryError if there is none, UsageError if a log does not know the axis.
    """
    tracks = {name: _tracks(name, by_env[env], axis) for name, by_env in arms.members.items() if env in by_env}
    reasons = _early_stops(tracks)
    complete = {name: [t for t in those if id(t) not in reasons] for name, those in tracks.items()}
    counted = [t for those in complete.values() for t in those]
    if not counted:
        raise RunDirectoryError(f"no curve of {env} has a point")
    start, end = max(float(t.x[0]) for t in counted), min(t.end for t in counted)
    if end < start:
        early, late = min(counted, key=lambda t: t.end), max(counted, key=lambda t: t.x[0])
        raise RunDirectoryError(
            f"the curves of {env} have no range in common: {early.member.log.path} ends at {early.end:,.0f}, "
            f"{late.member.log.path} begins at {late.x[0]:,.0f}"
        )
    finals = {name: np.array([final_score(t.x, t.y, end) for t in those]) for name, those in complete.items()}
    if threshold is None:
        threshold = min(float(x.mean()) for x in finals.values() if len(x))
    cells = {
        name: _cell(name, env, complete[name], _left_out(tracks[name], reasons), finals[name], start, end, threshold)
        for name in tracks
    }
    remarks = _range_remarks(env, counted, start, end, axis) + _member_remarks(env, tracks, reasons)
    return Panel(env, start, end, cells, threshold, remarks)


def _tracks(arm: str, members: list[Member], axis: Axis) -> list[_Track]:
    tracks = []
    for member in members:
        curve = member.curve
        if len(curve.returns) and axis not in curve.axes:
            known = ", ".join(curve.axes)
            raise UsageError(f"--x {axis}: {member.log.path} does not log it, only {known}")
        x, y = rising(curve.axes[axis], curve.returns) if len(curve.returns) else (np.array([]), np.array([]))
        tracks.append(_Track(arm, member, x, y))
    return tracks


def _early_stops(tracks: dict[str, list[_Track]]) -> dict[int, str]:
    """Why a track is not averaged, by its id: it has no point, it crashed, or most of its siblings go on."""
    everyone = [t for those in tracks.values() for t in those]
    healthy = [t.end for t in everyone if not _crash(t) and len(t.x)]
    reasons = {}
    for those in tracks.values():
        usual = float(np.median([t.end for t in those if len(t.x)] or [0.0]))
        for t in those:
            crash, at = _crash(t), f"{t.end:,.0f}"
            if not len(t.x):
                reasons[id(t)] = crash or "has no evaluation" + (
                    f", its run is {t.member.log.state}" * bool(t.member.log.state)
                )
            elif crash and healthy and t.end < SHORT * max(healthy):
                reasons[id(t)] = f"{crash} at {at}"
            elif not crash and t.member.log.state != "finished" and t.end < SHORT * usual:
                reasons[id(t)] = f"{t.member.log.state or 'ends'} at {at}"
    return reasons


def _crash(t: _Track) -> str:
    log = t.member.log
    if t.member.curve.broken:
        return t.member.curve.broken
    if log.state in ("failed", "killed"):
        return log.state + (f" ({log.reason})" if log.reason else "")
    return ""


def _left_out(tracks: list[_Track], reasons: dict[int, str]) -> list[LeftOut]:
    return [LeftOut(t.member.label, reasons[id(t)], t.x, t.y) for t in tracks if id(t) in reasons]


def _cell(
    arm: str,
    env: str,
    tracks: list[_Track],
    left_out: list[LeftOut],
    finals: np.ndarray,
    start: float,
    end: float,
    threshold: float,
) -> Cell:
    points = [(t.x, t.y) for t in tracks]
    if points:
        x, returns = align(points, start, end)
    else:
        x, returns = np.array([start, end]), np.empty((0, 2))
    return Cell(
        arm=arm,
        env=env,
        seeds=[t.member.curve.seed for t in tracks],
        x=x,
        returns=returns,
        mean=_mean_interval(returns),
        iqm=iqm_interval(returns) if len(returns) else _nothing(x),
        finals=finals,
        summary=describe(finals),
        areas=np.array([area(*xy, start, end) for xy in points]),
        reached=np.array([first_reach(*xy, threshold, end) for xy in points]),
        left_out=left_out,
        spent=_mean_spent(tracks),
    )


def _nothing(x: np.ndarray) -> Interval:
    nothing = np.full(x.shape, np.nan)
    return nothing, nothing, nothing


def _mean_interval(returns: np.ndarray) -> Interval:
    if not len(returns):
        return _nothing(returns[:0].sum(0))
    mean, half_width = mean_interval(returns)
    return mean, mean - half_width, mean + half_width


def _mean_spent(tracks: list[_Track]) -> dict[str, float]:
    spent = [t.member.curve.spent for t in tracks]
    names = [name for name in ("train", "probe", "eval") if spent and all(name in x for x in spent)]
    return {name: float(np.mean([x[name] for x in spent])) for name in names}


def _range_remarks(env: str, counted: list[_Track], start: float, end: float, axis: Axis) -> list[str]:
    """State the common range and what was cut to get there."""
    unit = {"steps": "steps", "train-steps": "training steps", "updates": "updates", "seconds": "seconds"}[axis]
    longest, shortest = max(t.end for t in counted), min(counted, key=lambda t: t.end)
    remarks = []
    if longest > end:
        remarks.append(
            f"{env} is compared up to {end:,.0f} {unit}, where {shortest.member.label} of {shortest.arm} "
            f"ends; what others have up to {longest:,.0f} is cut"
        )
    first = min(float(t.x[0]) for t in counted)
    if start > first:
        remarks.append(f"{env} is compared from {start:,.0f} {unit} on, where the last curve begins")
    return remarks


def _member_remarks(env: str, tracks: dict[str, list[_Track]], reasons: dict[int, str]) -> list[str]:
    """Name every seed that is not averaged, and every crashed one that is."""
    remarks = []
    for name, those in tracks.items():
        for t in those:
            if id(t) in reasons:
                remarks.append(f"{name} on {env}: {t.member.label} {reasons[id(t)]}; it is not in the mean")
            elif _crash(t):
                remarks.append(f"{name} on {env}: {t.member.label} {_crash(t)} at {t.end:,.0f}")
    return remarks


def describe(x: np.ndarray) -> dict[str, Any]:
    """Return n, mean, standard deviation, IQM, smallest, largest and the 95 % t interval of the mean of scores [n]."""
    if not len(x):
        return {"n": 0}
    mean, half_width = mean_interval(x)
    iqm, iqm_low, iqm_high = iqm_interval(x)
    return {
        "n": len(x),
        "mean": float(mean),
        "std": float(x.std(ddof=1)) if len(x) > 1 else float("nan"),
        "iqm": float(iqm),
        "min": float(x.min()),
        "max": float(x.max()),
        "low": float(mean - half_width),
        "high": float(mean + half_width),
        "iqm_low": float(iqm_low),
        "iqm_high": float(iqm_high),
        "iqm_interval": "bootstrap" if len(x) >= BOOTSTRAP_FROM else "t of the trimmed mean",
    }
