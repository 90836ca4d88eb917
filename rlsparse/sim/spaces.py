"""Which observation and action spaces are supported; what is not is refused in one line that says what helps."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple, flatten

from rlsparse.errors import UnsupportedEnvironment
from rlsparse.sim.finite import LARGEST

NUMBERS = "fiub"
"""Kinds of numpy's types that are real numbers."""


def flattened(env_id: str, env: gymnasium.Env) -> gymnasium.Env:
    """The environment with one vector in place of observations that are no Box, if they can be made one.

    The parts of a Dict or a Tuple follow each other in the order of the space; a discrete number is one-hot. Raises
    UnsupportedEnvironment for images among them.
    """
    space = env.observation_space
    if isinstance(space, Box):
        return env
    for part in _parts(space):
        _refuse_images(env_id, part)
        if not isinstance(part, Box | Discrete | MultiBinary | MultiDiscrete):
            return env
    from gymnasium.wrappers import FlattenObservation

    return FlattenObservation(env)


def as_vectors(space: Space, obs: Any) -> np.ndarray:
    """Return an observation of a space as the vector [O] that `flattened` makes of it, or a batch of them [N, O].

    Raises KeyError, IndexError, TypeError or ValueError for what is no observation of the space.
    """
    if isinstance(space, Dict | Tuple):
        keys = space.spaces if isinstance(space, Dict) else range(len(space))
        return np.concatenate([as_vectors(space[key], obs[key]) for key in keys], axis=-1)  # type: ignore[index]
    items, shape = np.asarray(obs, space.dtype), space.shape or ()
    rows = [np.asarray(flatten(space, item)) for item in items.reshape(-1, *shape)]
    return np.stack(rows).reshape(*items.shape[: items.ndim - len(shape)], -1)


def _parts(space: Space) -> Iterator[Space]:
    """Every space that is no Dict or Tuple."""
    inner = space.values() if isinstance(space, Dict) else space if isinstance(space, Tuple) else None
    if inner is None:
        yield space
    for part in inner or ():
        yield from _parts(part)


def _refuse_images(env_id: str, space: Space) -> None:
    if isinstance(space, Box) and space.low.ndim != 1 and space.low.dtype.kind != "f":
        raise UnsupportedEnvironment(
            f"{env_id} has observations of shape {space.shape} and type {space.dtype}, but only vectors and arrays of "
            "real numbers are supported, not images"
        )


def supported_spaces(env_id: str, observation: Space, action: Space) -> tuple[Box, Box]:
    """Both spaces, unchanged, if `observation` is a Box of numbers and `action` a bounded Box of reals.

    Raises UnsupportedEnvironment otherwise.
    """
    actions = check_actions(env_id, action)
    if not isinstance(observation, Box):
        raise UnsupportedEnvironment(
            f"{env_id} has the observation space {_line(observation)}, but only Box, Discrete, MultiDiscrete and "
            "MultiBinary, and Dict and Tuple of these, are supported"
        )
    _refuse_images(env_id, observation)
    if not observation.low.size:
        raise UnsupportedEnvironment(f"{env_id} has observations of shape {observation.shape}, which hold no number")
    return observation, actions


def check_actions(env_id: str, action: Space) -> Box:
    """Return the space, unchanged, if it is a Box of reals between finite bounds, else raise UnsupportedEnvironment.

    Bounds near the largest float are as good as none: half of the range would be infinite in float32.
    """
    real = isinstance(action, Box) and action.low.dtype.kind == "f" and action.low.size > 0
    if not real or not (np.abs([action.low, action.high]) <= LARGEST).all():  # type: ignore[attr-defined]
        raise UnsupportedEnvironment(
            f"{env_id} has the action space {_line(action)}, but only a Box of real numbers with finite bounds, "
            f"at most {LARGEST:g} in size, is supported: a gymnasium.ActionWrapper of yours, named by --wrappers, can "
            "make one of it"
        )
    assert isinstance(action, Box)
    low, high = action.low.ravel(), action.high.ravel()
    without = np.flatnonzero(~(((high - low) / 2).astype(np.float32) > 0))
    if without.size:
        k = int(without[0])
        raise UnsupportedEnvironment(
            f"{env_id} has actions without a range: number {k} of {low.size} goes from {low[k]:g} to {high[k]:g}; "
            'leave it out by a wrapper, or, in a MuJoCo model, give its actuator a range, as ctrlrange="-1 1"'
        )
    return action


def _line(space: Space) -> str:
    return " ".join(str(space).split())
