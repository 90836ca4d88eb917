"""The natural gradient of a Gaussian policy: trust region, Fisher products, and linear systems of S members at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rlsparse.errors import require
from rlsparse.learner.arrays import Array, known_empty, namespace
from rlsparse.learner.bounds import Count, FractionBelowOne, Varying
from rlsparse.learner.gaussian import gaussian_kl, gaussian_log_prob, share, weighted_mean
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import reorder
from rlsparse.learner.network import Activations, backward, forward, slopes_of, tangents
from rlsparse.learner.records import Batch

NEEDS = {"shared-deviation": "has formulas for one deviation in all states, and needs --policy.no-state-dependent-std"}
"""What else a recipe must have, and why."""


def dot(x: Array, y: Array) -> Array:
    """Inner product of each member's vectors [S, P]; [S]."""
    return (x * y).sum(-1)


def conjugate_gradient(product: Callable[[Array], Array], b: Array, iterations: int, tolerance: float = 0.0) -> Array:
    """Solve A x = b approximately for symmetric positive definite A, from x = 0; b and x [S, P].

    `product` maps v [S, P] to A v. A member is done once its residual is at most `tolerance` times as long as its b,
    or if the curvature is not positive and finite; then its x does not change any more. Where b is not finite, x is 0.
    Source: Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49 (1952) 409.
    """
    xp = namespace(b)
    x, residual, direction = xp.zeros_like(b), b + 0, b + 0
    squared = dot(residual, residual)
    limit = tolerance**2 * squared
    going = (squared > limit) & xp.isfinite(squared)
    for _ in range(iterations):
        if known_empty(going):
            break
        image = product(direction)
        curvature = dot(direction, image)
        going = going & (curvature > 0) & xp.isfinite(curvature)
        step = (xp.where(going, squared, 0.0) / xp.where(going, curvature, 1.0))[:, None]
        x = xp.where(going[:, None], x + step * direction, x)
        residual = residual - step * image
        before, squared = squared, dot(residual, residual)
        going = going & (squared > limit) & xp.isfinite(squared)
        turn = xp.where(going, squared, 0.0) / xp.where(going, before, 1.0)
        direction = residual + turn[:, None] * direction
    return x


def woodbury(vectors: Array, damping: float, b: Array) -> Array:
    """Solve (damping I + mean of g g^T) x = b for the m vectors g [S, m, P]; b and x [S, P].

    With G of rows g, x = (b - G^T (m damping I + G G^T)^-1 G b) / damping: the system is of size m, whatever P is.
    """
    xp, count = namespace(b), vectors.shape[1]
    small = xp.matmul(vectors, vectors.mT)
    small.reshape(len(small), -1)[:, :: count + 1] += count * damping  # the diagonal
    images = xp.matmul(vectors, b[..., None])
    return (b - xp.matmul(vectors.mT, xp.linalg.solve(small, images))[..., 0]) / damping


def line_search(
    trial: Callable[[Array], tuple[Array, Array]], start: Array, limit: float, shrink: float, attempts: int
) -> tuple[Array, Array, Array]:
    """Find the longest of the steps start * shrink^k, k < attempts, with a gain above 0 and a cost within `limit`.

    `trial` maps the steps [S] of all members to (gain [S], cost [S]); a member without a positive `start` takes no
    step. Returns (step, gain, cost), [S] each; zeros where no step is good enough.
    """
    xp = namespace(start)
    searching, step = start > 0, start
    taken, gained, paid = xp.zeros_like(start), xp.zeros_like(start), xp.zeros_like(start)
    for _ in range(attempts):
        if known_empty(searching):
            break
        gain, cost = trial(step)
        found = searching & (gain > 0) & (cost <= limit)
        taken, gained, paid = xp.where(found, step, taken), xp.where(found, gain, gained), xp.where(found, cost, paid)
        searching = searching & ~found
        step = step * shrink
    return taken, gained, paid


class GaussianFisher:
    """F v = J^T Sigma^-1 J v / B for the mean, J its Jacobian over B samples, and 2 v for the log-stds; times `scale`.

    With `weight` [S, B] the mean over samples is weighted. F is the Hessian of the mean KL divergence, summed over
    action dimensions, where both policies are the same.
    Source: Schulman et al., arXiv 1502.05477, appendix C.1.
    """

    def __init__(
        self,
        layout: Layout,
        params: Array,
        activations: Activations,
        slopes: Sequence[Any],
        weight: Array | None = None,
        scale: float = 1.0,
    ) -> None:
        """Linearise at params [S, P or D], with the result of `forward` for the samples and its `slopes_of`."""
        self._layout, self._activations, self._slopes = layout, activations, slopes
        self._layers = layout.layers(params, "actor")
        variance = namespace(params).exp(2.0 * layout.log_std(params))[:, None, :]
        counts: Array = share(activations[-1][..., 0], weight)
        self._precision = scale / variance * (counts if weight is None else counts[..., None])
        self._scale = scale

    def __call__(self, vector: Array) -> Array:
        """Return F v for v [S, P], P the policy's numbers."""
        image = namespace(vector).empty_like(vector)
        d_mean = tangents(self._layers, self._activations, self._slopes, self._layout.layers(vector, "actor"))[-1]
        d_mean *= self._precision
        backward(self._layers, self._activations, d_mean, self._layout.layers(image, "actor"), self._slopes)
        self._layout.log_std(image)[...] = 2.0 * self._scale * self._layout.log_std(vector)
        return image


def score_vectors(
    layout: Layout, params: Array, activations: Activations, slopes: Sequence[Any], noise: Array
) -> Array:
    """Return the gradient of each sample's log-density with respect to the policy's numbers, [S, B, P].

    `noise` [S, B, A] is (action - mean) / deviation. Its mean outer product over a policy's own actions is F.
    """
    xp, layers = namespace(noise), layout.layers(params, "actor")
    log_std = layout.log_std(params)
    scores = xp.zeros_like(params[:, None, : layout.policy.stop]) + 0 * noise[..., :1]
    delta = noise * xp.exp(-log_std)[:, None, :]
    for i, (d_weight, d_bias) in reversed([*enumerate(layout.layers(scores, "actor"))]):
        if hasattr(d_weight, "write_scores"):
            d_weight.write_scores(activations[i], delta)
        else:
            d_weight[...] = activations[i][..., :, None] * delta[..., None, :]
        d_bias[...] = delta
        if i:
            delta = layers.activation.backward(delta @ layers[i][0].mT, slopes[i - 1])
    layout.log_std(scores)[...] = noise * noise - 1.0
    return scores


class TrustRegion:
    """Policies [S, P] around the policy of an update: their surrogate gain and KL divergence, and the gradient."""

    def __init__(self, layout: Layout, start: Array, batch: Batch, advantage: Array, kl_weight: float = 1.0) -> None:
        self._layout, self._start, self._batch = layout, start, batch
        self._advantage, self._kl_weight = advantage, kl_weight
        self._log_std = layout.log_std(start)
        self._inv_std = namespace(start).exp(-self._log_std)[:, None, :]
        self._layers = layout.layers(start, "actor")
        self._activations = forward(self._layers, batch.obs)
        self._slopes = slopes_of(self._layers, self._activations)
        self._ratio = self._ratio_of(self._activations[-1], self._log_std)
        self.surrogate = weighted_mean(self._ratio * advantage, batch.weight)
        """Mean ratio times advantage of the policy at the beginning of the update, [S]."""

    def _ratio_of(self, mean: Array, log_std: Array) -> Array:
        """Return the probability of the batch's actions over that of the policy which acted, [S, B]."""
        xp, log_std = namespace(mean), log_std[:, None, :]
        noise = (self._batch.action - mean) * xp.exp(-log_std)
        return xp.exp(gaussian_log_prob(noise, log_std) - self._batch.log_prob)

    def surrogate_gradient(self, gradient: Views) -> None:
        """Write the gradient of the surrogate with respect to actor and log-std."""
        noise = (self._batch.action - self._activations[-1]) * self._inv_std
        d_log_prob = self._ratio * self._advantage * share(self._ratio, self._batch.weight)
        d_noise = d_log_prob[..., None] * noise
        backward(self._layers, self._activations, d_noise * self._inv_std, gradient.actor, self._slopes)
        gradient.log_std[...] = (d_noise * noise).sum(1) - d_log_prob.sum(1)[:, None]

    def fisher(self, some: Batch | None = None) -> GaussianFisher:
        """Return the Fisher information on all samples, or on some of them."""
        batch, activations, slopes = some or self._batch, self._activations, self._slopes
        if some is not None:
            activations = forward(self._layers, some.obs)
            slopes = slopes_of(self._layers, activations)
        return GaussianFisher(self._layout, self._start, activations, slopes, batch.weight, self._kl_weight)

    def scores(self, some: Batch) -> Array:
        """Return the score vectors of some samples, [S, n, P]; their mean outer product estimates F."""
        activations = forward(self._layers, some.obs)
        noise = (some.action - activations[-1]) * self._inv_std
        slopes = slopes_of(self._layers, activations)
        vectors = score_vectors(self._layout, self._start, activations, slopes, noise)
        vectors *= self._kl_weight**0.5
        if some.weight is not None:
            vectors *= ((noise.shape[1] * share(noise[..., 0], some.weight)) ** 0.5)[..., None]
        return vectors

    def __call__(self, policy: Array) -> tuple[Array, Array]:
        """Return the surrogate gain of policies [S, P], and their KL divergence from the start, [S] each."""
        log_std = self._layout.log_std(policy)
        mean = forward(self._layout.layers(policy, "actor"), self._batch.obs)[-1]
        weight = self._batch.weight
        gain = weighted_mean((self._ratio_of(mean, log_std) - self._ratio) * self._advantage, weight)
        shift = (mean - self._activations[-1]) * self._inv_std
        return gain, gaussian_kl(shift, self._log_std, log_std, weight).sum(-1) * self._kl_weight


class System:
    """(F + damping I) x = g on the present weights, [S, P]; F is the Fisher information around a policy."""

    def __init__(self, learner: Learner, batch: Batch, region: TrustRegion, damping: float, subsample: int) -> None:
        """Take F on all samples of the batch, or on a random share 1 / `subsample` of them."""
        self.damping = damping
        self._learner, self._batch, self._region = learner, batch, region
        self._fisher = region.fisher(self._draw(batch.obs.shape[1] // subsample) if subsample > 1 else None)

    def _draw(self, count: int) -> Batch:
        order = self._learner.permutations(self._batch.obs.shape[1])[:, :count]
        return reorder(self._batch, order)

    def product(self, vector: Array) -> Array:
        """Return (F + damping I) v for v [S, P]."""
        self._learner.between_steps()
        image = self._fisher(vector)
        self._clear(image)
        image += self.damping * vector
        return image

    def scores(self, count: int) -> Array:
        """Return `count` score vectors [S, count, P] of random samples; their mean outer product estimates F."""
        vectors = self._region.scores(self._draw(count))
        self._clear(vectors)
        return vectors

    def _clear(self, vectors: Array) -> None:
        self._learner.sparsity.clear(vectors, self._learner.layout.policy)


@dataclass(frozen=True)
class CG:
    """Conjugate gradient: products with the Fisher information, never the matrix."""

    records: ClassVar[bool] = True
    """Whether it can be recorded: it does the same to the same memory every time, and draws nothing."""

    iterations: Count = 10
    """Largest number of products for one step."""
    tolerance: Varying[FractionBelowOne] = 1e-5
    """A member's system is solved once its residual is at most this times as long as the gradient."""

    def __call__(self, system: System, gradient: Array) -> Array:
        """Return (F + damping I)^-1 g approximately, [S, P]."""
        return conjugate_gradient(system.product, gradient, self.iterations, self.tolerance)


@dataclass(frozen=True)
class MFAC:
    """Solve directly with F estimated from score vectors of single samples. After Frantar et al., arXiv 2107.03356."""

    records: ClassVar[bool] = False

    samples: Count = 256
    """Number of score vectors, of samples drawn at random."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless a rollout has that many samples, and the system is damped."""
        batch, damping = recipe.batch_size, recipe.algorithm.damping
        expected = f"at most the {batch} samples of a rollout"
        require(self.samples <= batch, "algorithm.solver.samples", self.samples, expected)
        require(damping > 0, "algorithm.damping", damping, "a positive number, which mfac divides by")

    def __call__(self, system: System, gradient: Array) -> Array:
        """Return (F + damping I)^-1 g for the estimated F, [S, P]."""
        return woodbury(system.scores(self.samples), system.damping, gradient)


Solver = CG | MFAC
