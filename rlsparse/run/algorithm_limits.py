"""What the settings of the algorithms may be: their ranges, and which go together."""

import math
from dataclasses import fields
from typing import Any

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.advantage.kinds import Estimator
from rlsparse.advantage.submodular import Submodular
from rlsparse.advantage.vtrace import VTrace
from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.natural_gradient import MFAC
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import A2C, HPT
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG
from rlsparse.errors import UsageError, require
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.learner.kinds import kind_of
from rlsparse.run.explore_limits import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, SURENESS, Range
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import AST

RANGES: dict[str, Range] = {
    **dict.fromkeys(("epochs", "minibatches", "critic_epochs", "critic_minibatches"), COUNT),
    **dict.fromkeys(("fisher_subsample", "backtracks", "iterations", "samples", "second_length", "episodes"), COUNT),
    **dict.fromkeys(("learning_rate", "clip_range", "max_grad_norm", "adam_epsilon", "target_kl"), POSITIVE),
    **dict.fromkeys(("clip_range_high", "output_step", "step_length"), POSITIVE),
    **dict.fromkeys(("entropy_coef", "value_coef", "damping", "step_power"), NOT_NEGATIVE),
    "eta_power": (lambda x: 0 < x <= 1, "a number above 0, at most 1"),
    "success_return": (math.isfinite, "a finite number"),
    "gate": SHARE,
    "tolerance": (lambda x: 0 <= x < 1, "a number from 0 on, below 1"),
    "backtrack_factor": SURENESS,
}
"""Ranges by field; None is in all of them, and fields that are yes or no, or one of a few words, need none."""


def check(algorithm: Algorithm) -> None:
    """Raise UsageError with the first setting that is out of its range."""
    _check_ranges("algorithm", algorithm)
    if isinstance(algorithm, TRPO):
        _check_ranges("algorithm.solver", algorithm.solver)
    elif isinstance(algorithm, PPO):
        _check_ranges("algorithm.objective", algorithm.objective)


def _check_ranges(where: str, component: Any) -> None:
    for name in (f.name for f in fields(component) if f.name in RANGES):
        given, (holds, expected) = getattr(component, name), RANGES[name]
        require(given is None or holds(given), f"{where}.{name}", given, expected)


def check_sparse(algorithm: Algorithm, sparse: Sparse) -> None:
    """Raise UsageError if the rule needs an update that this algorithm does not have."""
    rule = sparse.rule
    if rule.own_loop and not isinstance(algorithm, PPO):
        name = "TRPO" if isinstance(algorithm, TRPO) else algorithm.kind
        raise UsageError(
            f"--sparse {kind_of(type(rule))} works minibatch by minibatch, and {name}'s policy has none: use "
            "rigl, set, static or magnitude, or --algorithm ppo"
        )
    if isinstance(rule, AST) and isinstance(algorithm, PPO) and len(rule.sparser) >= algorithm.minibatches:
        raise UsageError(
            f"--sparse.rule.sparser makes {1 + len(rule.sparser)} networks that take turns, but "
            f"--algorithm.minibatches is {algorithm.minibatches}: expected at least one minibatch for each"
        )
    if isinstance(rule, AST) and isinstance(algorithm, PPO) and algorithm.objective.whole_episodes:
        raise UsageError(
            f"--sparse ast trains its networks in turns, a minibatch each, and --algorithm.objective "
            f"{kind_of(type(algorithm.objective))} makes one of all samples: use another objective, or rigl, set, "
            "static, magnitude or dcil"
        )
    if sparse.rule.dual_path and isinstance(algorithm, PPO) and algorithm.optimiser != "adam":
        raise UsageError(
            f"--sparse dcil trains absent weights by Adam too, and exchanges its moments, which --algorithm.optimiser "
            f"{algorithm.optimiser} has none of: use adam, or rigl, set, static or magnitude"
        )


def check_probing(algorithm: Algorithm, advantage: Any, explore: ExploRLer) -> None:
    """Raise UsageError if the algorithm cannot use what this probing gives it, or has not what it changes."""
    if isinstance(algorithm, PPO):
        _check_own_actions(algorithm, advantage, explore)
    elif isinstance(algorithm, TRPO):
        if explore.moments == "transport":
            raise UsageError(
                "--explore.moments transport forgets the direction in which Adam moved the policy, and trpo moves it "
                "without Adam: use keep or reset, or --algorithm ppo"
            )
    elif not isinstance(explore.probe, Episodes | Racing):
        raise UsageError(
            f"--explore.probe {kind_of(type(explore.probe))} judges by the rollout, and --algorithm {algorithm.kind} "
            "says itself by which policy rollouts are collected: use episodes or racing, or --algorithm ppo"
        )


def _check_own_actions(algorithm: PPO, advantage: Any, explore: ExploRLer) -> None:
    corrected = isinstance(getattr(advantage, "inner", advantage), VTrace)
    if isinstance(algorithm.objective, A2C) and isinstance(explore.probe, InRollout) and not corrected:
        raise UsageError(
            "--algorithm.objective a2c takes every action for the policy's own, but with --explore.probe in-rollout "
            "candidates act too: use clip, gspo, cispo or sso, or --advantage vtrace, or episodes or racing"
        )


def check_advantage(algorithm: Algorithm, advantage: Estimator | Submodular) -> None:
    """Raise UsageError if the advantages cannot be had of all that the algorithm collects, or help as it does."""
    if isinstance(algorithm, NHARPG) and isinstance(advantage, GroupRelative):
        raise UsageError(
            "group-relative advantages compare episodes of groups, and the second rollout of --algorithm n-harpg "
            "breaks into them: use --advantage gae, or --algorithm n-pg-igt"
        )
    cloning = isinstance(algorithm, PPO) and isinstance(algorithm.objective, HPT)
    if cloning and isinstance(advantage, GroupRelative) and advantage.scaffold.after > 0:
        raise UsageError(
            "--advantage.scaffold.after and --algorithm.objective hpt both help with the best episodes where none "
            "succeeds, and would count each other's: use one of them"
        )


def check_fit(algorithm: Algorithm, num_envs: int, rollout_length: int) -> None:
    """Raise UsageError if the algorithm cannot take rollouts of this shape."""
    batch, normalises = num_envs * rollout_length, algorithm.normalise_advantages
    if isinstance(algorithm, PPO):
        if algorithm.objective.whole_episodes and algorithm.minibatches > 1:
            raise UsageError(
                f"--algorithm.objective {kind_of(type(algorithm.objective))} weighs whole episodes, which "
                f"--algorithm.minibatches {algorithm.minibatches} would tear apart: use --algorithm.minibatches 1"
            )
        _check_minibatches("minibatches", algorithm.minibatches, num_envs, rollout_length, normalises)
        return
    if normalises and batch == 1:
        raise UsageError(
            "rollouts of one sample are too few to normalise advantages: use a longer --rollout-length, or "
            "--algorithm.no-normalise-advantages"
        )
    if isinstance(algorithm, TRPO):
        _check_solver(algorithm, batch)
    elif isinstance(algorithm, NHARPG) and normalises and algorithm.second_length * num_envs == 1:
        raise UsageError(
            "--algorithm.second-length 1 of one environment is too little to normalise advantages: use more, or "
            "--algorithm.no-normalise-advantages"
        )
    _check_minibatches("critic-minibatches", algorithm.critic_minibatches, num_envs, rollout_length, False)


def _check_solver(algorithm: TRPO, batch: int) -> None:
    """What the solver draws must be in a rollout of `batch` samples."""
    subsample = algorithm.fisher_subsample
    require(subsample <= batch, "algorithm.fisher_subsample", subsample, f"at most the {batch} samples of a rollout")
    if isinstance(algorithm.solver, MFAC):
        samples = algorithm.solver.samples
        require(samples <= batch, "algorithm.solver.samples", samples, f"at most the {batch} samples of a rollout")
        require(
            algorithm.damping > 0, "algorithm.damping", algorithm.damping, "a positive number, which mfac divides by"
        )


def _check_minibatches(flag: str, parts: int, num_envs: int, rollout_length: int, normalises: bool) -> None:
    """Parts must be equal, and larger than one sample where advantages are normalised in each."""
    batch = num_envs * rollout_length
    if batch % parts:
        most = batch // 2 if normalises and batch > 1 else batch
        near = min(parts, most)
        nearest = next(d for k in range(near) for d in (near - k, near + k) if batch % d == 0 and d <= most)
        raise UsageError(
            f"--algorithm.{flag} {parts} does not divide the rollout of {num_envs} environments x "
            f"{rollout_length} steps = {batch} samples: the nearest number that does is {nearest}"
        )
    if normalises and batch == parts:
        raise UsageError(
            f"--algorithm.{flag} {parts} leaves one sample in each minibatch, too few to normalise "
            "advantages: use fewer, or --algorithm.no-normalise-advantages"
        )
