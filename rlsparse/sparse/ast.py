"""AST: actors of several densities, one inside the other, that learn in turns from one rollout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rlsparse.errors import UsageError, require
from rlsparse.learner.actors import Actors
from rlsparse.learner.arrays import Array, namespace, to_device, to_numpy
from rlsparse.learner.bounds import Finite, FractionAboveZero, FractionBelowOne, Varying
from rlsparse.learner.layout import Layout, Views
from rlsparse.learner.records import Batch, EpochStats
from rlsparse.learner.sparsity import Loss, Terms, Updates
from rlsparse.sparse.budgets import weight_slots
from rlsparse.sparse.masks import top
from rlsparse.sparse.rules import Magnitude
from rlsparse.sparse.topology import Topology, policy_kl

if TYPE_CHECKING:
    from rlsparse.learner.learner import Learner
    from rlsparse.sparse.config import Sparse


@dataclass(frozen=True)
class AST(Magnitude):
    """Prune to several densities at once: nested networks learn in turns. After Yang et al., NeurIPS 2022."""

    start: Varying[FractionBelowOne] = 0.2
    """Share of the budget before which all weights are kept."""
    end: Varying[FractionAboveZero] = 0.8
    """Share of the budget at which all networks have their final size."""
    sparser: tuple[Finite, ...] = (0.95, 0.98)
    """Sparsities of further actors inside the one of --sparsity, which alone acts; all can be deployed."""
    correct: bool = True
    """Remove from each network's gradient the part that opposes that of the network before."""

    own_loop: ClassVar[bool] = True
    needs: ClassVar = {
        "minibatches": "works minibatch by minibatch, and needs a policy that learns from minibatches",
        "small-minibatches": "trains its networks in turns, and needs a minibatch for each",
    }
    gives: ClassVar = frozenset()

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless sparser actors lie one inside the other, and each has a minibatch."""
        super().check(recipe)
        if recipe.sparse.actor_densities:
            raise UsageError("--sparse.actor-densities does not go with ast: use --sparse.budget and sparsities")
        own, minibatches = recipe.sparse.network("actor")[0], recipe.algorithm.minibatches
        all_of_them = (own, *self.sparser)
        rising = all(a < b for a, b in pairwise(all_of_them))
        given = " ".join(map(str, self.sparser)) or "nothing"
        expected = f"one or more sparsities, rising, above the actor's {own:g} and below 1"
        require(bool(self.sparser) and rising and self.sparser[-1] < 1, "sparse.rule.sparser", given, expected)
        if len(self.sparser) >= minibatches:
            raise UsageError(
                f"--sparse.rule.sparser makes {len(all_of_them)} networks that take turns, but --algorithm.minibatches "
                f"is {minibatches}: expected at least one minibatch for each"
            )

    def inner_sparsities(self) -> tuple[float, ...]:
        """Sparsities of further actors inside the one that acts, rising."""
        return self.sparser

    def build(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str) -> "NestedNetworks":
        """Return the nested networks of a learner with these seeds."""
        return NestedNetworks(config, layout, seeds, device)


def nested_levels(weight: np.ndarray, active: np.ndarray, counts: Sequence[np.ndarray]) -> np.ndarray:
    """Number of networks that have each weight of a layer, [S, n] uint8; the first has all `active` weights.

    Each other one has the `counts` [S] largest of them, so each lies inside the one before.
    """
    size = np.where(active, np.abs(weight), -1.0)
    return sum((top(size, np.minimum(count, active.sum(1))) for count in counts), active.astype(np.uint8))


def without_conflict(gradient: Array, before: Array, among: Array) -> Array:
    """Remove from gradients [S, n] the part that opposes those `before`, for the members `among` [S] bool.

    Where g . b < 0 the result is g - (g . b / b . b) b, orthogonal to b. Source: Yang et al., Get more at once:
    alternating sparse training with gradient correction, NeurIPS 2022.
    """
    xp = namespace(gradient)
    product, square = (gradient * before).sum(-1), (before * before).sum(-1)
    opposed = among & (product < 0)
    share = xp.where(opposed, product / xp.where(opposed, square, 1.0), 0.0)
    return gradient - share[:, None] * before


class SubNetworks:
    """K networks of S members in one vector, the densest first, each inside the one before.

    The critic, biases and log-stds belong to all. `begin` an update, then for each minibatch take the `next` network
    and `hide` its gradient.
    """

    def __init__(self, config: "Sparse", layout: Layout, members: int, device: str = "cpu") -> None:
        assert isinstance(config.rule, AST)
        self.rule, self.layout, self.device = config.rule, layout, device
        self.densities = config.densities_at_once()
        self._finals = config.nested_budgets(layout)
        self.levels = np.full((members, layout.size), len(self.densities), np.uint8)
        """Number of networks that have each parameter, [S, D] uint8; 0 is absent."""
        self.divergence = np.zeros((members, len(self.densities)))
        """Mean KL divergence of each network's policy from the densest one's, which acts, [S, K]."""
        self._turn = -1
        self._before: Array | None = None
        self._corrected = [slice(slot.start, slot.stop) for slot in layout.slots if slot.group != "critic"]
        self._refresh()

    def _refresh(self) -> None:
        masks = [self.mask(k) for k in range(len(self.densities))]
        self._factors = [to_device(mask.astype(np.float32), self.device) for mask in masks]
        differ = [(a != b).any(1) for a, b in zip([masks[0], *masks], masks, strict=False)]
        self._differ = [to_device(x, self.device) for x in differ]
        self._correct = [self.rule.correct and bool(x.any()) for x in differ]

    def mask(self, network: int) -> np.ndarray:
        """Return the mask of a network, [S, D] bool."""
        return self.levels > network

    def params(self, params: Array, network: int) -> Array:
        """Return a network's parameters, [S, D], zero where it has none."""
        return params * self._factors[network]

    def mean_weights(self, weights: np.ndarray) -> np.ndarray:
        """How many of these weights [D] bool a network has, on average over networks; [S]."""
        return np.mean([self.mask(k)[:, weights].sum(1) for k in range(len(self.densities))], 0)

    @property
    def acting(self) -> bool:
        """Whether it is the turn of the densest network, which drew the actions."""
        return self._turn == 0

    def begin(self) -> None:
        """Begin an update: the densest network is next."""
        self._turn, self._before = -1, None

    def next(self, params: Array) -> Views:
        """Return the parameters of the network whose turn it is, given all parameters [S, D]."""
        self._turn = (self._turn + 1) % len(self.densities)
        return self.layout.views(self.params(params, self._turn))

    def hide(self, gradient: Array) -> None:
        """Remove, in place, the gradient [S, D] of weights that the network lacks, and the part against the one before.

        The first network of a round is not corrected, nor are two networks that are equal.
        """
        k = self._turn
        gradient *= self._factors[k]
        own = gradient + 0 if k + 1 < len(self.densities) and self._correct[k + 1] else None
        if self._correct[k]:
            assert self._before is not None
            before = self._before * self._factors[k]  # the correction must not reach weights that the network lacks
            for part in self._corrected:
                gradient[:, part] = without_conflict(gradient[:, part], before[:, part], self._differ[k])
        self._before = own

    def choose(self, params: np.ndarray, active: np.ndarray, due: np.ndarray, progress: np.ndarray) -> None:
        """Choose the networks of the members [S] bool whose turn it is among the `active` weights, [S, D] bool.

        All shrink on one schedule, and do not change once they have their final size.
        """
        levels = np.where(active, len(self.densities), 0).astype(np.uint8)
        for slot, finals in self._finals:
            part, size = slice(slot.start, slot.stop), slot.stop - slot.start
            old, there = self.levels[:, part], active[:, part]
            counts = [np.minimum(self.rule.left(final, size, progress), there.sum(1)) for final in finals]
            final = np.all([(old * there > k).sum(1) == count for k, count in enumerate(counts, 1)], 0)
            stays = ~due | (final & (progress >= self.rule.end))
            new = nested_levels(params[:, part], there, counts)
            levels[:, part] = np.where(stays[:, None], old * there, new)
        self.levels = levels
        self._refresh()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays from which the networks continue."""
        return {"levels": self.levels, "divergence": self.divergence}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        self.levels, self.divergence = state["levels"].copy(), state["divergence"].copy()
        self._refresh()


class NestedNetworks(Topology):
    """Sparse networks with sparser actors inside them, which learn in turns; the densest one acts."""

    def __init__(self, config: "Sparse", layout: Layout, seeds: Sequence[int], device: str) -> None:
        super().__init__(config, layout, seeds, device)
        self.networks = SubNetworks(config, layout, len(seeds), device)
        self._progress = np.zeros(len(seeds))

    @property
    def acting(self) -> bool:
        """Whether the last gradient is of the policy that acts, so that its statistics count."""
        return self.networks.acting

    def begin(self, progress: np.ndarray) -> None:
        """Begin an iteration with this share of each member's budget spent, [S]."""
        self._progress = progress
        self.networks.begin()
        self.masks.begin(progress, self.networks.mean_weights(self.masks.weights))

    def update(self, algorithm: Updates, learner: "Learner", batch: Batch) -> Iterator[EpochStats]:
        """Improve the learner on the batch, its networks in turns."""
        return algorithm.update(learner, batch)

    def gradient(self, loss: Loss, params: Views, batch: Batch, gradient: Views) -> Terms:
        """Write the gradient of the network whose turn it is."""
        terms = loss(self.networks.next(params.flat), batch, gradient)
        self.networks.hide(gradient.flat)
        return terms

    def exchange(self, learner: "Learner", obs: Array) -> None:
        """Prune, then choose the networks among the remaining weights."""
        super().exchange(learner, obs)
        self.networks.choose(to_numpy(learner.params), self.masks.active, self.masks.due, self._progress)

    def evolve(self, learner: "Learner", obs: Array) -> None:
        """Prune if it is time, then measure how far each network's policy is from the one that acts."""
        super().evolve(learner, obs)
        networks = self.networks
        params = [to_numpy(networks.params(learner.params, k)) for k in range(len(networks.densities))]
        far = np.stack([policy_kl(learner, own, obs) for own in params], 1)
        networks.divergence = np.where((self._progress < 1)[:, None], far, networks.divergence)

    def inner_actors(self, actors: Actors) -> list[Actors]:
        """Return the policies of the sparser networks inside these, the densest first."""
        networks = self.networks
        return [replace(actors, params=networks.params(actors.params, k)) for k in range(1, len(networks.densities))]

    def inner_rows(self, learner: "Learner", scores: Sequence[Any], members: np.ndarray) -> list[dict[str, Any]]:
        """Return one row of density.csv for each of these members and each density, the densest first."""
        weights = np.concatenate([np.arange(slot.start, slot.stop) for slot in weight_slots(learner.layout, "actor")])
        return [
            {
                "seed": learner.seeds[member],
                "total_steps": learner.counters.total[member],
                "density": round(density, 6),
                "actor_weights": self.networks.mask(k)[member, weights].sum(),
                "kl": self.networks.divergence[member, k],
                "return_mean": scores[k].returns[member].mean(),
                "return_std": scores[k].returns[member].std(),
                "episodes": scores[k].returns.shape[1],
                "length_mean": scores[k].lengths[member].mean(),
            }
            for member in members
            for k, density in enumerate(self.networks.densities)
        ]

    def policy_arrays(self) -> dict[str, np.ndarray]:
        """Return the number of networks that have each parameter, for the policy file."""
        return {"levels": self.networks.levels}

    def state_dict(self) -> dict[str, Array]:
        """Return all arrays from which masks and networks continue."""
        return super().state_dict() | self.networks.state_dict()

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        self.networks.load_state_dict(state)
