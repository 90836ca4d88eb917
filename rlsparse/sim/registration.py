"""The eleven tasks in Gymnasium's registry, each under its own id in the namespace `rlsparse`.

`gymnasium.make_vec("rlsparse.sim:rlsparse/HalfCheetah-v5", num_envs=64)` imports this package by itself; once it is
imported, "rlsparse/HalfCheetah-v5" suffices. (Since 1.0 Gymnasium does not search installed packages for plug-ins.)
`gymnasium.make`, and `make_vec` with vectorization_mode="sync" or "async", give Gymnasium's own environment.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from rlsparse.sim.tasks import TASKS


def register_tasks() -> None:
    """Register every task."""
    for env_id in TASKS:
        spec = gymnasium.spec(env_id)
        gymnasium.register(
            f"rlsparse/{env_id}",
            entry_point=spec.entry_point,
            vector_entry_point=f"{__name__}:{env_id}",
            reward_threshold=spec.reward_threshold,
            max_episode_steps=spec.max_episode_steps,
            kwargs=spec.kwargs,
        )


def __getattr__(env_id: str) -> Callable[..., VectorEnv]:
    """A task's vector entry point, which Gymnasium needs as the text "module:name"."""
    if env_id not in TASKS:
        raise AttributeError(f"module {__name__} has no attribute {env_id}")

    def make(
        *, num_envs: int, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any
    ) -> VectorEnv:
        from rlsparse.sim.cpu import MujocoVectorEnv

        return MujocoVectorEnv(env_id, num_envs, autoreset_mode=AutoresetMode(autoreset_mode), **options)

    return make
