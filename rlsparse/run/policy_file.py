"""policy.safetensors: all members' parameters with their observation normaliser; one file, one policy."""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import Actors
from rlsparse.learner.normaliser import ObsScale
from rlsparse.run.checkpoint import encode_arrays
from rlsparse.run.recipe import Recipe, from_dict, to_dict
from rlsparse.run.storage import write_atomic


@dataclass(frozen=True)
class TrainedPolicy:
    """The policies of a run with the recipe that trained them."""

    recipe: Recipe
    actors: Actors
    levels: np.ndarray | None = None
    """In how many of several networks, one inside the other, each number is, [S, D] uint8; if there are several."""

    @property
    def densities(self) -> tuple[float, ...]:
        """Densities of the networks to choose from, the densest first; none where there is only one."""
        sparse = self.recipe.sparse
        return () if sparse is None or self.levels is None else sparse.densities_at_once()

    def at(self, density: float) -> "TrainedPolicy":
        """Return the policies of one density. Raises UsageError if there is no such network."""
        near = [k for k, known in enumerate(self.densities) if math.isclose(known, density, abs_tol=1e-6)]
        if not near or self.levels is None:
            known = ", ".join(f"{x:g}" for x in self.densities)
            held = f"networks of density {known}" if known else "one network only (--sparse ast trains several)"
            raise UsageError(f"--density {density:g}: the policy holds {held}")
        params = np.where(self.levels > near[0], self.actors.params, np.float32(0.0))
        return TrainedPolicy(self.recipe, replace(self.actors, params=params))


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
    """Read policies; raises RunDirectoryError if the file is missing or damaged. Runs no code from it."""
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror}") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise RunDirectoryError(f"{path} is not a policy file, or is damaged: {error}") from error


def _encode(recorded: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    # one entry: safetensors writes several in no fixed order
    return encode_arrays(arrays, {"policy": json.dumps({"sha256": _digest(recorded, arrays), **recorded})})


def _decode(content: bytes, source: str) -> TrainedPolicy:
    arrays = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    recorded = json.loads(header["__metadata__"]["policy"])
    if recorded.pop("sha256") != _digest(recorded, arrays):
        raise ValueError("its contents are not those that were written")
    recipe = from_dict(recorded["recipe"], source)
    layout = recipe.layout(recorded["obs_size"], recorded["action_size"])
    seeds, clip = tuple(recorded["seeds"]), recorded["obs_clip"]
    for name, size in (("params", layout.size), ("obs_mean", layout.obs_size), ("obs_inv_std", layout.obs_size)):
        if (shape := arrays[name].shape) != (len(seeds), size):
            raise ValueError(f"{name} has the shape {shape}, expected {(len(seeds), size)}")
    levels = arrays.get("levels")
    if levels is not None and (levels.dtype != np.uint8 or levels.shape != arrays["params"].shape):
        raise ValueError(f"levels are {levels.dtype} of shape {levels.shape}, expected uint8 as many as params")
    scale = ObsScale(arrays["obs_mean"], arrays["obs_inv_std"], math.inf if clip is None else clip)
    return TrainedPolicy(recipe, Actors(layout, arrays["params"], scale, seeds), levels)


def _digest(recorded: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(recorded).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
