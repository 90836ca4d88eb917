"""A `Recipe` says everything that determines a run; equal recipes and seeds give equal curves."""

import dataclasses
import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import tomli_w
from annotated_types import Ge

from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import UsageError, require
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.bounds import Count, CountFromZero, Expected
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.sparsity import DENSE, NewSparsity
from rlsparse.run import compatibility
from rlsparse.run.convert import Reader
from rlsparse.run.random_start import RANDOM, RandomStart
from rlsparse.run.reading import parse_toml
from rlsparse.run.warm_start import WarmStart
from rlsparse.sparse.config import Sparse

if TYPE_CHECKING:  # environments are imported once they are asked for: with them comes Gymnasium
    from rlsparse.sim.environment import Environment

Simulator = Literal["mujoco", "warp"]

MOST_ENVIRONMENTS = 2**20
"""Most environments at once, of all seeds together."""

MOST_WRAPPERS = 32
"""Most classes around an environment."""

LARGEST_SEED = 2**53 - 1
"""Tables of numbers are read as float64, in which the next whole number has no place of its own."""

MOST_STEPS = 10**12
"""Largest budget; a larger one is a mistake, and to foresee so many rollouts takes minutes."""

MOST_SAMPLES = 2**30
"""Most steps in a rollout of all seeds together."""


@dataclass(frozen=True)
class Recipe:
    """Environment, budget, seeds and the components that learn."""

    env: str
    """Environment: a card's name or alias, any Gymnasium id, module:Id, module:Class or file.py:Class."""
    env_kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of the environment, each as --env-kwargs.NAME VALUE: a number, true, a list as [0.2, 1.0], or text."""
    wrappers: tuple[str, ...] = ()
    """Classes put around each environment, the innermost first: package.module.Class, module:Class or file.py:Class."""
    seed: CountFromZero = 0
    """Seed of the first member; the others count up from it."""
    num_seeds: Count = 1
    """Members trained together in one process, each as if it were alone."""
    total_steps: Count = 1_000_000
    """Environment steps of each seed; the last rollout may overrun it."""
    num_envs: Count = 8
    """Environments of each seed."""
    rollout_length: Count = 256
    """Steps of every environment between two updates."""
    eval_every: Annotated[int, Ge(1), Expected("a positive number of steps")] | None = None
    """Steps between two evaluations; a twentieth of the budget if not given, more in a short run."""
    eval_episodes: Count = 10
    """Episodes of each evaluation, on seeds of their own."""
    env_restarts: CountFromZero | None = None
    """How often environments that raise may be made anew in the whole run, never if not given; not the MuJoCo tasks."""
    simulator: Simulator = "mujoco"
    """What steps the physics: MuJoCo on the CPU, as Gymnasium does, or MuJoCo Warp on a GPU, in float32."""
    policy: ActorCritic = field(default_factory=ActorCritic)
    """Networks and normalisers."""
    advantage: Estimator | Submodular = field(default_factory=GAE)
    """Advantage estimator."""
    algorithm: Algorithm = field(default_factory=PPO)
    """Policy optimiser."""
    explore: ExploRLer | None = None
    """Probing around the policy; none if not given."""
    sparse: Sparse | None = None
    """Sparse networks; dense ones if not given."""
    init: WarmStart | None = None
    """The trained policy to begin with; random parameters if not given."""

    def __post_init__(self) -> None:
        if self.env_kwargs:
            from rlsparse.sim.arguments import plain

            object.__setattr__(self, "env_kwargs", plain(self.env_kwargs))

    @property
    def environment(self) -> "Environment":
        """The environment with its arguments and wrappers."""
        from rlsparse.sim.environment import Environment

        return Environment(self.env, self.env_kwargs, self.wrappers)

    @property
    def seeds(self) -> range:
        """The seeds of the members."""
        return range(self.seed, self.seed + self.num_seeds)

    def layout(self, obs_size: int, action_size: int) -> Layout:
        """Return where the parameters for these sizes lie; there is no critic if advantages need none."""
        return self.policy.layout(obs_size, action_size, self.advantage.needs_critic)

    @property
    def sparsity(self) -> NewSparsity:
        """What says which weights exist: all of them unless networks are sparse."""
        return self.sparse or DENSE

    @property
    def beginning(self) -> RandomStart:
        """With what learning begins."""
        return self.init or RANDOM

    @property
    def gives(self) -> frozenset[str]:
        """What components may rely on."""
        return frozenset({"cpu-environments"} if self.simulator == "mujoco" else ())

    @property
    def batch_size(self) -> int:
        """B, samples of one rollout of one member."""
        return self.num_envs * self.rollout_length

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one member between two updates: those of its rollout, and of a second one if any."""
        return self.num_envs * (self.rollout_length + self.algorithm.second_length)

    @property
    def iterations(self) -> int:
        """Rollouts, and updates, until the budget is spent; fewer where probing takes part of it."""
        return math.ceil(self.total_steps / self.iteration_steps)

    @property
    def eval_interval(self) -> int:
        """Steps between two evaluations."""
        return self.eval_every or max(1, self.total_steps // 20)


def check(recipe: Recipe) -> None:
    """Raise UsageError with the first rule that a recipe breaks."""
    compatibility.check_bounds(recipe)
    _check_environment(recipe)
    compatibility.check_needs(recipe)
    _check_size(recipe)
    compatibility.check_components(recipe)


def _check_environment(recipe: Recipe) -> None:
    """Refuse what is known to be wrong without importing the environment, which a file may name."""
    if len(recipe.wrappers) > MOST_WRAPPERS:
        raise UsageError(f"--wrappers names {len(recipe.wrappers):,} classes: expected at most {MOST_WRAPPERS}")
    if not recipe.env or (recipe.simulator != "warp" and not recipe.env_kwargs):
        return
    from rlsparse.sim.tasks import TASKS, check_task

    if recipe.env in TASKS:
        check_task(recipe.env, recipe.env_kwargs)
    if recipe.simulator == "warp" and recipe.wrappers:
        raise UsageError("--simulator warp: --wrappers need single environments; use --simulator mujoco")
    if recipe.simulator == "warp" and recipe.env not in TASKS and ":" not in recipe.env:
        raise UsageError(
            f"--simulator warp: {recipe.env} is not one of the MuJoCo tasks that run there, {', '.join(TASKS)}, nor a "
            "task of yours, file.py:Class; use --simulator mujoco"
        )


def _check_size(recipe: Recipe) -> None:
    """Refuse what no machine holds, before the attempt takes all of its memory, and seeds that no table can tell."""
    if (over := recipe.seeds[-1] - LARGEST_SEED) > 0:
        raise UsageError(
            f"--seed {recipe.seed}: expected {recipe.seed - over} or less; larger ones are not exact in tables"
        )
    require(recipe.total_steps <= MOST_STEPS, "total_steps", recipe.total_steps, f"at most {MOST_STEPS:,}")
    simulated = recipe.num_seeds * max(recipe.num_envs, recipe.eval_episodes)
    if simulated > MOST_ENVIRONMENTS:
        raise UsageError(
            f"--num-seeds {recipe.num_seeds} with --num-envs {recipe.num_envs} and --eval-episodes "
            f"{recipe.eval_episodes} makes {simulated:,} environments: expected at most {MOST_ENVIRONMENTS:,}"
        )
    samples = recipe.num_seeds * recipe.iteration_steps
    if samples > MOST_SAMPLES:
        raise UsageError(
            f"--rollout-length {recipe.rollout_length} x --num-envs {recipe.num_envs} x --num-seeds {recipe.num_seeds} "
            f"makes a rollout of {samples:,} steps: expected at most {MOST_SAMPLES:,}"
        )
    probing = recipe.num_seeds * recipe.explore.width if recipe.explore else 0
    if probing > MOST_ENVIRONMENTS:
        raise UsageError(
            f"--num-seeds {recipe.num_seeds} with what --explore.proposal and --explore.probe ask for makes "
            f"{probing:,} candidates or episodes at once: expected at most {MOST_ENVIRONMENTS:,}"
        )


def to_dict(component: Any) -> dict[str, Any]:
    """Return a recipe or component as nested plain values; what is None is left out."""
    hints = get_type_hints(type(component))
    plain: dict[str, Any] = {}
    for f in fields(component):
        x = getattr(component, f.name)
        if dataclasses.is_dataclass(x):
            kind = {"kind": kind_of(type(x))} if len(kinds(hints[f.name])) > 1 else {}
            plain[f.name] = kind | to_dict(x)
        elif isinstance(x, dict):
            plain |= {f.name: without_infinity(x)} if x else {}
        elif x is not None and not (isinstance(x, tuple) and x == () == f.default):
            plain[f.name] = list(x) if isinstance(x, tuple) else x
    return plain


def without_infinity(x: Any) -> Any:
    """Return plain values with infinite numbers as the texts "inf" and "-inf", which every file can hold."""
    if isinstance(x, dict):
        return {name: without_infinity(item) for name, item in x.items()}
    if isinstance(x, list):
        return [without_infinity(item) for item in x]
    return str(x) if isinstance(x, float) and math.isinf(x) else x


def from_dict(data: dict[str, Any], source: str) -> Recipe:
    """Build a recipe from nested plain values; unknown keys and wrong types raise UsageError naming `source`."""
    recipe = Reader(source).build(Recipe, data)
    check(recipe)
    return recipe


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as a TOML document."""
    return tomli_w.dumps(to_dict(recipe))


def from_toml(text: str, source: str) -> Recipe:
    """Read a recipe from a TOML document; raises UsageError naming `source`."""
    return from_dict(parse_toml(text, source), source)
