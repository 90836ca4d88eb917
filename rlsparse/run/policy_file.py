"""policy.safetensors: all members' parameters with their normalisers, ready to act and to be trained further."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from rlsparse.errors import DivergenceError, RunDirectoryError, UsageError
from rlsparse.learner.actors import Actors
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.bounds import Count, CountFromZero, Finite, Positive
from rlsparse.learner.learner import Learner
from rlsparse.learner.normaliser import ObsScale
from rlsparse.run.checkpoint import encode_arrays
from rlsparse.run.convert import Reader
from rlsparse.run.reading import MOST_OF_ARRAYS, parse_json, read_bytes, shorten
from rlsparse.run.recipe import Recipe, check, to_dict
from rlsparse.run.storage import write_atomic

STATISTICS = ("obs_count", "return_mean", "return_var", "return_count")
"""What training goes on from beside the policy, [S] float64: how many observations the normaliser has seen, and moments
of the discounted return, which scale rewards. Files of earlier versions do not have them."""


@dataclass(frozen=True)
class Best:
    """Which evaluation of a member was its best: a maximum over evaluations, so it was selected and is no score."""

    return_mean: Finite
    """Of that evaluation."""
    total_steps: CountFromZero
    """After how many steps it was."""
    evaluations: Count
    """Of how many it is the best."""


@dataclass(frozen=True)
class Recorded:
    """What a policy file says beside its arrays."""

    sha256: str
    """Of all that follows, and of the arrays."""
    recipe: Recipe
    seeds: tuple[int, ...]
    obs_size: Count
    action_size: Count
    obs_clip: Positive | None
    best: tuple[Best, ...] = ()
    """Of each member, where the policies are those of the best evaluation."""


@dataclass(frozen=True)
class TrainedPolicy:
    """The policies of a run with the recipe that trained them."""

    recipe: Recipe
    actors: Actors
    levels: np.ndarray | None = None
    """In how many of several networks, one inside the other, each number is, [S, D] uint8; if there are several."""
    statistics: dict[str, np.ndarray] = field(default_factory=dict)
    """STATISTICS, by name, [S] each; empty for a file that does not have them."""
    best: tuple[Best, ...] = ()
    """Of each member, where these are the policies of the best evaluation."""


def policy_arrays(learner: Learner) -> dict[str, np.ndarray]:
    """Return the arrays of a policy file, by name, member axis first; they may be live."""
    scale, returns = learner.obs_scale(), learner.return_moments
    moments = (learner.obs_moments.count, returns.mean, returns.var, returns.count)
    numbers = {"params": learner.params, "obs_mean": scale.mean, "obs_inv_std": scale.inv_std}
    numbers |= dict(zip(STATISTICS, moments, strict=True))
    return {name: to_numpy(x) for name, x in numbers.items()} | learner.sparsity.policy_arrays()


def save(
    path: Path,
    recipe: Recipe,
    learner: Learner,
    arrays: dict[str, np.ndarray] | None = None,
    best: Sequence[Best] = (),
) -> None:
    """Write the learner's policies, atomically; `arrays` are others than its present ones, those of the `best`."""
    clip = learner.obs_scale().clip
    sizes = {
        "obs_size": learner.layout.obs_size,
        "action_size": learner.layout.action_size,
        "obs_clip": clip if math.isfinite(clip) else None,
    }
    selected = {"best": [asdict(one) for one in best]} if best else {}
    recorded = {"recipe": to_dict(recipe), "seeds": learner.seeds, **sizes, **selected}
    write_atomic(path, _encode(recorded, policy_arrays(learner) if arrays is None else arrays))


def load(path: Path) -> TrainedPolicy:
    """Read policies; raises RunDirectoryError if the file is missing or damaged, DivergenceError if they diverged.

    Runs no code from it.
    """
    content = read_bytes(path, MOST_OF_ARRAYS)
    try:
        return _decode(content, str(path))
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise RunDirectoryError(f"{path} is not a policy file, or is damaged: {shorten(str(error))}") from error


def _encode(recorded: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    # one entry: safetensors writes several in no fixed order
    return encode_arrays(arrays, {"policy": json.dumps({"sha256": _digest(recorded, arrays), **recorded})})


def _decode(content: bytes, source: str) -> TrainedPolicy:
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    recorded = parse_json(header.pop("__metadata__")["policy"])
    about = Reader(source, bounded=True).build(Recorded, recorded)
    check(about.recipe)
    if about.seeds != tuple(about.recipe.seeds) or len(about.best) not in (0, len(about.seeds)):
        raise ValueError("its seeds are not those of its recipe")
    layout, members = about.recipe.layout(about.obs_size, about.action_size), len(about.seeds)
    expected = dict.fromkeys(("obs_mean", "obs_inv_std"), ("F32", [members, layout.obs_size]))
    expected |= {"params": ("F32", [members, layout.size]), "levels": ("U8", [members, layout.size])}
    expected |= dict.fromkeys(STATISTICS, ("F64", [members]))
    older = not header.keys() & set(STATISTICS)
    for name in header.keys() | expected.keys() - {"levels"} - (set(STATISTICS) if older else set()):
        found = (header[name]["dtype"], header[name]["shape"]) if name in header else None
        if found is None or found != expected.get(name):
            raise ValueError(f"{name} has type and shape {found}, expected {expected.get(name)}")
    arrays = safetensors.numpy.load(content)
    del recorded["sha256"]
    if about.sha256 != _digest(recorded, arrays):
        raise ValueError("its contents are not those that were written")
    if not all(np.isfinite(x).all() for x in arrays.values()):
        raise DivergenceError(f"{source} holds numbers that are not finite")
    statistics = {} if older else {name: arrays[name] for name in STATISTICS}
    if any((statistics[name] < 0).any() for name in statistics.keys() - {"return_mean"}):
        raise ValueError("its counts or variances are below zero")
    scale = ObsScale(arrays["obs_mean"], arrays["obs_inv_std"], math.inf if about.obs_clip is None else about.obs_clip)
    actors = Actors(layout, arrays["params"], scale, about.seeds)
    return TrainedPolicy(about.recipe, actors, arrays.get("levels"), statistics, about.best)


def _digest(recorded: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(recorded).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
