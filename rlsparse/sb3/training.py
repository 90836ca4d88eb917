"""Algorithms of Stable-Baselines3 that learn sparse networks: their own classes, with a few methods around theirs."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import torch
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from rlsparse.sb3.masks import Sparsity
from rlsparse.sim.user_envs import on_each


class SparseTraining(OnPolicyAlgorithm):
    """What is put before an on-policy algorithm; `sparsity` is one of its attributes, so it is saved with the model."""

    dense_class: ClassVar[type[OnPolicyAlgorithm]]
    sparsity: Sparsity

    def learn(self, *args: Any, **options: Any) -> Any:
        """Learn as ever, with absent weights zero after every operation."""
        self.sparsity.normalised = self.get_vec_normalize_env() is not None
        with self.sparsity.attached(self.policy, self.policy.optimizer):
            return super().learn(*args, **options)

    def train(self) -> None:
        """Update as ever; then exchange weights, while no rollout knows the policy."""
        optimiser = self.policy.optimizer
        with self.sparsity.attached(self.policy, optimiser):
            before = self.num_timesteps - self.n_steps * self.n_envs
            self.sparsity.begin(min(max(before / max(self._total_timesteps, 1), 0.0), 1.0), optimiser)
            super().train()
            self.sparsity.end(optimiser, self._movement)
        for name, value in self.sparsity.metrics().items():
            self.logger.record(f"sparse/{name}", value)

    def _movement(self) -> Callable[[], Tensor]:
        """Return what tells how far the policy is then from what it is now: mean KL divergence over the rollout."""
        buffer = self.rollout_buffer
        obs: Any = on_each(buffer.to_torch, buffer.observations)

        def distribution() -> Any:
            with torch.no_grad():
                return copy.copy(self.policy.get_distribution(obs))  # type: ignore[operator]

        now = distribution()

        def kl() -> Tensor:
            divergence = kl_divergence(now, distribution())
            return divergence.reshape(len(divergence), -1).sum(1).mean()

        return kl

    def __reduce__(self) -> tuple[Any, ...]:
        return _blank, (self.dense_class,), self.__dict__


class SubspaceSteps(SparseTraining):
    """What TRPO needs besides: its step is solved for among the weights that are there, not projected on them."""

    def hessian_vector_product(self, params: Any, grad_kl: Tensor, vector: Tensor, retain_graph: bool = True) -> Tensor:
        """Return the product of the Fisher matrix of present weights with their part of the vector.

        sb3-contrib's solver begins at a random vector, which it passes here itself: that vector loses what belongs to
        absent weights, and so does the solution.
        """
        self.sparsity.project_flat(params, vector)
        with self.sparsity.not_growing():
            return super().hessian_vector_product(params, grad_kl, vector, retain_graph)  # type: ignore[misc]


@cache
def sparse_class(algorithm: type[OnPolicyAlgorithm]) -> type[SparseTraining]:
    """Return the subclass of an on-policy algorithm that learns sparse networks."""
    base = SubspaceSteps if hasattr(algorithm, "hessian_vector_product") else SparseTraining
    members = {"dense_class": algorithm, "__module__": __name__, "__doc__": f"{algorithm.__name__} of sparse networks."}
    return type(f"Sparse{algorithm.__name__}", (base, algorithm), members)


def _blank(algorithm: type[OnPolicyAlgorithm]) -> SparseTraining:
    """Return a model without attributes, for copies and pickles to fill."""
    cls = sparse_class(algorithm)
    return cls.__new__(cls)
