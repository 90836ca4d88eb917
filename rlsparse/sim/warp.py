"""The MuJoCo tasks on a GPU: thousands of environments stepped by MuJoCo Warp, all arrays torch tensors there.

The same models and the same functions of `tasks` as on the CPU, in float32, except that Humanoid and HumanoidStandup
use MuJoCo's Newton solver: MuJoCo Warp has no PGS. docs/notes/gpu.md says how closely the two agree.
`step` never waits for the device: operations that depend on the result, such as a reset, are masked writes. All
state stays in the same memory, so that work around the physics is recorded too: results of a step, and starts.
"""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from rlsparse.errors import UnsupportedEnvironment, UsageError
from rlsparse.learner.recorded import Recorded, Results, overwrite, recorder
from rlsparse.sim.counter_random import EpisodeStream, signed
from rlsparse.sim.cpu import changed_spec, load_model
from rlsparse.sim.task import Fields, flat
from rlsparse.sim.tasks import TASKS, make_task, source_of_model, task_class
from rlsparse.sim.vector import seed_each
from rlsparse.sim.warp_physics import WarpPhysics, torch_device

StepResult = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]

MOST_ITERATIONS = 20
"""Of Newton's method in a physics step. Random actions need 7; a simulation that blows up never converges, and all
others wait for it."""

_STATE = ("qpos", "qvel", "warmstart")
# No forces act at the start of an episode: ctrl is 0, and no start of a task touches the ground or a joint's limit
# except by its contacts, whose forces are 0 there in Gymnasium too.
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
        max_episode_steps: int | None = None,
        **options: Any,
    ):
        if task_class(env_id) is None:
            raise UnsupportedEnvironment(f"{env_id} is not simulated on a GPU, only {', '.join(TASKS)} and own tasks")
        self.spec = changed_spec(env_id, options, max_episode_steps)
        self._env_id, self.num_envs, self._autoreset = env_id, num_envs, autoreset
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED}
        self._max_steps = self.spec.max_episode_steps or np.iinfo(np.int64).max

        self.task = make_task(env_id, self.spec.kwargs)
        model, source = load_model(self.task), source_of_model(self.task)
        adapt_solver(model)
        self._own = env_id not in TASKS  # whose starts may touch what they like
        self.device = torch_device(device)
        self._prepare_starts(model)
        world = env_id, model, num_envs, self.task.frame_skip, source.fields_read(self.task, model)
        self._physics = physics = WarpPhysics(*world, device, self._own, self.model_fields, self._draw)
        self._fields = Fields(
            qpos=physics.qpos,
            qvel=physics.qvel,
            ctrl=physics.ctrl,
            timestep=model.opt.timestep,
            body_mass=torch.tensor(model.body_mass, dtype=torch.float32, device=self.device),
            **{name: array.clone() for name, array in physics.derived.items()},
            **source.names_of(model),
        )
        self._step_seconds = model.opt.timestep * self.task.frame_skip

        self._seeded = False
        self._elapsed, self.unstable = self._zeros(torch.int64), self._zeros(torch.int64)
        self._over, self._terminated = self._zeros(torch.bool), self._zeros(torch.bool)
        self._progress = self._zeros(torch.float32)
        self._starting = self._zeros(torch.bool)
        self._before = [getattr(physics, name).clone() for name in _STATE]
        state = [*self._state().values(), self._starting, self.unstable]
        record = recorder(str(self.device))
        self._outcome_recorded = Recorded(self._outcome, state, record)
        self._place_recorded = Recorded(self._placed, state, record)
        self._begin_recorded = Recorded(self._begin_episodes, state, record)

        self._declare_spaces(model.actuator_ctrlrange)

    @property
    def model_fields(self) -> tuple[str, ...]:
        """Fields of the model of which every environment has its own numbers."""
        return ()

    def _declare_spaces(self, ctrlrange: NDArray[np.float64]) -> None:
        low, high = ctrlrange.astype(np.float32).T
        width = self.task.observe(self._fields).shape[1]
        self.single_action_space = Box(low, high, dtype=np.float32)
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(self.num_envs, dtype=dtype, device=self.device)

    @torch.no_grad()
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode everywhere, or only where the bool tensor options["reset_mask"] `[num_envs]` is set.

        An int seed s gives environment i the seed s + i; None continues with its present seed. The start of
        episode k of an environment (0 at its seed) depends only on (seed, k), whatever the other environments do.
        """
        mask = (options or {}).get("reset_mask")
        if seed is not None or not self._seeded:
            self._reseed(seed_each(seed, self.num_envs), mask)
        self._starting.copy_(~self._zeros(torch.bool) if mask is None else self._mask(mask))
        # of some environments: groups of them ask at every step
        often = mask is not None
        self._physics.beside()
        (self._place_recorded if often else self._placed)()
        if self._physics.derived:
            self._physics.kinematics()
        return (self._begin_recorded if often else self._begin_episodes)()["obs"], {}

    def _mask(self, mask: Any) -> Tensor:
        """`mask` as a bool tensor `[num_envs]` on the device."""
        mask = torch.as_tensor(mask, device=self.device)
        if mask.dtype != torch.bool or mask.shape != (self.num_envs,):
            raise ValueError(f"a mask of environments must be bool of shape ({self.num_envs},), not {mask!r}")
        return mask

    def _reseed(self, seeds: list[int | None], mask: Any) -> None:
        """Give environments their seeds, if not None; their next episode is then their first."""
        if not self._seeded:
            if mask is not None:
                raise ResetNeeded("the first reset() must start every environment")
            entropy = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
            seeds = [entropy + i if given is None else given for i, given in enumerate(seeds)]
            self._seeded = True
        fresh = torch.tensor([given is not None for given in seeds], device=self.device)
        if mask is not None:
            fresh &= self._mask(mask)
        words = torch.tensor([signed(given or 0) for given in seeds], device=self.device)
        write_rows(self._seed, fresh, words)
        write_rows(self._episode, fresh, 0)

    def _prepare_starts(self, model: mujoco.MjModel) -> None:
        """Make room for all that decides where episodes start."""
        self._seed, self._episode = self._zeros(torch.int64), self._zeros(torch.int64)
        self._start_pose = torch.tensor(model.qpos0, device=self.device).expand(self.num_envs, -1)
        self._rest = torch.zeros(self.num_envs, model.nv, dtype=torch.float64, device=self.device)
        stream = EpisodeStream(self._seed, self._episode)
        self.task.reset_noise(stream, self._start_pose, self._rest)
        self._numbers = torch.zeros(self.num_envs, stream.drawn, dtype=torch.float64, device=self.device)

    def _draw(self) -> None:
        """Draw the numbers of every environment's next start."""
        from rlsparse.sim.warp_numbers import draw

        draw(self._seed, self._episode, self._numbers)

    def _place_at_starts(self) -> None:
        """Put environments that are `_starting` into the start of their next episode, whose numbers are drawn."""
        stream = EpisodeStream(self._seed, self._episode, self._numbers)
        qpos, qvel = self.task.reset_noise(stream, self._start_pose, self._rest)
        self._write_state(self._starting, qpos.float(), qvel.float())

    def _placed(self) -> Results:
        """Put environments that are `_starting` into their next start, as a step that can be recorded."""
        self._place_at_starts()
        return {}

    def _write_state(self, where: Tensor, qpos: Tensor, qvel: Tensor | float) -> None:
        """Put environments into a state."""
        for name, numbers in zip(_STATE, (qpos, qvel, 0.0), strict=True):
            write_rows(getattr(self._physics, name), where, numbers)

    def _begin_episodes(self) -> Results:
        """Begin the episodes of environments that are `_starting`, after their kinematics; return all `obs`."""
        where, fields = self._starting, self._fields
        for name, computed in self._physics.derived.items():
            write_rows(getattr(fields, name), where, 0.0 if name in _ZERO_AT_START and not self._own else computed)
        write_rows(self._progress, where, self.task.progress(fields))
        write_rows(self._elapsed, where, 0)
        self._episode += where
        write_rows(self._over, where, False)
        write_rows(self._terminated, where, False)
        return {"obs": self.task.observe(fields).float()}

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`, in native units.

        Returns observation `[num_envs, O]`, reward (float32), terminated, truncated `[num_envs]` and info:
        info["final_obs"] `[num_envs, O]` and info["final_qpos"] are those after the step, in every environment; where
        an episode has ended and `autoreset` is on, the observation is the first of the next episode.
        """
        if actions.shape != self._fields.ctrl.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {tuple(self._fields.ctrl.shape)}")
        if not self._seeded:
            raise ResetNeeded("call reset() before step()")
        physics = self._physics
        overwrite(self._before, [getattr(physics, name) for name in _STATE])
        physics.ctrl.copy_(actions)
        physics.advance()
        outcome = self._outcome_recorded()
        info = {name: outcome[name] for name in ("final_obs", "final_qpos")}
        if not self._autoreset:
            obs = info["final_obs"].clone()
        else:
            if physics.derived:
                physics.kinematics()
            obs = self._begin_recorded()["obs"]
        return obs, outcome["reward"], outcome["terminated"], outcome["truncated"], info

    def _outcome(self) -> Results:
        """Take over the results of the physics, except where an episode was over; return the results of the step.

        With autoreset, environments whose episode has ended now are put into the start of their next one.
        """
        fields, physics, going = self._fields, self._physics, ~self._over
        still = self._take_in_stable(going)
        blew_up = going & still
        self.unstable += blew_up
        self._elapsed += going

        progress = self.task.progress(fields)
        velocity = (progress - self._progress) / self._step_seconds
        self._progress.copy_(progress)
        reward, terminated = self.task.reward(fields, velocity, physics.ctrl)
        write_rows(self._terminated, going, terminated | blew_up)
        truncated = self._elapsed >= self._max_steps
        results = {
            "final_obs": self.task.observe(fields).float(),
            "final_qpos": physics.qpos.clone(),
            "reward": reward.float().masked_fill(still, 0.0),
            "terminated": self._terminated.clone(),
            "truncated": truncated,
        }
        ended = self._terminated | truncated
        if self._autoreset:
            self._starting.copy_(ended)
            self._place_at_starts()
        else:
            self._over |= ended
            self._write_state(blew_up, self._start_pose.float(), 0.0)  # or it would blow up at every step to come
        return results

    def _take_in_stable(self, going: Tensor) -> Tensor:
        """Restore the old state where the new one is not finite or the environment waits; return where that is so."""
        fields, physics = self._fields, self._physics
        stable = (torch.cat((physics.qpos, physics.qvel), 1).abs() < mujoco.mjMAXVAL).all(1)
        for computed in physics.derived.values():
            stable &= flat(computed).isfinite().all(1)
        moved = stable & going
        still = ~moved
        for name, old in zip(_STATE, self._before, strict=True):
            write_rows(getattr(physics, name), still, old)
        for name, computed in physics.derived.items():
            write_rows(getattr(fields, name), moved, computed)
        return still

    @property
    def qpos(self) -> Tensor:
        """Generalised positions `[num_envs, nq]` (m, rad, quaternions), some of which are not in the observation."""
        return self._physics.qpos.clone()

    @property
    def overflowed(self) -> Tensor:
        """Environments that ever had more contacts than the memory holds, and lost some; bool `[num_envs]`."""
        return self._physics.overflowed

    @property
    def bytes_per_env(self) -> float:
        """Device memory of the simulation over the number of environments."""
        return self._physics.bytes_per_world

    def halt(self, where: Tensor) -> None:
        """Let the environments `where` (bool `[num_envs]`) stand still until `reset`; only without autoreset."""
        self._over |= self._mask(where)

    def _state(self) -> dict[str, Tensor]:
        names = ("seed", "episode", "elapsed", "over", "terminated", "progress")
        derived = {name: getattr(self._fields, name) for name in self._physics.derived}
        return (
            {name: getattr(self._physics, name) for name in _STATE}
            | {name: getattr(self, f"_{name}") for name in names}
            | derived
            | self._physics.own
        )

    def get_state(self) -> dict[str, np.ndarray]:
        """The whole state, as numeric arrays with leading axis num_envs; call after reset."""
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
            array.copy_(torch.as_tensor(state[name]))
        self._seeded = True

    def close_extras(self, **kwargs: Any) -> None:
        """Free the simulation's memory."""
        for name in ("_physics", "_fields", "_outcome_recorded", "_place_recorded", "_begin_recorded"):
            self.__dict__.pop(name, None)


def adapt_solver(model: mujoco.MjModel) -> None:
    """Replace the solver that MuJoCo Warp does not have, PGS, by Newton's, and limit that one's iterations."""
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    if model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON:
        model.opt.iterations = min(model.opt.iterations, MOST_ITERATIONS)


def write_rows(array: Tensor, rows: Tensor, numbers: Tensor | float) -> None:
    """Write `numbers` into the rows chosen (bool `[N]`) of an array `[N, ...]`, in place and in one operation."""
    chosen = rows.reshape(-1, *[1] * (array.ndim - 1))
    if isinstance(numbers, Tensor):
        torch.where(chosen, numbers.to(array.dtype), array, out=array)
    else:
        array.masked_fill_(chosen, numbers)
