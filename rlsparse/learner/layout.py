"""Every trainable number of a policy in one flat vector, [S, D] for S members."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal

from rlsparse.learner.activation import TANH, Activation, Layers, Tanh
from rlsparse.learner.arrays import Array
from rlsparse.learner.deviation import SHARED, SharedDeviation

Group = Literal["actor", "log_std", "critic"]


@dataclass(frozen=True)
class Slot:
    """A named piece of the flat vector: numbers [start, stop) seen as an array of `shape`."""

    name: str
    shape: tuple[int, ...]
    group: Group
    start: int
    stop: int


@dataclass(frozen=True)
class Views:
    """A flat vector [S, D] and live views of its parts; made once, read and written many times."""

    flat: Array
    actor: Layers
    log_std: Array
    """[S, A]."""
    critic: Layers


@dataclass(frozen=True)
class Layout:
    """Where each weight, bias and log-std of actor and critic lies in the flat vector."""

    obs_size: int
    action_size: int
    slots: tuple[Slot, ...]
    _: KW_ONLY
    activation: Activation = "tanh"
    layer_normalisation: bool = False
    state_dependent_std: bool = False

    @cached_property
    def deviation(self) -> SharedDeviation:
        """How actions deviate from their mean."""
        if not self.state_dependent_std:
            return SHARED
        from rlsparse.learner.state_dependent import STATE_DEPENDENT

        return STATE_DEPENDENT

    @property
    def size(self) -> int:
        """D, how many numbers one member has."""
        return self.slots[-1].stop

    def group(self, group: Group) -> slice:
        """Return the slice of the flat vector for one group (groups are contiguous); empty if the group is missing."""
        slots = [slot for slot in self.slots if slot.group == group]
        return slice(slots[0].start, slots[-1].stop) if slots else slice(self.size, self.size)

    @property
    def policy(self) -> slice:
        """The slice of the flat vector that determines the policy: actor and log-stds, which come first."""
        return slice(0, self.group("log_std").stop)

    def view(self, params: Array, slot: Slot) -> Array:
        """Return one slot of params [..., D] as a live view [..., *shape]."""
        return params[..., slot.start : slot.stop].reshape(*params.shape[:-1], *slot.shape)

    def layers(self, params: Array, group: Group) -> Layers:
        """Return live views (weight [..., in, out], bias [..., out]) of a network's layers in order."""
        slots = [slot for slot in self.slots if slot.group == group]
        views, inputs = [self.view(params, slot) for slot in slots], slots[0].shape[0] if slots else None
        hidden = hidden_units(self.activation, self.layer_normalisation)
        return Layers(zip(views[0::2], views[1::2], strict=True), hidden, inputs, self.deviation)

    def views(self, params: Array) -> Views:
        """Return all parts of params [S, D] as live views."""
        return Views(params, self.layers(params, "actor"), self.log_std(params), self.layers(params, "critic"))

    def log_std(self, params: Array) -> Array:
        """Return a live view of the log standard deviations, [..., A]."""
        return params[..., self.group("log_std")]


def hidden_units(activation: Activation, layer_normalisation: bool) -> Tanh:
    """Return what hidden units do."""
    if activation == "tanh" and not layer_normalisation:
        return TANH
    from rlsparse.learner import activations

    return activations.hidden_units(activation, layer_normalisation)


def actor_critic_layout(
    obs_size: int,
    action_size: int,
    actor_hidden: Sequence[int],
    critic_hidden: Sequence[int] | None,
    actor_inputs: int | None = None,
    actor_outputs: int | None = None,
) -> Layout:
    """Lay out actor, log-std and critic, in this order; None for no critic, and for an actor that sees all.

    `actor_outputs` are the actions if not given.
    """
    slots: list[Slot] = []

    def add(name: str, shape: tuple[int, ...], group: Group) -> None:
        start = slots[-1].stop if slots else 0
        slots.append(Slot(name, shape, group, start, start + math.prod(shape)))

    def add_network(group: Group, sizes: Sequence[int]) -> None:
        for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
            add(f"{group}.{i}.weight", (fan_in, fan_out), group)
            add(f"{group}.{i}.bias", (fan_out,), group)

    add_network("actor", (actor_inputs or obs_size, *actor_hidden, actor_outputs or action_size))
    add("log_std", (action_size,), "log_std")
    if critic_hidden is not None:
        add_network("critic", (obs_size, *critic_hidden, 1))
    return Layout(obs_size, action_size, tuple(slots))
