"""The MuJoCo tasks on a GPU: thousands of environments stepped by MuJoCo Warp, all arrays torch tensors there.

The same models and the same functions of `tasks` as on the CPU, in float32, except that Humanoid and HumanoidStandup
use MuJoCo's Newton solver: MuJoCo Warp has no PGS. docs/gpu.md says how closely the two simulators agree.
`step` never waits for the device: what depends on the outcome, such as a reset, is a masked write.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlsparse.errors import UnsupportedEnvironment, UsageError
from rlsparse.sim.counter_random import EpisodeStream, signed
from rlsparse.sim.cpu import load_model, make_task
from rlsparse.sim.reset_arguments import seed_each
from rlsparse.sim.tasks import TASKS, Fields, flat
from rlsparse.sim.warp_physics import WarpPhysics

StepResult = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]

_STATE = ("qpos", "qvel", "warmstart")
# Nothing pushes at the start of an episode: ctrl is 0, and no start of a task touches the ground or a joint's limit
# except by its contacts, whose forces Gymnasium shows as 0 there too.
_ZERO_AT_START = frozenset({"qfrc_actuator", "qfrc_constraint", "cfrc_ext"})


class WarpVectorEnv(VectorEnv):
    """`num_envs` copies of one of the tasks on `device`; see `rlsparse.sim.make`.

    With `autoreset` an environment whose episode is over starts the next one within the same step; without, it
    stands still, with reward 0, until `reset`. `options` are fields of the task.

    A simulation that blows up (a number that is not finite, or beyond MuJoCo's 1e10) ends its episode: terminated,
    with reward 0, and with the observation before that step as the last one; `unstable` counts them, int `[num_envs]`.

    Raises UsageError (unknown option or device, MuJoCo Warp missing), UnsupportedEnvironment (not one of the tasks, or
    a model that MuJoCo Warp refuses).
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        *,
        device: str = "cuda",
        autoreset: bool = True,
        **options: Any,
    ):
        if env_id not in TASKS:
            raise UnsupportedEnvironment(f"{env_id} is not simulated on a GPU, only {', '.join(TASKS)}")
        self.spec = spec = gymnasium.spec(env_id)
        self._env_id, self.num_envs, self._autoreset = env_id, num_envs, autoreset
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED}
        self._max_steps = spec.max_episode_steps or np.iinfo(np.int64).max

        self.task = make_task(env_id, spec.kwargs | options)
        model = load_model(self.task)
        if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
            model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        names = self.task.derived_fields
        self._physics = physics = WarpPhysics(env_id, model, num_envs, self.task.frame_skip, names, device)
        self.device = physics.device
        self._fields = Fields(
            qpos=physics.qpos,
            qvel=physics.qvel,
            ctrl=physics.ctrl,
            timestep=model.opt.timestep,
            body_mass=torch.tensor(model.body_mass, dtype=torch.float32, device=self.device),
            **{name: array.clone() for name, array in physics.derived.items()},
        )
        self._start_pose = torch.tensor(model.qpos0, device=self.device).expand(num_envs, -1)
        self._rest = torch.zeros(num_envs, model.nv, dtype=torch.float64, device=self.device)
        self._step_seconds = model.opt.timestep * self.task.frame_skip

        self._seeded = False
        self._seed, self._episode, self._elapsed, self.unstable = (self._zeros(torch.int64) for _ in range(4))
        self._over, self._terminated = self._zeros(torch.bool), self._zeros(torch.bool)
        self._progress = self._zeros(torch.float32)

        low, high = model.actuator_ctrlrange.astype(np.float32).T
        width = self.task.observe(self._fields).shape[1]
        self.single_action_space = Box(low, high, dtype=np.float32)
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(self.num_envs, dtype=dtype, device=self.device)

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode everywhere, or only where the bool tensor options["reset_mask"] `[num_envs]` is set.

        An int seed s gives environment i the seed s + i; None goes on with its present seed. Episode k of an
        environment (0 at its seed) starts where (seed, k) says, whatever the other environments do.
        """
        seeds, mask = seed_each(seed, self.num_envs), (options or {}).get("reset_mask")
        if not self._seeded:
            if mask is not None:
                raise ResetNeeded("the first reset() must start every environment")
            entropy = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
            seeds = [entropy + i if given is None else given for i, given in enumerate(seeds)]
            self._seeded = True
        chosen = ~self._zeros(torch.bool) if mask is None else self._mask(mask)
        self._reseed(seeds, chosen)
        self._start_episodes(chosen)
        return self.task.observe(self._fields), {}

    def _mask(self, mask: Any) -> Tensor:
        """`mask` as a bool tensor `[num_envs]` on the device."""
        mask = torch.as_tensor(mask, device=self.device)
        if mask.dtype != torch.bool or mask.shape != (self.num_envs,):
            raise ValueError(f"a mask of environments must be bool of shape ({self.num_envs},), not {mask!r}")
        return mask

    def _reseed(self, seeds: list[int | None], where: Tensor) -> None:
        """Give the environments `where` those of the seeds that are not None; their next episode is their first."""
        if all(given is None for given in seeds):
            return
        fresh = torch.tensor([given is not None for given in seeds], device=self.device) & where
        words = torch.tensor([signed(given or 0) for given in seeds], device=self.device)
        self._seed = torch.where(fresh, words, self._seed)
        self._episode = torch.where(fresh, 0, self._episode)

    def _start_episodes(self, where: Tensor) -> None:
        """Put the environments `where` at the start of their next episode, and leave the others as they are."""
        fields, physics = self._fields, self._physics
        qpos, qvel = self.task.reset_noise(EpisodeStream(self._seed, self._episode), self._start_pose, self._rest)
        for array, start in ((physics.qpos, qpos.float()), (physics.qvel, qvel.float()), (physics.warmstart, 0.0)):
            array.copy_(torch.where(where[:, None], start, array))
        if physics.derived:
            physics.kinematics()
        for name, computed in physics.derived.items():
            start = 0.0 if name in _ZERO_AT_START else computed
            setattr(fields, name, _where(where, start, getattr(fields, name)))
        self._progress = torch.where(where, self.task.progress(fields), self._progress)
        self._elapsed = torch.where(where, 0, self._elapsed)
        self._episode = self._episode + where
        self._over, self._terminated = self._over & ~where, self._terminated & ~where

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`, in native units.

        Returns observation `[num_envs, O]`, reward (float32), terminated, truncated `[num_envs]` and info:
        info["final_obs"] `[num_envs, O]` and info["final_qpos"] are what the step led to, in every environment; where
        an episode is over and `autoreset` on, the observation is the first of the next one instead.
        """
        if actions.shape != self._fields.ctrl.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {tuple(self._fields.ctrl.shape)}")
        if not self._seeded:
            raise ResetNeeded("call reset() before step()")
        waiting, blew_up = self._over, self._advance(actions)
        self._elapsed = self._elapsed + ~waiting
        self.unstable = self.unstable + blew_up

        progress = self.task.progress(self._fields)
        velocity = (progress - self._progress) / self._step_seconds
        self._progress = progress.clone()
        reward, terminated = self.task.reward(self._fields, velocity, actions)
        reward = torch.where(waiting | blew_up, 0.0, reward.float())
        self._terminated = torch.where(waiting, self._terminated, terminated | blew_up)
        terminated, truncated = self._terminated.clone(), self._elapsed >= self._max_steps

        final = self.task.observe(self._fields).float()
        info = {"final_obs": final, "final_qpos": self._physics.qpos.clone()}
        if not self._autoreset:
            self._over = waiting | terminated | truncated
            return final.clone(), reward, terminated, truncated, info
        self._start_episodes(terminated | truncated)
        return self.task.observe(self._fields).float(), reward, terminated, truncated, info

    def _advance(self, actions: Tensor) -> Tensor:
        """Simulate one step, but where an episode is over; returns who blew up in it and was put back, bool."""
        fields, physics = self._fields, self._physics
        before = [getattr(physics, name).clone() for name in _STATE]
        physics.ctrl.copy_(actions)
        physics.advance()

        stable = (torch.cat((physics.qpos, physics.qvel), 1).abs() < mujoco.mjMAXVAL).all(1)
        for computed in physics.derived.values():
            stable &= flat(computed).isfinite().all(1)
        moved = stable & ~self._over
        for name, old in zip(_STATE, before, strict=True):
            array = getattr(physics, name)
            array.copy_(torch.where(moved[:, None], array, old))
        for name, computed in physics.derived.items():
            setattr(fields, name, _where(moved, computed, getattr(fields, name)))
        return ~stable & ~self._over

    @property
    def qpos(self) -> Tensor:
        """Generalised positions `[num_envs, nq]` (m, rad, quaternions), of which observations leave some out."""
        return self._physics.qpos.clone()

    @property
    def overflowed(self) -> Tensor:
        """Environments that ever had more contacts than there was room for, and lost some; bool `[num_envs]`."""
        return self._physics.overflowed

    @property
    def bytes_per_env(self) -> float:
        """Device memory of the simulation over the number of environments."""
        return self._physics.bytes_per_world

    def halt(self, where: Tensor) -> None:
        """Let the environments `where` (bool `[num_envs]`) stand still until `reset`; only without autoreset."""
        self._over = self._over | self._mask(where)

    def _state(self) -> dict[str, Tensor]:
        names = ("seed", "episode", "elapsed", "over", "terminated", "progress")
        derived = {name: getattr(self._fields, name) for name in self._physics.derived}
        return (
            {name: getattr(self._physics, name) for name in _STATE}
            | {name: getattr(self, f"_{name}") for name in names}
            | derived
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """All that decides what follows, as numeric arrays with leading axis num_envs; call after reset."""
        return {name: array.cpu().numpy().copy() for name, array in self._state().items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        own = self._state()
        for name, array in own.items():
            given = state[name].shape if name in state else "nothing"
            if given != tuple(array.shape):
                raise UsageError(
                    f"the saved simulator state has {name} of shape {given}, but {self.num_envs} environments of "
                    f"{self._env_id} on MuJoCo Warp need {tuple(array.shape)}"
                )
        for name, array in own.items():
            saved = torch.as_tensor(state[name], device=self.device)
            if name in _STATE:
                array.copy_(saved)
            elif name in self._physics.derived:
                setattr(self._fields, name, saved.clone())
            else:
                setattr(self, f"_{name}", saved.clone())
        self._seeded = True

    def close_extras(self, **kwargs: Any) -> None:
        """Give the simulation's memory back."""
        self.__dict__.pop("_physics", None)
        self.__dict__.pop("_fields", None)


def _where(rows: Tensor, yes: Tensor | float, no: Tensor) -> Tensor:
    """A new tensor: `yes` in the rows chosen (bool `[N]`), `no` `[N, ...]` in the others."""
    return torch.where(rows.reshape(-1, *[1] * (no.ndim - 1)), yes, no)
