"""How a run stands and is carried out, in so far as it matters to go on with it, and the bounds of that."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le

from rlsparse.learner.bounds import Count, Expected

LAST, BEST = "policy.safetensors", "policy-best.safetensors"
"""Files of a run directory: the policies as they were last, and each as it was at its best evaluation."""

FEWEST_KEPT = 2
"""Checkpoints: the newest, and the one before it should that be damaged."""

Kept = Annotated[int, Ge(FEWEST_KEPT), Le(10_000), Expected("a number from 2 to 10,000")]
Seconds = Annotated[float, Gt(0), Expected("a positive number of seconds")]
Workers = Annotated[int, Ge(1), Expected("1 or more processes")]
Where = Literal["here", "ray"]


@dataclass(frozen=True)
class Settings:
    """What changes no number of a run; status.json has it, so that a resumed run is carried out alike."""

    keep_checkpoints: Kept = FEWEST_KEPT
    """How many stay."""
    checkpoint_every: Count | None = None
    """Steps from one to the next of further ones that stay."""
    env_timeout: Seconds | None = None
    """Most seconds for a call of an environment."""
    explore_workers: Where = "here"
    """Who runs the episodes of probes."""

    def changed_by(self, flags: object) -> Self:
        """Return these settings with those that the command line gives."""
        given = {f.name: getattr(flags, f.name, None) for f in fields(Settings)}
        return replace(self, **{name: x for name, x in given.items() if x is not None})


@dataclass(frozen=True)
class Status(Settings):
    """What status.json tells."""

    state: Literal["running", "finished", "interrupted", "failed"] = "running"
