"""What stays as it is, or is saved, while an iteration computes: finished members, a stop in it, a divergence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.learner.arrays import Array
from rlsparse.run.session import Session, save, state


@contextmanager
def finished_kept(session: Session) -> Iterator[None]:
    """Members whose budget is spent go on computing beside the others, and get their own state back after."""
    learner, done = session.learner, np.flatnonzero(session.finished)
    if not done.size:
        yield
        return

    def arrays() -> list[Array]:  # moments are replaced by others in every update
        moments = (learner.obs_moments.state_dict(), learner.return_moments.state_dict())
        return [learner.params, *vars(learner.counters).values(), *(x for each in moments for x in each.values())]

    kept = [x[done] + 0 for x in arrays()]
    yield
    for array, rows in zip(arrays(), kept, strict=True):
        array[done] = rows


@contextmanager
def whole_or_not_at_all(session: Session, stop: Callable[[], bool]) -> Iterator[None]:
    """An iteration that is told to stop between two steps is thrown away: what it began from is saved instead.

    The environments stay where they are, for nobody steps them any more. On a GPU an iteration is short, and ends.
    """
    learner = session.learner
    if not learner.simulated_on.startswith("cpu"):
        yield
        return
    begun, before = state(session).copied(), learner.between_steps

    def ask() -> None:
        if stop():
            raise Interrupted

    learner.between_steps = ask
    try:
        yield
    except Interrupted:
        learner.load_state_dict(begun.arrays["learner"])
        begun.values["seconds"] = session.seconds
        save(session, begun, last=True)
        raise
    finally:
        learner.between_steps = before


@contextmanager
def policy_kept(session: Session) -> Iterator[None]:
    """On divergence, write the policy as it was before: that of the last complete iteration."""
    learner = session.learner
    before = learner.params + 0
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # reported as one error, not as a warning per operation
            yield
    except DivergenceError:
        learner.params[...] = before
        session.write_policies()
        raise
