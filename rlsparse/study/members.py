"""Cut the state of some members out of that of all, and put it together again; every array has the member axis first.

What belongs to environments has rows for each of them, as many for each member. Arrays of several lengths lie one after
the other, with their lengths beside them. A few arrays are the same for all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlsparse.run.checkpoint import Checkpoint

Arrays = dict[str, np.ndarray]

LENGTHS_OF = {"env.actions": "env.length"}
"""Arrays whose lengths have another name than their own with "_lengths"."""

OF_ALL = ("explorer", "count")
"""Group and name of what is the same for all members that are trained together."""

OF_MEMBERS = ("evaluated_at",)
"""Lists in the plain values of a checkpoint, with an item for each member."""


def cut(saved: Checkpoint, members: slice, total: int) -> Checkpoint:
    """Return what belongs to some of `total` members; arrays are views."""
    arrays = {group: cut_group(group, own, members, total) for group, own in saved.arrays.items()}
    values = dict(saved.values) | {name: saved.values[name][members] for name in OF_MEMBERS}
    return Checkpoint(arrays, values | {"random": {of: x[members] for of, x in saved.values["random"].items()}})


def joined(parts: Sequence[Checkpoint]) -> Checkpoint:
    """Return the state of all members of several checkpoints, one after the other; it has seconds of the longest."""
    groups = [group for group in parts[0].arrays if all(group in part.arrays for part in parts)]
    arrays = {group: _joined(group, [part.arrays[group] for part in parts]) for group in groups}
    values: dict[str, Any] = dict(parts[0].values)
    values |= {name: [x for part in parts for x in part.values[name]] for name in OF_MEMBERS}
    values |= {name: max(part.values[name] for part in parts) for name in ("seconds", "eval_seconds")}
    streams = [part.values["random"] for part in parts]
    return Checkpoint(arrays, values | {"random": {of: [x for own in streams for x in own[of]] for of in streams[0]}})


def _lengths(name: str, arrays: Arrays) -> np.ndarray | None:
    """Return the lengths of what lies one after the other in an array, None if it is not such a one."""
    return arrays.get(LENGTHS_OF.get(name, f"{name}_lengths"))


def cut_group(group: str, arrays: Arrays, members: slice, total: int) -> Arrays:
    """Return what belongs to some of `total` members in one group of arrays."""
    found = {}
    for name, x in arrays.items():
        lengths = _lengths(name, arrays)
        if (group, name) == OF_ALL:
            found[name] = x
            continue
        of_rows = len(x) if lengths is None else len(lengths)
        assert of_rows % total == 0, f"{group}.{name} has {of_rows} rows, which are not those of {total} members"
        each = of_rows // total
        part = slice(members.start * each, members.stop * each)
        if lengths is not None:
            ends = np.append(0, np.cumsum(lengths))
            part = slice(ends[part.start], ends[part.stop])
        found[name] = x[part]
    return found


def _joined(group: str, parts: Sequence[Arrays]) -> Arrays:
    return {
        name: x if (group, name) == OF_ALL else np.concatenate([part[name] for part in parts])
        for name, x in parts[0].items()
    }
