"""`rlsparse envs --check`: an environment tried with random actions: its sizes, its speed, and usual mistakes."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from rlsparse import sim
from rlsparse.run.cards import resolve_environment
from rlsparse.sim.arguments import located
from rlsparse.sim.environment import Environment
from rlsparse.sim.user_classes import shown_name

ENVS = 64
"""Environments that are stepped together."""
STEPS = 400
"""Steps of each."""
SHORT = 10
"""Episodes of fewer steps on average, with random actions, end too soon to learn from."""
LARGE = 1e3
"""Observations beyond this are large, and rewards of one step too."""
TOLD = 8
"""Most numbers of observations that a warning lists."""


@dataclass(frozen=True)
class Tried:
    """What random actions brought: T steps of N environments."""

    obs: np.ndarray
    """[T, N, O]."""
    reward: np.ndarray
    """[T, N]."""
    terminated: np.ndarray
    """[T, N] bool."""
    truncated: np.ndarray
    """[T, N] bool."""
    seconds: float
    """In all."""
    physics: float
    """Of these, what MuJoCo took; 0 if that is not known."""


def checked(name: str, kwargs: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
    """Return what there is to tell of an environment, a line each; raises as making and stepping it does."""
    env_id = resolve_environment(name)
    environment = Environment(env_id, located(kwargs))
    count = ENVS if environment.batched else 1
    env: Any = sim.make(environment, count)
    tried = _try(env)
    space, action = env.single_observation_space, env.single_action_space
    width = action.shape[0]
    ranges = sorted({f"{low:g} to {high:g}" for low, high in zip(action.low, action.high, strict=True)})
    limit = env.spec.max_episode_steps if env.spec else None
    lines = [
        f"{shown_name(env_id)}: {space.shape[0]} observations; {width} action{'s' * (width > 1)}, {', '.join(ranges)}; "
        + (f"episodes of at most {limit:,} steps" if limit else "episodes without a limit"),
        f"speed: {tried.reward.size / tried.seconds:,.0f} steps/s, {count} at once{_beside(tried)}",
        _random(tried),
        *(f"warning: {flaw}" for flaw in _flaws(tried)),
    ]
    env.close()
    return lines


def _try(env: Any) -> Tried:
    rng, space = np.random.default_rng(0), env.single_action_space
    actions = rng.uniform(space.low, space.high, (STEPS, env.num_envs, *space.shape)).astype(space.dtype)
    env.reset(seed=0)
    physics: list[float] = []
    if run := getattr(env, "_run", None):
        env._run = lambda *call, **options: physics.append(_seconds(run, *call, **options)[0])
    seconds, steps = _seconds(lambda: [env.step(action) for action in actions])
    obs, reward, terminated, truncated = (np.stack([step[k] for step in steps]) for k in range(4))
    return Tried(obs, reward, terminated, truncated, seconds, sum(physics))


def _seconds(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Return how long a call takes, and what it returns."""
    start = time.perf_counter()
    result = call(*arguments, **options)
    return time.perf_counter() - start, result


def _beside(tried: Tried) -> str:
    """Say which part of the time the physics alone takes, for a task that is simulated in batches."""
    return f"; physics takes {tried.physics / tried.seconds:.0%} of the time" if tried.physics else ""


def _random(tried: Tried) -> str:
    over = tried.terminated | tried.truncated
    low, high = float(tried.reward.min()), float(tried.reward.max())
    steps = f"a step's reward is {low:.3g} to {high:.3g}, {tried.reward.mean():.3g} on average"
    if not over.any():
        return f"random actions: {steps}; no episode ends within {STEPS} steps"
    ended = f"{np.count_nonzero(tried.terminated):,} of {np.count_nonzero(over):,} before their limit"
    return f"random actions: {steps}; an episode lasts {_length(over):.0f} steps on average, {ended}"


def _length(over: np.ndarray) -> float:
    return float(over.size / max(1, int(np.count_nonzero(over))))


def _flaws(tried: Tried) -> Iterator[str]:
    over = tried.terminated | tried.truncated
    still = np.flatnonzero(np.ptp(tried.obs, (0, 1)) == 0)
    if still.size:
        yield f"observations that never change: numbers {_some(still)} of {tried.obs.shape[2]}"
    large = np.flatnonzero(np.abs(tried.obs).max((0, 1)) > LARGE)
    if large.size:
        yield f"observations beyond {LARGE:,.0f}: numbers {_some(large)} of {tried.obs.shape[2]}; bound or scale them"
    if not np.ptp(tried.reward):
        yield f"the reward is always {tried.reward.flat[0]:g}: random actions find nothing to learn from"
    elif np.abs(tried.reward).max() > LARGE:
        yield f"a reward of one step goes beyond {LARGE:,.0f}: one term may hide the others"
    if _length(over) < SHORT:
        yield f"episodes end after {_length(over):.1f} steps on average: is the start within the bounds of termination?"


def _some(numbers: np.ndarray) -> str:
    told = ", ".join(map(str, numbers[:TOLD].tolist()))
    return told + (f" and {len(numbers) - TOLD} more" if len(numbers) > TOLD else "")
