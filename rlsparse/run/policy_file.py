"""policy.safetensors: all members' parameters with their observation normaliser; one file, one policy."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from rlsparse.errors import DivergenceError, RunDirectoryError, UsageError
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.bounds import Count, Positive
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import Actors
from rlsparse.learner.normaliser import ObsScale
from rlsparse.run.checkpoint import encode_arrays
from rlsparse.run.convert import Reader
from rlsparse.run.reading import parse_json, read_bytes, shorten
from rlsparse.run.recipe import Recipe, check, to_dict
from rlsparse.run.storage import write_atomic

MOST_BYTES = 2**30
"""Largest policy file that is read."""


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


@dataclass(frozen=True)
class TrainedPolicy:
    """The policies of a run with the recipe that trained them."""

    recipe: Recipe
    actors: Actors
    levels: np.ndarray | None = None
    """In how many of several networks, one inside the other, each number is, [S, D] uint8; if there are several."""


def save(path: Path, recipe: Recipe, learner: Learner) -> None:
    """Write the learner's policies, atomically."""
    scale = learner.obs_scale()
    numbers = {"params": learner.params, "obs_mean": scale.mean, "obs_inv_std": scale.inv_std}
    arrays = {name: to_numpy(x) for name, x in numbers.items()}
    arrays |= learner.sparsity.policy_arrays()
    sizes = {
        "obs_size": learner.layout.obs_size,
        "action_size": learner.layout.action_size,
        "obs_clip": scale.clip if math.isfinite(scale.clip) else None,
    }
    recorded = {"recipe": to_dict(recipe), "seeds": learner.seeds, **sizes}
    write_atomic(path, _encode(recorded, arrays))


def load(path: Path) -> TrainedPolicy:
    """Read policies; raises RunDirectoryError if the file is missing or damaged, DivergenceError if they diverged.

    Runs no code from it.
    """
    content = read_bytes(path, MOST_BYTES)
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
    if about.seeds != tuple(about.recipe.seeds):
        raise ValueError("its seeds are not those of its recipe")
    layout, members = about.recipe.layout(about.obs_size, about.action_size), len(about.seeds)
    expected = dict.fromkeys(("obs_mean", "obs_inv_std"), ("F32", [members, layout.obs_size]))
    expected |= {"params": ("F32", [members, layout.size]), "levels": ("U8", [members, layout.size])}
    for name in header.keys() | expected.keys() - {"levels"}:
        found = (header[name]["dtype"], header[name]["shape"]) if name in header else None
        if found is None or found != expected.get(name):
            raise ValueError(f"{name} has type and shape {found}, expected {expected.get(name)}")
    arrays = safetensors.numpy.load(content)
    del recorded["sha256"]
    if about.sha256 != _digest(recorded, arrays):
        raise ValueError("its contents are not those that were written")
    if not all(np.isfinite(x).all() for x in arrays.values()):
        raise DivergenceError(f"{source} holds numbers that are not finite")
    scale = ObsScale(arrays["obs_mean"], arrays["obs_inv_std"], math.inf if about.obs_clip is None else about.obs_clip)
    return TrainedPolicy(about.recipe, Actors(layout, arrays["params"], scale, about.seeds), arrays.get("levels"))


def _digest(recorded: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(recorded).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
