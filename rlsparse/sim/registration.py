"""The eleven tasks in Gymnasium's registry, each under its own id in the namespace `rlsparse`; vectors of all tasks.

`gymnasium.make_vec("rlsparse.sim:rlsparse/HalfCheetah-v5", num_envs=64)` imports this package by itself; once it is
imported, "rlsparse/HalfCheetah-v5" suffices. (Since 1.0 Gymnasium does not search installed packages for plug-ins.)
`gymnasium.make`, and `make_vec` with vectorization_mode="sync" or "async", give Gymnasium's own environment.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from rlsparse.sim.tasks import TASKS, task_class


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


def __getattr__(quoted: str) -> Callable[..., VectorEnv]:
    """A task's vector entry point, which Gymnasium needs as the text "module:name"; a user's "file.py:Class" quoted."""
    env_id = unquote(quoted)
    if task_class(env_id) is None:
        raise AttributeError(f"module {__name__} has no attribute {quoted}")

    def make(
        *, num_envs: int, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any
    ) -> VectorEnv:
        from rlsparse.sim.batched import on_cpu

        return on_cpu(env_id, num_envs, autoreset_mode=AutoresetMode(autoreset_mode), **options)

    return make
