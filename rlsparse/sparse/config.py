"""The configuration of sparse networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rlsparse.errors import UsageError
from rlsparse.learner.bounds import Fraction, FractionAboveZero, FractionBelowOne, Positive, Varying
from rlsparse.learner.layout import Group, Layout, Slot
from rlsparse.sparse.ast import AST
from rlsparse.sparse.budgets import NETWORKS, Budget, densities, kept, weight_slots
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static
from rlsparse.sparse.topology import Topology

Rule = RigL | SET | Static | Magnitude | DCIL | AST


@dataclass(frozen=True)
class Sparse:
    """Leave out most weights of actor and critic: they are zero and get no gradient. Biases and action noise stay."""

    sparsity: FractionBelowOne = 0.9
    """Share of each network's weights that is absent."""
    actor_sparsity: FractionBelowOne | None = None
    """Sparsity of the actor, if different."""
    critic_sparsity: FractionBelowOne | None = None
    """Sparsity of the critic, if different."""
    budget: Budget = "erk"
    """How a network's weights are shared among its layers: Erdos-Renyi-Kernel, or in proportion to their sizes."""
    actor_densities: tuple[FractionAboveZero, ...] = ()
    """Density of each of the actor's layers in order, instead of sparsity and budget."""
    critic_densities: tuple[FractionAboveZero, ...] = ()
    """Density of each of the critic's layers."""
    init: Literal["rescaled", "masked"] = "rescaled"
    """Scale the remaining initial weights of each unit to the norm of all its weights, or not."""
    rate_power: Varying[Fraction] = 0.5
    """Adam's steps in a layer are divided by its density to this power: 0 changes nothing, 1 is the rule of SuPar."""
    rule: Rule = field(default_factory=RigL)
    """Which weights are present, and how that changes between iterations."""
    drop_by: Literal["magnitude", "kl"] = "magnitude"
    """Which weights are dropped first: the smallest, or those whose loss moves policy (critic: values) least."""
    max_kl: Varying[Positive] | None = None
    """Halve an exchange, and again, until it moves the policy's mean by no more than this KL divergence."""

    def build(self, layout: Layout, seeds: Sequence[int], device: str) -> Topology:
        """Return the sparse networks of a learner with these seeds."""
        return self.rule.build(self, layout, seeds, device)

    @property
    def needs(self) -> Mapping[str, str]:
        """What else a recipe must have, and why."""
        if self.drop_by == "magnitude" and self.max_kl is None:
            return {}
        shared = "measures how far policies move, and needs --policy.no-state-dependent-std"
        worth = "weighs what each weight does, and needs a rule that drops by more than size"
        return {"shared-deviation": shared} | ({"drops-by-worth": worth} if self.drop_by == "kl" else {})

    @property
    def gives(self) -> frozenset[str]:
        """The traits on which other components may rely: those of the rule."""
        return self.rule.gives

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless given densities are one for each layer, without other settings of sparsity."""
        for group, hidden in zip(NETWORKS, (recipe.policy.actor_hidden, recipe.policy.critic_hidden), strict=True):
            flag, given, layers = f"--sparse.{group}-densities", self.network(group)[1], len(hidden) + 1
            if given and len(given) != layers:
                raise UsageError(
                    f"{flag} gives {len(given)} densities, but --policy.{group}-hidden makes {layers} layers: expected "
                    "one for each"
                )
            if given and getattr(self, f"{group}_sparsity") is not None:
                raise UsageError(
                    f"{flag} and --sparse.{group}-sparsity both say how much of the {group} is there: use one of them"
                )

    def network(self, group: Group) -> tuple[float, tuple[float, ...]]:
        """Sparsity of actor or critic, and its layers' densities, if given."""
        own = self.actor_sparsity if group == "actor" else self.critic_sparsity
        given = self.actor_densities if group == "actor" else self.critic_densities
        return self.sparsity if own is None else own, given

    def densities_at_once(self) -> tuple[float, ...]:
        """Densities of the actors that are trained at once, the densest first; a single one unless the rule is AST."""
        return tuple(1.0 - sparsity for sparsity in (self.network("actor")[0], *self.rule.inner_sparsities()))

    def nested_budgets(self, layout: Layout) -> list[tuple[Slot, list[int]]]:
        """Return the actor's layers, and the final number of weights that the sparser actors inside it have in each."""
        actors = [replace(self, actor_sparsity=sparsity).budgets(layout) for sparsity in self.rule.inner_sparsities()]
        return [
            (slot, [min(kept, actor[i][1]) for actor in actors])
            for i, (slot, kept) in enumerate(self.budgets(layout))
            if slot.group == "actor"
        ]

    def budgets(self, layout: Layout) -> list[tuple[Slot, int]]:
        """Return every layer's weights and their final number."""
        found = []
        for group in NETWORKS:
            slots = weight_slots(layout, group)
            if not slots:  # without a critic
                continue
            shapes = [(slot.shape[0], slot.shape[1]) for slot in slots]
            sparsity, given = self.network(group)
            shares = given or densities(shapes, sparsity, self.budget)
            found += [(slot, kept(shape, share)) for slot, shape, share in zip(slots, shapes, shares, strict=True)]
        return found

    def describe(self, layout: Layout) -> str:
        """Return the final number of weights of each layer, as lines for the terminal."""
        budgets, lines = self.budgets(layout), []
        for group in (group for group in NETWORKS if weight_slots(layout, group)):
            own = [(slot.stop - slot.start, kept) for slot, kept in budgets if slot.group == group]
            layers = ", ".join(f"{kept:,} of {size:,}" for size, kept in own)
            size, kept = (sum(numbers) for numbers in zip(*own, strict=True))
            lines.append(f"{group + ' weights':<16} {kept:,} of {size:,} kept; by layer {layers}")
        for i, density in enumerate(self.densities_at_once()[1:]):
            inside = [counts[i] for _, counts in self.nested_budgets(layout)]
            layers = ", ".join(f"{count:,}" for count in inside)
            lines.append(f"actor inside     {sum(inside):,} weights, density {density:g}; by layer {layers}")
        absent = sum(slot.stop - slot.start - kept for slot, kept in budgets)
        lines.append(f"parameters kept  {layout.size - absent:,} of {layout.size:,}, biases and action noise included")
        return "\n".join(lines)

    def dead_units(self, layout: Layout) -> str | None:
        """Return the layer that keeps fewer weights than it has units; None if there is no such layer."""
        inside = [(slot, counts[-1]) for slot, counts in self.nested_budgets(layout) if counts]
        for slot, count in [*self.budgets(layout), *inside]:
            if count < slot.shape[1]:
                return (
                    f"the sparse networks have dead units: {slot.name} keeps {count:,} weights for {slot.shape[1]:,} "
                    "units; use a smaller --sparsity or wider layers"
                )
        return None
