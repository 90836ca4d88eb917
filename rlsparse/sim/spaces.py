"""Which observation and action spaces are supported; what is not is refused in one line that says what helps."""

import numpy as np
from gymnasium.spaces import Box, Space

from rlsparse.errors import UnsupportedEnvironment
from rlsparse.sim.finite import LARGEST

NUMBERS = "fiub"
"""Kinds of numpy's types that are real numbers."""


def supported_spaces(env_id: str, observation: Space, action: Space) -> tuple[Box, Box]:
    """Both spaces, unchanged, if `observation` is a Box of numbers and `action` a bounded Box of reals.

    Raises UnsupportedEnvironment otherwise.
    """
    actions = check_actions(env_id, action)
    if not isinstance(observation, Box):
        raise UnsupportedEnvironment(
            f"{env_id} has the observation space {_line(observation)}, but only a Box of numbers is supported: "
            "gymnasium.wrappers.FlattenObservation makes one of it"
        )
    if observation.low.ndim != 1 and observation.low.dtype.kind != "f":
        raise UnsupportedEnvironment(
            f"{env_id} has observations of shape {observation.shape} and type {observation.dtype}, but only "
            "vectors and arrays of real numbers are supported, not images"
        )
    if not observation.low.size:
        raise UnsupportedEnvironment(f"{env_id} has observations of shape {observation.shape}, which hold no number")
    return observation, actions


def check_actions(env_id: str, action: Space) -> Box:
    """Return the space, unchanged, if it is a Box of reals between finite bounds, else raise UnsupportedEnvironment.

    Bounds near the largest float are as good as none: half of the range would be infinite in float32.
    """
    real = isinstance(action, Box) and action.low.dtype.kind == "f" and action.low.size > 0
    if not real or not (np.abs([action.low, action.high]) <= LARGEST).all():  # type: ignore[attr-defined]
        hint = ": gymnasium.wrappers.TransformAction can give it such bounds" if real else ""
        raise UnsupportedEnvironment(
            f"{env_id} has the action space {_line(action)}, but only a Box of real numbers with finite bounds, "
            f"at most {LARGEST:g} in size, is supported{hint}"
        )
    assert isinstance(action, Box)
    low, high = action.low.ravel(), action.high.ravel()
    without = np.flatnonzero(~(((high - low) / 2).astype(np.float32) > 0))
    if without.size:
        k = int(without[0])
        raise UnsupportedEnvironment(
            f"{env_id} has actions without a range: number {k} of {low.size} goes from {low[k]:g} to {high[k]:g}; "
            "leave it out by a wrapper, or, in a MuJoCo model, give its actuator a ctrlrange"
        )
    return action


def _line(space: Space) -> str:
    return " ".join(str(space).split())
