"""The task of a model of Stable-Baselines3 anew, to probe in."""

import dataclasses
import functools
from collections.abc import Callable

import gymnasium
from gymnasium.spaces import Box
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
    unwrap_vec_normalize,
)

from rlsparse.errors import UsageError
from rlsparse.run.torch_loop import environments_of
from rlsparse.sim.arguments import DRAWING, STEPS
from rlsparse.sim.environment import Environment
from rlsparse.sim.tasks import TASKS, make_task
from rlsparse.sim.user_envs import OWN_STATISTICS, EpisodeEnvironments, Obs, guarded, single_ones

MakeEnv = Callable[[], gymnasium.Env]
ONLY_WATCHING = (VecMonitor, VecCheckNan, VecVideoRecorder)
"""Wrappers that change neither observations nor dynamics."""


@dataclasses.dataclass(frozen=True)
class Environments(EpisodeEnvironments):
    """Where candidates of one model run."""

    seen: Callable[[Obs], Obs]
    """What the policy sees of an observation: normalised by the statistics of now, which stay as they are."""
    env_id: str | None
    """Registered id, where there is one."""


def environments(model: OnPolicyAlgorithm, make_env: MakeEnv | None) -> Environments:
    """Return environments like the model's; raises UsageError where they cannot be made without `make_env`.

    One of the MuJoCo v5 tasks, with any arguments, runs in the batched simulator, anything else in copies that
    `make_env`, or else gymnasium.make with the same arguments and wrappers, gives.
    """
    env = model.get_env()
    if env is None:
        raise UsageError("the model has no environment: give it one by its constructor, load(..., env=env) or set_env")
    if make_env is not None and not callable(make_env):
        raise UsageError(
            f"make_env is {make_env!r}: expected a function that makes one environment, such as "
            'lambda: gymnasium.make("Pendulum-v1")'
        )
    inner, wrappers = _unwrapped(env, stop_at_unknown=make_env is not None)
    spec = _spec(inner)
    seen = functools.partial(_seen, wrappers)
    if make_env is None and (task := _task(spec)) is not None:
        return Environments(**vars(environments_of(task)), seen=seen, env_id=task.id)
    make_env = make_env or _copier(spec)
    first = guarded("make", make_env)
    _check_spaces(first, inner)
    return Environments(**vars(single_ones(make_env, first)), seen=seen, env_id=spec.id if spec is not None else None)


def _unwrapped(env: VecEnv, stop_at_unknown: bool) -> tuple[VecEnv, list[VecEnvWrapper]]:
    """The environments inside, and the wrappers around them that change observations, innermost first."""
    wrappers: list[VecEnvWrapper] = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize | VecTransposeImage):
            wrappers.insert(0, env)
        elif stop_at_unknown:
            if unwrap_vec_normalize(env) is not None:
                raise UsageError(
                    f"VecNormalize is inside of {type(env).__name__}, where its statistics cannot be applied to what "
                    "make_env gives: put VecNormalize outside"
                )
            break
        elif not isinstance(env, ONLY_WATCHING):
            raise UsageError(
                f"the environments are wrapped in {type(env).__name__}, whose work on single episodes is not known: "
                "give make_env=, a function that makes one environment with the observations that it gives"
            )
        env = env.venv
    return env, wrappers


def _seen(wrappers: list[VecEnvWrapper], obs: Obs) -> Obs:
    for wrapper in wrappers:
        if isinstance(wrapper, VecNormalize):
            obs = wrapper.normalize_obs(obs)
        elif isinstance(wrapper, VecTransposeImage):
            obs = wrapper.transpose_observations(obs)
    return obs


def _spec(env: VecEnv) -> gymnasium.envs.registration.EnvSpec | None:
    """The specification of the environments without Monitor, which only watches; None if they are not registered."""
    try:
        spec = env.get_attr("spec", indices=0)[0]
    except AttributeError:
        return None
    if not isinstance(spec, gymnasium.envs.registration.EnvSpec):
        return None
    wrappers = tuple(w for w in spec.additional_wrappers if w.entry_point != f"{Monitor.__module__}:Monitor")
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return dataclasses.replace(spec, additional_wrappers=wrappers, kwargs=kwargs)


def _task(spec: gymnasium.envs.registration.EnvSpec | None) -> Environment | None:
    """The batched task that it is, with its arguments; None for anything else, and in wrappers."""
    if spec is None or spec.id not in TASKS or spec.additional_wrappers or spec.max_episode_steps is None:
        return None
    kwargs = {name: value for name, value in spec.kwargs.items() if name not in DRAWING}
    try:
        make_task(spec.id, kwargs)
    except UsageError:
        return None
    return Environment(spec.id, {**kwargs, STEPS: spec.max_episode_steps})


def _copier(spec: gymnasium.envs.registration.EnvSpec | None) -> MakeEnv:
    """What makes copies of a registered environment; raises UsageError where copies would differ."""
    if spec is None:
        raise UsageError("the environments are not registered with Gymnasium: give make_env=, which makes one")
    for wrapper in spec.additional_wrappers:
        if wrapper.kwargs is None or wrapper.name in OWN_STATISTICS:
            why = "keeps statistics of its own" if wrapper.name in OWN_STATISTICS else "does not tell its arguments"
            raise UsageError(
                f"the environments are wrapped in {wrapper.name}, which {why}, so they cannot be copied: give "
                "make_env=, a function that makes one"
            )
    return lambda: gymnasium.make(spec)


def _check_spaces(made: gymnasium.Env, inner: VecEnv) -> None:
    if not isinstance(made, gymnasium.Env):
        raise UsageError(f"make_env gave {made!r}: expected a Gymnasium environment")
    for name, own, theirs in (
        ("observations", made.observation_space, inner.observation_space),
        ("actions", made.action_space, inner.action_space),
    ):
        same = own == theirs or (isinstance(own, Box) and isinstance(theirs, Box) and own.shape == theirs.shape)
        if not same:
            raise UsageError(f"make_env makes an environment with {name} {own}, but the model is trained with {theirs}")
