"""A `Recipe` says everything that determines a run; equal recipes and seeds give equal curves."""

import dataclasses
import difflib
import math
import tomllib
import types
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from rlsparse.advantage.gae import GAE
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.scaffold import Scaffold
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import HPT
from rlsparse.algorithms.variance_reduced import NHARPG
from rlsparse.errors import UsageError, require
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.kinds import kind_of, kinds, others_with
from rlsparse.learner.layout import Layout
from rlsparse.learner.network import ActorCritic
from rlsparse.run import advantage_limits, algorithm_limits, explore_limits, simulator_limits, sparse_limits
from rlsparse.sparse.config import Sparse

Simulator = Literal["mujoco", "warp"]

MOST_ENVIRONMENTS = 2**20
"""Most environments at once, of all seeds together."""

WIDEST = 2**13
"""Most units in a hidden layer."""

MOST_SAMPLES = 2**30
"""Most steps in a rollout of all seeds together."""


@dataclass(frozen=True)
class Recipe:
    """Environment, budget, seeds and the components that learn."""

    env: str
    """Environment: a card's name or alias, or any Gymnasium id with Box observations and actions."""
    seed: int = 0
    """Seed of the first member; the others count up from it."""
    num_seeds: int = 1
    """Members trained together in one process, each as if it were alone."""
    total_steps: int = 1_000_000
    """Environment steps of each seed; the last rollout may overrun it."""
    num_envs: int = 8
    """Environments of each seed."""
    rollout_length: int = 256
    """Steps of every environment between two updates."""
    eval_every: int | None = None
    """Steps between two evaluations; a twentieth of the budget if not given."""
    eval_episodes: int = 10
    """Episodes of each evaluation, on seeds of their own."""
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

    @property
    def seeds(self) -> range:
        """The seeds of the members."""
        return range(self.seed, self.seed + self.num_seeds)

    def layout(self, obs_size: int, action_size: int) -> Layout:
        """Return where the parameters for these sizes lie; there is no critic if advantages need none."""
        return self.policy.layout(obs_size, action_size, self.advantage.needs_critic)

    @property
    def group_size(self) -> int | None:
        """Environments of a group that begin their episodes in the same state; None if each is by itself."""
        return self.advantage.group_size if isinstance(self.advantage, GroupRelative) else None

    @property
    def scaffold(self) -> Scaffold | None:
        """When groups that stall are helped; None if they never are."""
        scaffold = self.advantage.scaffold if isinstance(self.advantage, GroupRelative) else Scaffold()
        return scaffold if scaffold.after > 0 else None

    @property
    def cloning(self) -> HPT | None:
        """What says when members clone the best of their episodes; None: never."""
        objective = self.algorithm.objective if isinstance(self.algorithm, PPO) else None
        return objective if isinstance(objective, HPT) else None

    @property
    def batch_size(self) -> int:
        """B, samples of one rollout of one member."""
        return self.num_envs * self.rollout_length

    @property
    def iteration_steps(self) -> int:
        """Environment steps of one member between two updates: those of its rollout, and of a second one if any."""
        second = self.algorithm.second_length if isinstance(self.algorithm, NHARPG) else 0
        return self.num_envs * (self.rollout_length + second)

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
    policy = recipe.policy
    for name in ("num_seeds", "total_steps", "num_envs", "rollout_length", "eval_episodes"):
        require(getattr(recipe, name) > 0, name, getattr(recipe, name), "a positive whole number")
    require(recipe.seed >= 0, "seed", recipe.seed, "zero or a positive whole number")
    if recipe.eval_every is not None:
        require(recipe.eval_every > 0, "eval-every", recipe.eval_every, "a positive number of steps")
    algorithm_limits.check(recipe.algorithm)
    advantage_limits.check(recipe.advantage, recipe.num_envs, recipe.algorithm.normalise_advantages, recipe.explore)
    for name in ("actor_hidden", "critic_hidden"):
        widths = getattr(policy, name)
        expected = f"widths from 1 to {WIDEST}"
        require(all(0 < width <= WIDEST for width in widths), f"policy.{name}", " ".join(map(str, widths)), expected)
    require(math.isfinite(policy.log_std_init), "policy.log-std-init", policy.log_std_init, "a finite number")
    algorithm_limits.check_advantage(recipe.algorithm, recipe.advantage)
    _check_options(recipe)
    if recipe.simulator == "warp":
        simulator_limits.check(recipe.env, recipe.algorithm, recipe.advantage, recipe.explore)
    _check_size(recipe)
    algorithm_limits.check_fit(recipe.algorithm, recipe.num_envs, recipe.rollout_length)


def _check_options(recipe: Recipe) -> None:
    """Check the components that a recipe may do without."""
    if recipe.explore is not None:
        explore_limits.check(recipe.explore, recipe.num_envs)
        algorithm_limits.check_probing(recipe.algorithm, recipe.advantage, recipe.explore)
    if recipe.sparse is not None:
        sparse_limits.check(recipe.sparse, recipe.policy.actor_hidden, recipe.policy.critic_hidden)
        algorithm_limits.check_sparse(recipe.algorithm, recipe.sparse)


def _check_size(recipe: Recipe) -> None:
    """Refuse what no machine holds, before the attempt takes all of its memory."""
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
    probing = recipe.num_seeds * explore_limits.width(recipe.explore) if recipe.explore else 0
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
        elif x is not None:
            plain[f.name] = list(x) if isinstance(x, tuple) else x
    return plain


def from_dict(data: dict[str, Any], source: str) -> Recipe:
    """Build a recipe from nested plain values; unknown keys and wrong types raise UsageError naming `source`."""
    recipe = _build(Recipe, data, source, "")
    check(recipe)
    return recipe


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as a TOML document."""
    return tomli_w.dumps(to_dict(recipe))


def from_toml(text: str, source: str) -> Recipe:
    """Read a recipe from a TOML document; raises UsageError naming `source`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from error
    return from_dict(data, source)


def _build(cls: type, data: dict[str, Any], source: str, where: str) -> Any:
    names = {f.name for f in fields(cls)}
    hints = {name: hint for name, hint in get_type_hints(cls).items() if name in names}
    for key in data:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            hint = f": did you mean {where}{near[0]}?" if near else f" (known: {', '.join(sorted(hints))})"
            raise UsageError(f"{source}: unknown key {where}{key}{hint}")
    missing = [
        f.name
        for f in fields(cls)
        if f.name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{source}: missing key {where}{missing[0]}")
    usual = {f.name: f.default_factory for f in fields(cls)}
    return cls(**{key: _convert(hints[key], x, source, where + key, usual[key]) for key, x in data.items()})


def _build_kind(components: dict[str, type], data: Any, source: str, where: str, usual: Any) -> Any:
    """Build a component of the kind that is named, or else of the usual one, which is the field's default."""
    known = ", ".join(components)
    if not isinstance(data, dict):
        raise UsageError(f"{source}: {where} = {data!r} should be a table whose kind is one of {known}")
    if "kind" not in data:
        return _build(usual, data, source, where + ".")
    if data["kind"] not in list(components):
        raise UsageError(f"{source}: {where}.kind = {data['kind']!r} should be one of {known}")
    cls, values = components[data["kind"]], {key: x for key, x in data.items() if key != "kind"}
    for key in values:
        if others := others_with(key, cls, components):
            raise UsageError(f"{source}: unknown key {where}.{key}: {data['kind']} has none, use {' or '.join(others)}")
    return _build(cls, values, source, where + ".")


def _convert(hint: Any, x: Any, source: str, where: str, usual: Any = None) -> Any:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    components = kinds(hint)
    if len(components) > 1:
        return _build_kind(components, x, source, where, usual)
    if get_origin(hint) is types.UnionType:
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        if x in get_args(hint):
            return x
        raise UsageError(f"{source}: {where} = {x!r} should be one of {', '.join(map(str, get_args(hint)))}")
    if dataclasses.is_dataclass(hint) and isinstance(x, dict):
        return _build(hint, x, source, where + ".")  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(x, list):
        return tuple(_convert(get_args(hint)[0], item, source, where) for item in x)
    if hint is float and type(x) in (int, float):
        return float(x)
    if type(x) is hint:
        return x
    expected = getattr(hint, "__name__", str(hint))
    raise UsageError(f"{source}: {where} = {x!r} should be a value of type {expected}")
