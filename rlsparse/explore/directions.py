"""Directions that anchors span, and scores made comparable: what proposals have in common that search along directions.

Axes: K anchors in order of time, M probed points, P searched parameters, R directions.
"""

import numpy as np
from numpy.random import Generator

from rlsparse.explore.anchors import differences

RANK_TOLERANCE = 1e-9
"""Directions along which the anchors extend less than this share of their greatest extent are rounding."""


def span_basis(anchors: np.ndarray) -> np.ndarray:
    """Orthonormal rows [R, P] along which the anchors [K, P] extend, longest first; none if they are not finite."""
    from_last = differences(anchors)
    if not np.isfinite(from_last).all():
        return from_last[:0]
    _, extents, rows = np.linalg.svd(from_last, full_matrices=False)
    return rows[extents > RANK_TOLERANCE * extents.max(initial=0.0)]


def with_length(vectors: np.ndarray, length: float | np.ndarray) -> np.ndarray:
    """Scale vectors [..., P] to a length, [..., 1] or scalar; zero stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * np.divide(length, norms, out=np.zeros(np.broadcast(length, norms).shape), where=norms > 0)


def random_directions(basis: np.ndarray, count: int, generator: Generator) -> np.ndarray:
    """Unit vectors [count, P], uniform on the sphere in the space of the basis [R, P]; zero if it is empty."""
    return with_length(generator.standard_normal((count, len(basis))) @ basis, 1.0)


def without_failures(scores: np.ndarray) -> np.ndarray:
    """Scores [M] in which a failed candidate has the worst of the others' scores; all zero if every one failed."""
    finite = np.isfinite(scores)
    return np.where(finite, scores, scores[finite].min() if finite.any() else 0.0)


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores [M] less their mean, over their deviation; zero if all are equal."""
    deviation = scores.std()
    return (scores - scores.mean()) / deviation if deviation > 0 else np.zeros_like(scores)
