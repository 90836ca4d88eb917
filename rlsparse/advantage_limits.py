"""What the settings of advantage estimators may be: their ranges."""

from dataclasses import fields

from rlsparse.advantage.kinds import Estimator
from rlsparse.errors import require
from rlsparse.explore_limits import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range

RANGES: dict[str, Range] = {
    **dict.fromkeys(("gamma", "gae_lambda", "actor_lambda", "critic_lambda", "trace_lambda", "unseen"), SHARE),
    "n": COUNT,
    "rho_bar": POSITIVE,
    "c_bar": NOT_NEGATIVE,
}
"""Ranges by field."""


def check(advantage: Estimator) -> None:
    """Raise UsageError with the first rule that the settings break."""
    for name in (f.name for f in fields(advantage) if f.name in RANGES):
        holds, expected = RANGES[name]
        given = getattr(advantage, name)
        require(holds(given), f"advantage.{name}", given, expected)
