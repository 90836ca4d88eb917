"""The MuJoCo tasks on the CPU: all environments of a batch stepped by MuJoCo's own thread pool.

Results equal Gymnasium's v5 environments bitwise: the same physics calls, reset noise from the same
generators, and the arithmetic of `tasks`.
"""

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import SimulationError

from rlsparse.errors import EnvironmentFailure, UsageError, in_one_line
from rlsparse.sim.arguments import STEPS, plain
from rlsparse.sim.environment import entry_point
from rlsparse.sim.finite import place
from rlsparse.sim.spaces import check_actions
from rlsparse.sim.task import Fields, Task
from rlsparse.sim.tasks import batch_class, make_task, source_of_model
from rlsparse.sim.vector import StepResult, chosen_environments, seed_each, usable_cores

_64_BITS = (1 << 64) - 1

logger = logging.getLogger("rlsparse.sim")


def load_model(task: Task) -> mujoco.MjModel:
    """The task's model; raises UsageError or EnvironmentFailure."""
    route_warnings()
    return source_of_model(task).load(task)  # type: ignore[no-any-return]


def changed_spec(env_id: str, options: Mapping[str, Any], max_episode_steps: int | None) -> EnvSpec:
    """The specification of an environment with other arguments, for whoever copies it."""
    entry, steps = entry_point(env_id), {} if max_episode_steps is None else plain({STEPS: max_episode_steps})
    spec = gymnasium.spec(entry) if isinstance(entry, str) else entry
    return dataclasses.replace(
        spec, kwargs={**spec.kwargs, **options}, max_episode_steps=steps.get(STEPS, spec.max_episode_steps)
    )


class MujocoVectorEnv(VectorEnv):
    """`num_envs` copies of one of the tasks; see `rlsparse.sim.make`.

    `autoreset_mode` says when an environment whose episode is over starts the next one: at the end of that step
    (SAME_STEP), in place of its next step (NEXT_STEP), or at `reset` (DISABLED; until then it stands still, with
    reward 0). `options` are fields of the task. Raises UsageError for any other.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        seeds: Sequence[int] = (),
        **options: Any,
    ):
        self.spec = changed_spec(env_id, options, max_episode_steps)
        self._env_id = env_id
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": autoreset_mode}
        self._mode = autoreset_mode
        self._members = seeds
        self._max_steps = self.spec.max_episode_steps or np.iinfo(np.int64).max

        self.task = make_task(env_id, self.spec.kwargs)
        model = load_model(self.task)
        source = source_of_model(self.task)
        self._derived = source.fields_read(self.task, model)
        threads = min(usable_cores(), num_envs)
        low, high = model.actuator_ctrlrange.astype(np.float32).T
        self.single_action_space = check_actions(env_id, Box(low, high, dtype=np.float32))
        try:
            self._batch: Any = batch_class(self._derived)(model, num_envs, threads)
        except (mujoco.FatalError, RuntimeError, EnvironmentFailure) as error:
            raise EnvironmentFailure(f"{env_id}: {error}: {num_envs:,} environments may be too many") from error
        names = ("qpos", "qvel", "ctrl", *self._derived)
        arrays = {name: self._batch.bind(name) for name in names}
        for array in arrays.values():
            array.flags.writeable = True  # for set_state
        self._fields = Fields(
            **arrays, timestep=model.opt.timestep, body_mass=model.body_mass, **source.names_of(model)
        )
        self._start_pose, self._rest = model.qpos0.copy(), np.zeros(model.nv)
        self._step_seconds = model.opt.timestep * self.task.frame_skip

        self._generators: list[np.random.Generator] = []
        self._elapsed = np.zeros(num_envs, np.int64)
        self._progress = np.zeros(num_envs)
        self._mark_over(np.zeros(num_envs, bool))

        self._parts: list[tuple[slice, Task, Fields]] = [(slice(0, num_envs), self.task, self._fields)]
        width = self._width_of_observation()
        self.single_observation_space = Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def _width_of_observation(self) -> int:
        """Ask the task for all that it computes; raises UsageError where the model is not like the task's own."""
        try:
            self.task.progress(self._fields)
            self.task.reward(self._fields, self._progress, self._fields.ctrl)
            return int(self.task.observe(self._fields).shape[1])
        except (LookupError, ValueError) as error:
            fault = f"{self._env_id} does not fit the model {self.task.xml_file}: {in_one_line(error)[:200]}"
            raise UsageError(fault) from error

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere, or only where the bool array options["reset_mask"] `[num_envs]` is set.

        An int seed s gives environment i the seed s + i; None keeps the random generators as they are.
        """
        seeds, chosen = seed_each(seed, self.num_envs), chosen_environments(options, self.num_envs)
        if not self._generators:
            if not chosen.all():
                raise ResetNeeded("the first reset() must start every environment")
            self._generators = [seeding.np_random()[0] for _ in seeds]
        for i, given in enumerate(seeds):
            if given is not None and chosen[i]:
                self._generators[i] = seeding.np_random(given)[0]
        self._start_episodes(np.flatnonzero(chosen))
        self._mark_over(self._over & ~chosen)
        return self._observe(), {}

    def _start_episodes(self, ids: np.ndarray) -> None:
        fields = self._fields
        self._run(self._batch.reset, ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        for rows, task, _ in self._parts:
            for i in ids[(ids >= rows.start) & (ids < rows.stop)]:
                fields.qpos[i], fields.qvel[i] = task.reset_noise(self._generators[i], self._start_pose, self._rest)
        if self._derived:
            self._run(self._batch.forward, ids)
        self._elapsed[ids] = 0
        self._progress[ids] = self.task.progress(fields)[ids]

    def _observe(self) -> np.ndarray:
        seen = [task.observe(fields) for _, task, fields in self._parts]
        return seen[0] if len(seen) == 1 else np.concatenate(seen)

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every environment by one action `[num_envs, A]`, in native units.

        Returns observation `[num_envs, O]`, reward, terminated, truncated `[num_envs]` and info. With SAME_STEP, a
        finished environment's observation is the first of its next episode; info["final_obs"] (object array) has
        its last one where the mask info["_final_obs"] is set, info["final_qpos"] its last `qpos`. They exist only if
        some environment finished.
        """
        actions = np.asarray(actions)
        if actions.shape != self._fields.ctrl.shape:
            raise ValueError(f"actions have shape {actions.shape}, expected {self._fields.ctrl.shape}")
        if not self._generators:
            raise ResetNeeded("call reset() before step()")
        if self._num_over > 0:
            return self._step_others(actions)

        self._fields.ctrl[:] = actions
        self._run(self._batch.step, None, self.task.frame_skip)
        self._elapsed += 1
        result = self._read(actions)
        if self._num_over > 0 and self._mode is AutoresetMode.SAME_STEP:
            return self._start_next_episodes(result)
        return result

    def _step_others(self, actions: np.ndarray) -> StepResult:
        """`step` when episodes are over: those restart (NEXT_STEP) or stand still (DISABLED)."""
        waiting, live = self._over, np.flatnonzero(~self._over)
        self._fields.ctrl[live] = actions[live]
        self._run(self._batch.step, live, self.task.frame_skip)
        self._elapsed[live] += 1
        if self._mode is AutoresetMode.NEXT_STEP:
            self._start_episodes(np.flatnonzero(waiting))
        return self._read(actions, waiting)

    def _read(self, actions: np.ndarray, waiting: np.ndarray | None = None) -> StepResult:
        """The results of a step in which the environments `waiting` (bool) took no part."""
        progress = self.task.progress(self._fields)
        velocity = (progress - self._progress) / self._step_seconds
        self._progress[:] = progress
        told = [task.reward(fields, velocity[rows], actions[rows]) for rows, task, fields in self._parts]
        reward, terminated = told[0] if len(told) == 1 else map(np.concatenate, zip(*told, strict=True))
        if waiting is not None:
            reward[waiting] = 0.0
            terminated[waiting] &= self._mode is AutoresetMode.DISABLED
        truncated = self._elapsed >= self._max_steps
        over = terminated | truncated
        self._mark_over(over | waiting if waiting is not None and self._mode is AutoresetMode.DISABLED else over)
        return self._observe(), reward, terminated, truncated, {}

    def _start_next_episodes(self, result: StepResult) -> StepResult:
        observation, reward, terminated, truncated, _ = result
        ids = np.flatnonzero(self._over)
        final, final_qpos = (np.full(self.num_envs, None, dtype=object) for _ in range(2))
        for i in ids:
            final[i], final_qpos[i] = observation[i], self._fields.qpos[i].copy()
        info = {"final_obs": final, "_final_obs": self._over, "final_qpos": final_qpos, "_final_qpos": self._over}
        self._start_episodes(ids)
        self._mark_over(np.zeros(self.num_envs, bool))
        return self._observe(), reward, terminated, truncated, info

    @property
    def qpos(self) -> np.ndarray:
        """Generalised positions `[num_envs, nq]` (m, rad, quaternions), some of which are not in the observation."""
        return self._fields.qpos.copy()

    def halt(self, where: np.ndarray) -> None:
        """Let the environments `where` (bool `[num_envs]`) stand still until `reset`; only without autoreset."""
        self._mark_over(self._over | where)

    def _mark_over(self, over: np.ndarray) -> None:
        """Store which episodes have ended with no next one begun, bool `[num_envs]`, in a new array each time."""
        self._over, self._num_over = over, np.count_nonzero(over)

    def snapshots(self) -> np.ndarray:
        """State of every environment in its episode, `[num_envs, K]` float64, for `restore`."""
        derived = [getattr(self._fields, name).reshape(self.num_envs, -1) for name in self._derived]
        return np.concatenate([self._batch.state, *derived, self._elapsed[:, None]], 1)

    def restore(self, i: int, snapshot: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, int]:
        """Put environment i into the state of a snapshot of any one; return its observation, and the steps taken: 0.

        `actions` are those from the start of that episode to the snapshot. The time limit continues from there too;
        later episodes of i are the same as without this call.
        """
        width = self._batch.state.shape[1]
        self._batch.state[i] = snapshot[:width]
        for name in self._derived:
            array = getattr(self._fields, name)[i]
            array[...] = snapshot[width : width + array.size].reshape(array.shape)
            width += array.size
        self._elapsed[i] = int(snapshot[-1])
        self._progress[i] = self.task.progress(self._fields)[i]
        self._mark_over(self._over & (np.arange(self.num_envs) != i))
        return self._observe()[i], 0

    def get_state(self) -> dict[str, np.ndarray]:
        """The whole state, as numeric arrays with leading axis num_envs; call after reset."""
        generators = np.array([_words(generator) for generator in self._generators], np.uint64)
        state = {"physics": self._batch.state, "elapsed": self._elapsed, "over": self._over, "generators": generators}
        derived = {name: getattr(self._fields, name) for name in self._derived}
        return {name: array.copy() for name, array in (state | derived).items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a `get_state` of the same task and num_envs, else raise UsageError."""
        expected = self._batch.state.shape
        if state["physics"].shape != expected:
            raise UsageError(
                f"the saved simulator state has shape {state['physics'].shape}, but {self.num_envs} "
                f"environments of {self._env_id} on MuJoCo {mujoco.__version__} need {expected}"
            )
        self._batch.state[:] = state["physics"]
        for name in self._derived:
            getattr(self._fields, name)[:] = state[name]
        self._progress[:] = self.task.progress(self._fields)
        self._elapsed = state["elapsed"].copy()
        self._mark_over(state["over"].copy())
        self._generators = [_generator(words) for words in state["generators"]]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the simulator's threads."""
        self.__dict__.pop("_batch", None)

    def _run(self, call: Callable[..., None], *arguments: Any, **options: Any) -> None:
        try:
            call(*arguments, **options)
        except SimulationError as error:
            i = int(error.ids[0])
            where = f"{place(i, self.num_envs, self._members)} failed in step {self._elapsed[i] + 1} of its episode"
            raise EnvironmentFailure(f"{self._env_id}: {where} with MuJoCo's error {self._batch.error(i)}") from error


def _words(generator: np.random.Generator) -> list[int]:
    """The state of a PCG64 generator as six 64-bit words."""
    state = generator.bit_generator.state
    words = [state["state"]["state"], state["state"]["inc"]]
    halves = [half for word in words for half in (word >> 64, word & _64_BITS)]
    return [*halves, state["has_uint32"], state["uinteger"]]


def _generator(words: np.ndarray) -> np.random.Generator:
    """The inverse of `_words`."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)


_seen: Counter[str] = Counter()


def _log(message: str) -> None:
    if "settotalmass" in message:
        # Gymnasium's half_cheetah.xml uses it; a user cannot change that.
        logger.debug("MuJoCo: %s", message)
        return
    kind = re.sub(r"[\d.]+", "#", message)
    _seen[kind] += 1
    count = _seen[kind]
    if count in (1, 10, 100) or count % 1000 == 0:
        logger.warning("MuJoCo: %s (%d so far)", message.strip(), count)


def route_warnings() -> None:
    """Send MuJoCo's warnings to the logger "rlsparse.sim", repeated ones only now and then."""
    mujoco.set_mju_user_warning(_log)
