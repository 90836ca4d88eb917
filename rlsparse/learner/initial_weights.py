"""Weights that learning begins with."""

import numpy as np


def orthogonal(rows: int, columns: int, gain: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a (semi-)orthogonal matrix times `gain`, uniformly (Haar), [rows, columns]."""
    normal = generator.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))
    return gain * (q if rows >= columns else q.T)
