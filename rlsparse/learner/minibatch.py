"""Cut the samples of every member into minibatches, each member in an order of its own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rlsparse.errors import UsageError
from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.gaussian import standardise
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Batch


def shuffled_minibatches(learner: Learner, batch: Batch, minibatches: int, normalise: bool = False) -> Iterator[Batch]:
    """Cut a fresh permutation of the batch into equal parts, each member in its own order.

    If told to `normalise`, the advantages of every part are standardised.
    """
    size = batch.obs.shape[1] // minibatches
    order = learner.permutations(size * minibatches)
    shuffled = reorder(batch, order)
    if normalise:  # of all parts at once, which takes a tenth of the time
        parts = [None if x is None else x.reshape(-1, minibatches, size) for x in (shuffled.advantage, shuffled.weight)]
        shuffled = replace(shuffled, advantage=standardise(*parts).reshape(order.shape))
    for start in range(0, size * minibatches, size):
        # not by map, which would add a fortieth to the time of an update
        yield Batch(*(None if x is None else x[:, start : start + size] for x in vars(shuffled).values()))
        learner.between_steps()


def reorder(batch: Batch, order: Array) -> Batch:
    """Return each member's samples in its own order [S, n], all or some of them."""

    def rows(x: Array) -> Array:
        rows = [x[s : s + 1, order[s]] for s in range(len(order))]
        return rows[0] if len(rows) == 1 else namespace(x).concatenate(rows)

    return batch.map(rows)


def check_minibatches(name: str, parts: int, recipe: Any, normalises: bool) -> None:
    """Raise UsageError unless a rollout divides into equal minibatches, of two or more samples if normalised."""
    batch, flag = recipe.batch_size, f"--algorithm.{name}"
    if batch % parts:
        most = batch // 2 if normalises and batch > 1 else batch
        near = min(parts, most)
        nearest = next(d for k in range(near) for d in (near - k, near + k) if batch % d == 0 and d <= most)
        raise UsageError(
            f"{flag} {parts} does not divide the rollout of {recipe.num_envs} environments x "
            f"{recipe.rollout_length} steps = {batch} samples: the nearest number that does is {nearest}"
        )
    if normalises and batch == parts:
        raise UsageError(
            f"{flag} {parts} leaves one sample in each minibatch, too few to normalise advantages: use fewer, or "
            "--algorithm.no-normalise-advantages"
        )
