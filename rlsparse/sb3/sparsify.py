"""Make a model of Stable-Baselines3 sparse, and load one that is.

model = sparsify(PPO("MlpPolicy", "HalfCheetah-v5"), sparsity=0.9)
model.learn(1_000_000)
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.vec_env import VecEnv

from rlsparse.errors import UsageError, nearest
from rlsparse.learner.bounds import out_of_bounds
from rlsparse.learner.kinds import kinds
from rlsparse.sb3.masks import Sparsity
from rlsparse.sb3.supported import refuse_masks
from rlsparse.sb3.training import SparseTraining, sparse_class
from rlsparse.sb3.vec_env import make_vec_env
from rlsparse.sparse.budgets import Budget
from rlsparse.sparse.config import Rule, Sparse
from rlsparse.sparse.rules import Exchange

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseAlgorithm)

LEAST_STEPS = 4 * 2048
"""Steps between two exchanges, at least, of a rule that is given by its name: four rollouts of PPO."""


def sparsify(
    model: Model,
    sparsity: float = 0.9,
    rule: str | Exchange = "rigl",
    *,
    actor_sparsity: float | None = None,
    critic_sparsity: float | None = None,
    budget: Budget = "erk",
    init: Literal["rescaled", "masked"] = "rescaled",
    rate_power: float = 0.5,
    max_kl: float | None = None,
    seed: int | None = None,
) -> Model:
    """Make the networks of a PPO, A2C or TRPO sparse from now on, and return that model.

    `sparsity` is the share of the weights of linear layers that is absent; `rule` says which are there: "static",
    "set", "rigl", "magnitude", or one with settings of its own, as RigL(drop=0.2). `seed` is of the masks: the model's,
    or any, if not given. The others are as in `rlsparse.sparse.config.Sparse`. The model's class becomes a subclass of
    what it was. Raises UsageError for what is not supported, with the model as it was.
    """
    refuse_masks(model)
    assert isinstance(model, OnPolicyAlgorithm)
    if isinstance(model, SparseTraining):
        raise UsageError(f"this {model.dense_class.__name__} is sparse already: sparsify a new model")
    if isinstance(getattr(model, "sparsity", None), Sparsity):
        name = type(model).__name__
        raise UsageError(f"this {name} was saved with masks: to go on with them, load it by load_sparse({name}, path)")
    config = Sparse(
        sparsity,
        actor_sparsity=actor_sparsity,
        critic_sparsity=critic_sparsity,
        budget=_one_of("budget", budget, get_args(Budget)),
        init=_one_of("init", init, ("rescaled", "masked")),
        rate_power=rate_power,
        rule=_rule(rule, model.n_steps * model.n_envs),
        max_kl=max_kl,
    )
    _check(config)
    if seed is None:
        seed = model.seed if model.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
    model.sparsity = Sparsity(config, model.policy, seed, _in_line(model))  # type: ignore[attr-defined]
    model.__class__ = sparse_class(type(model))  # type: ignore[assignment] # a subclass
    _warn(model, config)
    return model


def load_sparse(
    algorithm: type[Model], path: str | Path | BufferedIOBase, env: Any = None, device: str = "auto", **options: Any
) -> Model:
    """Load a model that was sparse when it was saved, as `algorithm.load` does, and go on with its masks.

    `env` may also be an id: then `make_vec_env` makes as many environments as the model had. Raises UsageError if the
    model was not sparse, or if `env` is nothing of the kind.
    """
    dense: Any = getattr(algorithm, "dense_class", algorithm)
    if not issubclass(dense, OnPolicyAlgorithm):
        raise UsageError(f"{dense.__name__} is no on-policy algorithm: only PPO, A2C and TRPO can be sparse")
    if not isinstance(env, str | gymnasium.Env | VecEnv | None):
        raise UsageError(f"env is {env!r}: expected an id, a Gymnasium environment or a VecEnv")
    model: Any = sparse_class(dense).load(path, None if isinstance(env, str) else env, device, **options)
    if "sparsity" not in vars(model):
        raise UsageError(f"{path} was saved without masks: {dense.__name__}.load reads it")
    if isinstance(env, str):
        model.set_env(make_vec_env(env, model.n_envs))
    if env is not None and model.sparsity.normalised and model.get_vec_normalize_env() is None:
        log.warning("%s learned under VecNormalize, and this environment is without: give it the saved one", path)
    return model


def _rule(given: Any, steps: int) -> Any:
    """Return the rule; one given by name waits long enough between exchanges where rollouts have few `steps`."""
    if isinstance(given, Exchange):
        if given.own_loop:
            raise UsageError(f"the rule {type(given).__name__} needs our own training loop: use rigl, set or magnitude")
        return given
    options = {name: kind for name, kind in kinds(Rule).items() if not getattr(kind, "own_loop", True)}
    if not isinstance(given, str):
        raise UsageError(f"rule is {given!r}: expected one of {', '.join(options)}, or a rule such as RigL(drop=0.2)")
    rule: Any = options[_one_of("rule", given, options)]()
    return (
        replace(rule, every=max(rule.every, math.ceil(LEAST_STEPS / steps)))
        if hasattr(rule, "every") and rule.grows
        else rule
    )


def _one_of(name: str, given: Any, options: Iterable[str]) -> Any:
    options = list(options)
    if given not in options:
        near = nearest(str(given).lower(), options)
        hint = f"; did you mean {near}?" if near else ""
        raise UsageError(f"{name} is {given!r}: expected one of {', '.join(options)}{hint}")
    return given


def _check(config: Sparse) -> None:
    for name, given, expected in out_of_bounds(config):
        raise UsageError(f"{name} is {given!r}: expected {expected}")
    start, end = getattr(config.rule, "start", 0.0), getattr(config.rule, "end", 1.0)
    if start >= end:
        raise UsageError(f"rule.start is {start:g}: expected less than rule.end, {end:g}")


def _in_line(model: OnPolicyAlgorithm) -> bool:
    """Whether each linear layer of a network follows on the one before."""
    policy: Any = model.policy
    extractor = type(getattr(policy, "features_extractor", None))
    return extractor is FlattenExtractor and type(getattr(policy, "mlp_extractor", None)) is MlpExtractor


def _warn(model: Any, config: Sparse) -> None:
    for slot, kept in config.budgets(model.sparsity.masks.layout):
        if kept < slot.shape[1]:
            log.warning("%s keeps %s weights for %s units, so some are dead", slot.name, kept, slot.shape[1])
    if model.num_timesteps and not config.rule.starts_dense:
        log.warning(
            'this %s has learned for %s steps, and most of its weights are gone: rule="magnitude" lets them go slowly',
            model.dense_class.__name__,
            f"{model.num_timesteps:,}",
        )
