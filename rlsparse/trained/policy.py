"""The trained policy of one member, and how it acts in its environment."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rlsparse.errors import BROKEN, DivergenceError, EnvironmentFailure, RlsparseError, UsageError, in_one_line

if TYPE_CHECKING:  # imported once the command line is known to be good
    import gymnasium
    import numpy as np

    from rlsparse.learner.actors import Actors
    from rlsparse.run.policy_file import Best, TrainedPolicy
    from rlsparse.run.recipe import Recipe
    from rlsparse.sim.environment import Environment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicyFlags:
    """The flags of every command that uses a trained policy."""

    policy: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR_or_CARD")]
    """A run directory, a folder whose newest run is meant, or an agent card that ships a trained policy (see rlsparse
    agents)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """Environment; needed for a card with policies for several, otherwise the one the policy was trained on."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, each as --env-kwargs.NAME VALUE, beside those that the policy was trained with."""
    wrappers: tuple[str, ...] | None = None
    """Classes put around the environment, the innermost first; those that the policy was trained with if not given."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which member of the population, by its seed; the first one if not given."""
    density: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Which of the networks that --sparse ast trained at once; the densest if not given."""
    best: bool = False
    """Of a run, the policy of the best evaluation in place of the last one; it was selected by that evaluation."""
    trust: bool = False
    """Run the code of the environment that the file names, whatever it is; a line says first which that is."""


@dataclass(frozen=True)
class Member:
    """The trained policy of one seed, and the environment it is to act in."""

    path: Path
    """File of the policy."""
    environment: "Environment"
    trained_on: str
    """Id of the environment that it was trained on."""
    actors: "Actors"
    """Of this seed alone, S = 1."""
    seeds: tuple[int, ...]
    """All seeds that the file holds."""
    best: "Best | None" = None
    """Which evaluation was its best, if it is the policy of that one."""

    @property
    def env_id(self) -> str:
        """Id of the environment that it is to act in."""
        return self.environment.id

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.actors.seeds[0]

    @property
    def title(self) -> str:
        """Say which seed it is, and which others could be chosen."""
        others = f" (of {_seeds_text(self.seeds)}; --seed chooses)" if len(self.seeds) > 1 else ""
        best = self.best
        selected = f"best of {best.evaluations} evaluations, after {best.total_steps:,} steps: " if best else ""
        return f"{selected}policy of seed {self.seed}{others}"


@dataclass(frozen=True)
class Episode:
    """How one episode went; its return is undiscounted."""

    seed: int
    episode_return: float
    length: int


def load_member(path: Path, env_id: str | None, flags: PolicyFlags, index: int = 0) -> Member:
    """Read what `named_policy.find_policy` found, and choose by --density and --seed, or else by the member's index.

    Raises UsageError for a density, seed or member that the file does not hold, and for an environment whose code
    nobody trusts; RunDirectoryError for a damaged file.
    """
    from rlsparse.run import policy_file

    policy = policy_file.load(path)
    actors = policy.actors if flags.density is None else of_density(policy, flags.density)
    environment = acting_environment(policy.recipe, env_id, flags, path)
    seeds = actors.seeds
    if flags.seed is not None and flags.seed not in seeds:
        raise UsageError(f"--seed {flags.seed}: {path} holds {_seeds_text(seeds)}")
    if not 0 <= index < len(seeds):
        raise UsageError(f"member {index}: {path} holds members 0 to {len(seeds) - 1}, of {_seeds_text(seeds)}")
    index = index if flags.seed is None else seeds.index(flags.seed)
    best = policy.best[index] if policy.best else None
    return Member(path, environment, policy.recipe.env, actors.only(index), seeds, best)


def acting_environment(recipe: "Recipe", env_id: str | None, flags: PolicyFlags, path: Path) -> "Environment":
    """Return the environment that a policy, trained by `recipe`, is to act in, as the command line changes it.

    Arguments and wrappers of the recipe belong to its own environment alone. Raises UsageError for code that a file
    names and nobody trusts.
    """
    from rlsparse.run.environment_files import warn_of_changes
    from rlsparse.run.foreign import class_named
    from rlsparse.run.trust import trust_environment
    from rlsparse.sim.arguments import located
    from rlsparse.sim.environment import Environment
    from rlsparse.sim.user_classes import shown_name

    environment = recipe.environment
    if env_id is not None:
        own = shown_name(env_id) == shown_name(recipe.env)
        environment = replace(environment, id=env_id) if own else Environment(env_id)
    if flags.wrappers is not None:
        environment = replace(environment, wrappers=tuple(map(class_named, flags.wrappers)))
    trust_environment(environment, flags.env and env_id, path, flags.trust, flags.wrappers)
    environment = replace(environment, kwargs={**environment.kwargs, **located(flags.env_kwargs)})
    warn_of_changes(path.parent, environment)
    return environment


def of_density(policy: "TrainedPolicy", density: float) -> "Actors":
    """Return the policies of one density, of several that were trained. Raises UsageError if there is none such."""
    import numpy as np

    sparse, levels = policy.recipe.sparse, policy.levels
    densities = () if sparse is None or levels is None else sparse.densities_at_once()
    near = [k for k, known in enumerate(densities) if math.isclose(known, density, abs_tol=1e-6)]
    if not near or levels is None:
        known = ", ".join(f"{x:g}" for x in densities)
        held = f"networks of density {known}" if known else "one network only (--sparse ast trains several)"
        raise UsageError(f"--density {density:g}: the policy holds {held}")
    return replace(policy.actors, params=np.where(levels > near[0], policy.actors.params, np.float32(0.0)))


def _seeds_text(seeds: tuple[int, ...]) -> str:
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]} only"


def make_environment(member: Member, render_mode: str | None = None) -> "gymnasium.Env":
    """Make the environment that a policy is to act in.

    Raises UsageError if its sizes are not the policy's, UnsupportedEnvironment, or EnvironmentFailure if it cannot be
    made.
    """
    import numpy as np

    with _failures_of(member.env_id):  # importing mujoco fails where MUJOCO_GL names what is not there
        from rlsparse.sim.cpu import route_warnings
        from rlsparse.sim.environment import make_single
        from rlsparse.sim.spaces import supported_spaces

        route_warnings()
        env = make_single(member.environment, render_mode)
        spaces = supported_spaces(member.env_id, env.observation_space, env.action_space)
    sizes = [int(np.prod(space.shape)) for space in spaces]
    expected = [member.actors.layout.obs_size, member.actors.layout.action_size]
    if sizes != expected:
        here = " with these arguments and wrappers" if member.env_id == member.trained_on else ""
        raise UsageError(
            f"{member.env_id}{here} has {sizes[0]} observations and {sizes[1]} actions, but the policy, trained on "
            f"{member.trained_on}, has {expected[0]} and {expected[1]}"
        )
    return env


@contextmanager
def closing(env: "gymnasium.Env") -> Iterator["gymnasium.Env"]:
    """Close an environment in the end; one that cannot be closed is told of, and costs no result."""
    try:
        yield env
    finally:
        try:
            env.close()
        except BROKEN as error:
            log.warning("the environment failed in close with %s", in_one_line(error))


def run_episode(
    env: "gymnasium.Env",
    actors: Callable[["np.ndarray"], "np.ndarray"],
    seed: int,
    watch: Callable[[int], None] = lambda step: None,
) -> Episode:
    """Run one deterministic episode from `reset(seed=seed)`, of at most `episodes.STEP_CAP` steps.

    `actors` act as `Actors` of one member do: raw obs [1, 1, O] to actions [1, 1, A] in units of half the range.
    `watch` is called with the number of steps made, after the reset and after every step. Raises DivergenceError for
    an action that is not finite, EnvironmentFailure if the environment raises.
    """
    import numpy as np

    from rlsparse.sim.collect import ActionBox
    from rlsparse.sim.episodes import STEP_CAP
    from rlsparse.sim.gym import as_number, as_vector

    obs_size = env.observation_space.low.size  # type: ignore[attr-defined]
    name, space = env.spec.id if env.spec else "the environment", env.action_space
    to_native = ActionBox(space.low.ravel(), space.high.ravel())  # type: ignore[attr-defined]
    with _failures_of(name):
        first, _ = env.reset(seed=seed)
        obs = as_vector(first, obs_size)
    watch(0)
    episode_return, length, over = 0.0, 0, False
    while not over and length < STEP_CAP:
        action = actors(obs[None, None])[0, 0]
        if not np.isfinite(action).all():
            raise DivergenceError(f"the policy's action is not finite at step {length} of the episode with seed {seed}")
        native = to_native(action).reshape(space.shape).astype(space.dtype)
        with _failures_of(name):
            observed, reward, terminated, truncated, _ = env.step(native)
            obs = as_vector(observed, obs_size)
            episode_return += as_number(reward)
            over = bool(terminated or truncated)
        length += 1
        watch(length)
    return Episode(seed, episode_return, length)


@contextmanager
def _failures_of(env_id: str) -> Iterator[None]:
    try:
        yield
    except RlsparseError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as in training
        raise EnvironmentFailure(f"{env_id} failed with {in_one_line(error)}") from error
