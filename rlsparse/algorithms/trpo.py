"""Trust region policy optimisation. Source: Schulman et al., arXiv 1502.05477."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from rlsparse.algorithms.critic import CriticByAdam
from rlsparse.algorithms.natural_gradient import CG, NEEDS, Solver, System, TrustRegion, dot, line_search
from rlsparse.errors import require
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.bounds import Count, NotNegative, Positive, Probability, Varying
from rlsparse.learner.gaussian import gaussian_entropy
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.sparsity import Terms


@dataclass(frozen=True)
class TRPO(CriticByAdam):
    """One natural-gradient step inside a KL trust region, by line search; the critic by minibatch Adam."""

    target_kl: Varying[Positive] = 0.01
    """Largest mean KL divergence from the policy at the beginning of an update."""
    kl_reduction: Literal["sum", "mean_dims"] = "sum"
    """KL divergence of all action dimensions together, or their average, as in sb3-contrib."""
    damping: Varying[NotNegative] = 0.1
    """Multiple of the identity added to the Fisher information."""
    solver: Solver = field(default_factory=CG)
    """How the natural gradient is found."""
    fisher_subsample: Count = 1
    """Estimate the Fisher information on a random share 1 / this of the samples; the line search uses all."""
    backtrack_factor: Varying[Probability] = 0.8
    """The line search multiplies a refused step by this."""
    backtracks: Count = 10
    """Steps that the line search tries; if none is good enough, the policy does not change at all."""

    needs: ClassVar = NEEDS
    gives: ClassVar = frozenset({"own-rollout", "others-actions"})

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless rollouts are large enough."""
        super().check(recipe)
        expected = f"at most the {recipe.batch_size} samples of a rollout"
        fits = self.fisher_subsample <= recipe.batch_size
        require(fits, "algorithm.fisher_subsample", self.fisher_subsample, expected)

    def describe(self, rollouts: int) -> str:
        """Describe the updates of this number of rollouts, in words."""
        return f"{rollouts:,} natural gradient steps of the policy, {self.describe_critic(rollouts)}"

    def update(self, learner: Learner, batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch; yields once."""
        gradient = learner.layout.views(namespace(learner.params).zeros_like(learner.params))

        def improve(batch: Batch) -> Terms:
            return self.improve_policy(learner, batch, gradient)

        # where nothing is drawn
        recorded = learner.records_steps and self.solver.records and self.fisher_subsample == 1
        terms = (learner.recorded_step((self, "policy"), improve, batch) if recorded else improve)(batch)
        terms["value_loss"] = self.fit_critic(learner, batch, gradient)
        yield EpochStats(**terms)

    def scalars(self, stats: EpochStats, member: int) -> dict[str, float]:
        """Return a member's numbers for TensorBoard that only this algorithm has, also under sb3-contrib's names."""
        fraction = stats.step_fraction[member]
        return {
            "train/step_fraction": fraction,
            "train/is_line_search_success": float(fraction > 0),
            "train/kl_divergence_loss": stats.approx_kl[member],
            "train/policy_objective": -stats.policy_loss[member],
        }

    def improve_policy(self, learner: Learner, batch: Batch, gradient: Views) -> Terms:
        """Take the policies' step and return its statistics; `gradient` is working memory, zero before and after.

        step = s F^-1 g with s = sqrt(2 target_kl / x^T F x), x = F^-1 g, then shortened until the surrogate gains and
        the KL divergence is at most `target_kl`.
        """
        layout, part = learner.layout, learner.layout.policy
        start = learner.params[:, part] * 1  # a copy; a sum with 0 would change -0 into 0
        region = TrustRegion(layout, start, batch, self.advantages(batch), self._kl_weight(layout))
        region.surrogate_gradient(gradient)
        learner.sparsity.hide(gradient.flat)
        ascent = gradient.flat[:, part] * 1
        gradient.flat[:, part] = 0.0

        system = System(learner, batch, region, self.damping, self.fisher_subsample)
        full_step, valid = self._full_step(system, self.solver(system, ascent))

        def moved(fraction: Array) -> Array:
            learner.between_steps()
            return start + fraction[:, None] * full_step

        fraction, gain, kl = line_search(
            lambda fraction: region(moved(fraction)), valid, self.target_kl, self.backtrack_factor, self.backtracks
        )
        learner.params[:, part] = namespace(start).where(fraction[:, None] > 0, moved(fraction), start)
        return {
            "policy_loss": -(region.surrogate + gain),
            "entropy": gaussian_entropy(layout.log_std(learner.params)),
            "approx_kl": kl,
            "clip_fraction": kl * np.nan,
            "grad_norm": dot(ascent, ascent) ** 0.5,
            "step_fraction": fraction,
        }

    def _kl_weight(self, layout: Layout) -> float:
        """Return the factor of the KL divergence summed over action dimensions."""
        return 1.0 / layout.action_size if self.kl_reduction == "mean_dims" else 1.0

    def _full_step(self, system: System, direction: Array) -> tuple[Array, Array]:
        """Return the step [S, P] whose quadratic KL divergence is `target_kl`, and 1 for members that have one, [S].

        Both are 0 where the curvature along the direction is not positive and finite.
        """
        xp = namespace(direction)
        curvature = dot(direction, system.product(direction))
        valid = (curvature > 0) & xp.isfinite(curvature)
        length = xp.where(valid, (2.0 * self.target_kl / xp.where(valid, curvature, 1.0)) ** 0.5, 0.0)
        return length[:, None] * direction, xp.where(valid, length * 0 + 1, 0.0)
