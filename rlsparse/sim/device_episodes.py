"""Whole episodes on a device: what evaluation and probing run there, asking only now and then who is done."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.network import Actors
from rlsparse.sim.collect import LARGEST, ActionBox
from rlsparse.sim.episodes import STEP_CAP, Scores
from rlsparse.sim.probe_episodes import ProbeEpisodes

STEPS_BETWEEN_QUESTIONS = 50
"""The host waits for the device this often, to learn whether anybody is left."""


@dataclass(frozen=True)
class Episodes:
    """What became of one episode in each of N environments."""

    returns: torch.Tensor
    """Undiscounted, as far as it went, [N]."""
    lengths: torch.Tensor
    """Steps taken, [N]."""
    done: torch.Tensor
    """It came to its end, [N] bool."""
    failed: torch.Tensor
    """An action, an observation or a reward was not finite, [N] bool."""
    exhausted: torch.Tensor
    """Whose allowance ended the episodes, [S] bool."""


def run_episodes(
    env: VectorEnv,
    device: str,
    act: Callable[[torch.Tensor], torch.Tensor],
    seeds: list[int],
    runs: torch.Tensor,
    allowance: torch.Tensor,
    stop: Callable[[], bool],
) -> Episodes:
    """Run one episode in each environment, on `device`, that `runs`, [N] bool; `env` must not reset by itself.

    `act` maps obs [N, O] to actions in units of half the action range. Members have N / S environments each and take no
    step that their `allowance` [S] cannot pay for all that are alive. Raises Interrupted when `stop`, asked now and
    then, says so.
    """
    space = env.single_action_space
    to_native = ActionBox(space.low, space.high, device)  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    alive, share = runs, len(runs) // len(allowance)
    returns, lengths = torch.zeros_like(obs[:, 0]), torch.zeros_like(runs, dtype=torch.int64)
    done, failed, exhausted = torch.zeros_like(runs), torch.zeros_like(runs), torch.zeros_like(allowance) > 0
    left = allowance + 0
    for step in range(STEP_CAP):
        if step % STEPS_BETWEEN_QUESTIONS == 0:
            if stop():
                raise Interrupted
            if not alive.any():
                break
        action = act(torch.where(alive[:, None], obs, 0.0))
        failed = failed | (alive & ~action.isfinite().all(1))
        alive = alive & ~failed
        exhausted = exhausted | (alive.reshape(len(left), -1).sum(1) > left)
        alive = alive & ~exhausted.repeat_interleave(share)
        left = left - alive.reshape(len(left), -1).sum(1)
        env.halt(~alive)  # type: ignore[attr-defined]
        lengths = lengths + alive
        obs, reward, terminated, truncated, _ = env.step(to_native(torch.where(alive[:, None], action, 0.0)))
        finite = (reward.abs() <= LARGEST) & (obs.abs() <= LARGEST).all(1)  # type: ignore[attr-defined]
        failed = failed | (alive & ~finite)
        returns = torch.where(alive, returns + reward, returns)
        done = done | (alive & (terminated | truncated))  # type: ignore[operator]
        alive = alive & ~(done | failed)
    return Episodes(returns, lengths, done | alive, failed, exhausted)


def evaluate_on_device(
    env: VectorEnv, actors: Actors, seeds: list[int], stop: Callable[[], bool] = lambda: False
) -> Scores:
    """Run one deterministic episode in each of the S * E environments (index s * E + e).

    The normaliser is frozen. Raises Interrupted when `stop` says so, DivergenceError at what is not finite.
    """
    members = len(actors.seeds)
    everybody = to_device(np.ones(env.num_envs, bool), actors.device)
    no_limit = to_device(np.full(members, np.iinfo(np.int64).max), actors.device)

    def act(obs: torch.Tensor) -> torch.Tensor:
        return actors(obs.reshape(members, env.num_envs // members, -1)).reshape(env.num_envs, -1)

    episodes = run_episodes(env, actors.device, act, seeds, everybody, no_limit, stop)
    failed = to_numpy(episodes.failed).reshape(members, -1).any(1)
    if failed.any():
        raise DivergenceError(
            f"an action, an observation or a reward is not finite: seed {actors.seeds[int(failed.argmax())]}, an "
            "evaluation episode; the policy of the last complete iteration is kept"
        )
    returns, lengths = (to_numpy(x).reshape(members, -1) for x in (episodes.returns, episodes.lengths))
    return Scores(returns.astype(np.float64), lengths)


class DeviceProbeEpisodes(ProbeEpisodes):
    """Scores points of the searched part of the parameters by episodes on the learner's device."""

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [S, C, P]; [S, C, count].

        NaN and -inf are as on the CPU; `stop` is asked now and then.
        """
        members, candidates = points.shape[:2]
        shape, device = (members, candidates, count), self._learner.device
        finite = np.isfinite(points.astype(np.float32)).all(2)
        runs = np.broadcast_to(True if wanted is None else wanted[:, None], (members, candidates))
        left = np.where(self.exhausted, -1, self._allowance - self.steps)
        seeds = [s for own in self._seeds for _ in range(candidates) for s in own[first : first + count]]
        episodes = run_episodes(
            self._env(members * candidates * count),
            device,
            self._actors(points, first, count),
            seeds,
            to_device(np.repeat(runs & finite, count), device),
            to_device(left, device),
            self._stop,
        )
        lengths, returns, done, failed = (
            to_numpy(x).reshape(shape) for x in (episodes.lengths, episodes.returns, episodes.done, episodes.failed)
        )
        self.steps += lengths.sum((1, 2))
        self.longest = np.maximum(self.longest, lengths.max((1, 2)))
        self.exhausted |= to_numpy(episodes.exhausted)
        failed = failed | (runs & ~finite)[..., None]
        return np.where(failed, -np.inf, np.where(done, returns.astype(np.float64), np.nan))

    def _noise(self, first: int, count: int, candidates: int) -> Callable[[], torch.Tensor]:
        """Return what draws the noise of one step [S * C * count, A], alike for all candidates of a member."""
        assert self._noise_seeds is not None
        device, size = self._learner.device, self._learner.layout.action_size
        streams = [torch.Generator(device).manual_seed(own[first]) for own in self._noise_seeds]

        def draw() -> torch.Tensor:
            own = torch.stack([torch.randn(count, size, generator=stream, device=device) for stream in streams])
            return own.repeat_interleave(candidates, 0).reshape(-1, size)

        return draw
