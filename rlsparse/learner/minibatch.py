"""Cut the samples of every member into minibatches, each member in an order of its own."""

from collections.abc import Iterator

from rlsparse.learner.arrays import Array, namespace
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Batch


def shuffled_minibatches(learner: Learner, batch: Batch, minibatches: int) -> Iterator[Batch]:
    """Cut a fresh permutation of the batch into equal parts, each member in its own order."""
    size = batch.obs.shape[1] // minibatches
    order = learner.permutations(size * minibatches)
    shuffled = vars(reorder(batch, order)).values()
    for start in range(0, size * minibatches, size):
        # not by map, which would take a fortieth of the time of an update
        yield Batch(*(None if x is None else x[:, start : start + size] for x in shuffled))


def reorder(batch: Batch, order: Array) -> Batch:
    """Return each member's samples in its own order [S, n], all or some of them."""

    def rows(x: Array) -> Array:
        rows = [x[s : s + 1, order[s]] for s in range(len(order))]
        return rows[0] if len(rows) == 1 else namespace(x).concatenate(rows)

    return batch.map(rows)
