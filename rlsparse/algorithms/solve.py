"""Linear systems and backtracking line search for S members at once, each as if it were alone."""

from collections.abc import Callable

import numpy as np

from rlsparse.learner.arrays import Array, namespace


def dot(x: Array, y: Array) -> Array:
    """Inner product of each member's vectors [S, P]; [S]."""
    return (x * y).sum(-1)


def known_empty(marked: Array) -> bool:
    """Whether nothing is marked, as far as is known at once: on a device the answer would have to be waited for."""
    return isinstance(marked, np.ndarray) and not marked.any()


def conjugate_gradient(product: Callable[[Array], Array], b: Array, iterations: int, tolerance: float = 0.0) -> Array:
    """Solve A x = b approximately for symmetric positive definite A, from x = 0; b and x [S, P].

    `product` maps v [S, P] to A v. A member is done once its residual is at most `tolerance` times as long as its b,
    or where the curvature is not positive and finite; its x stays as it is from then on. Where b is not finite, x is 0.
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
    """Find the longest of the steps start * shrink^k, k < attempts, that gains something at a cost within `limit`.

    `trial` maps the steps [S] of all members to (gain [S], cost [S]); a member without a positive `start` takes no
    step. Returns (step, gain, cost), [S] each; zeros where no step will do.
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
