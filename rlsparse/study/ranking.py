"""Which arm and setting did best in each environment, by the mean over seeds of the last evaluations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.compare.statistics import mean_interval
from rlsparse.study.standing import Standing
from rlsparse.study.table import returns_text


@dataclass(frozen=True)
class Ranked:
    """What an arm with a setting has come to in an environment: all of its seeds that are finished."""

    label: str
    """Arm and setting in a few words."""
    arm: str
    environment: str
    setting: dict[str, Any] = field(hash=False)
    """Value of each swept field, by dotted name."""
    seeds: tuple[int, ...]
    returns: tuple[float, ...]
    """Of the last evaluation of each seed."""
    folders: tuple[Path, ...]
    """Its run directories, as `rlsparse.load`, `rlsparse.compare` and `rlsparse.train(like=...)` take them."""

    @property
    def mean(self) -> float:
        """Mean return over seeds; of the best of many it is a maximum, and so too high."""
        return float(np.mean(self.returns))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, NaN for fewer than 3 seeds; it does not know of how many this is the best."""
        mean, half_width = map(float, mean_interval(np.array(self.returns)))
        return mean - half_width, mean + half_width

    def __str__(self) -> str:
        return f"{self.label} on {self.environment}: {returns_text(self.returns)}, n = {len(self.returns)}"


def ranked(standings: Iterable[Standing], unfinished: bool = False) -> list[Ranked]:
    """Return all arms with settings of which runs are finished: by environment, the highest mean return first.

    With `unfinished` those that are not too, as they are.
    """
    groups: dict[tuple[str, str], list[Standing]] = {}
    for x in standings:
        if x.returns and (unfinished or x.state == "finished"):
            groups.setdefault((x.env, x.label), []).append(x)
    found = [
        Ranked(
            label,
            runs[0].arm,
            env,
            runs[0].setting,
            tuple(seed for x in runs for seed in x.seeds),
            tuple(value for x in runs for value in x.returns),
            tuple(x.folder for x in runs if x.folder),
        )
        for (env, label), runs in groups.items()
    ]
    order = list(dict.fromkeys(x.environment for x in found))
    return sorted(found, key=lambda x: (order.index(x.environment), -x.mean))


def best_lines(standings: Sequence[Standing]) -> list[str]:
    """Return a line for each environment in which settings can be ranked: the best, which is a maximum."""
    found = ranked(standings) if any(x.setting for x in standings) else []
    lines = []
    for env in dict.fromkeys(x.environment for x in found):
        here = [x for x in found if x.environment == env]
        alike = sum(x.mean == here[0].mean for x in here) - 1
        others = f", and {alike} more with the same mean" if alike else ""
        if len(here) > 1:
            lines.append(f"best of {len(here):,} on {env}: {here[0].label}{others}; a maximum, and so no score")
    return lines
