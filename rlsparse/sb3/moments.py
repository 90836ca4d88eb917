"""What an optimiser remembers of weights that came or went, and steps of Adam that know how old a weight is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

GROWN_UP = -1
"""The age of weights that are as old as the optimiser, or so old that it makes no difference."""

NO_DIFFERENCE = 1e-8
"""A share of the bias that is below the precision of the weights."""


def restart(optimiser: Optimizer, weight: nn.Parameter, changed: Tensor, active: Tensor) -> None:
    """Forget the weights that are `changed`, bool of the parameter's shape; `active` are there now.

    All that is remembered of each weight becomes zero. Without bias correction a mean square of zero would make
    RMSprop's first steps many times too long, so there new weights begin with the median of those that stayed.
    """
    for name, memory in optimiser.state.get(weight, {}).items():
        if torch.is_tensor(memory) and memory.shape == weight.shape:
            memory[changed] = 0.0
            stayed = active & ~changed
            if name == "square_avg" and stayed.any():
                memory[changed & active] = memory[stayed].median()


def corrects_bias(optimiser: Optimizer) -> bool:
    """Whether its steps are Adam's, so that they depend on how many there were."""
    return isinstance(optimiser, Adam)


@dataclass
class Young:
    """The weights that are younger than the optimiser's count of steps; n of them, in several parameters."""

    places: list[tuple[nn.Parameter, Tensor]]
    """Parameters, and where in the flattened parameter its young weights are."""
    age: Tensor
    """Steps that each has taken, [n]."""
    lag: Tensor
    """Steps that the optimiser had counted before, [n]."""

    def after_step(self, optimiser: Optimizer) -> None:
        """Replace the step that they have just taken by one whose bias is corrected by their own age.

        Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.
        """
        self.age += 1
        group = optimiser.param_groups[0]
        first = self._gathered(optimiser, "exp_avg")
        second = self._gathered(optimiser, "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq")

        def direction(age: Tensor) -> Tensor:
            complete1, complete2 = (-torch.expm1(age * math.log(beta)) for beta in group["betas"])  # 1 - beta ** age
            return first / (((second / complete2).sqrt() + group["eps"]) * complete1)

        excess = float(group["lr"]) * (direction(self.age + self.lag) - direction(self.age))
        parts = excess.split([len(index) for _, index in self.places])
        with torch.no_grad():
            for (weight, index), part in zip(self.places, parts, strict=True):
                weight.view(-1).index_add_(0, index, part)

    def _gathered(self, optimiser: Optimizer, moment: str) -> Tensor:
        return torch.cat([optimiser.state[weight][moment].take(index) for weight, index in self.places])


def young(optimiser: Optimizer, weights: Sequence[nn.Parameter], ages: Sequence[Tensor]) -> Young | None:
    """Return the young among these weights, by their `ages`, or None.

    Where the optimiser remembers nothing of a parameter, all of its weights are as old as each other.
    """
    places, of_each, lags = [], [], []
    for weight, age in zip(weights, ages, strict=True):
        index = torch.nonzero(age.reshape(-1) != GROWN_UP)[:, 0]
        state = optimiser.state.get(weight)
        if len(index) and state:
            steps = state["step"].to(weight)
            places.append((weight, index))
            of_each.append(torch.minimum(age.take(index).to(weight), steps))
            lags.append(steps - of_each[-1])
    return Young(places, torch.cat(of_each), torch.cat(lags)) if places else None


def aged(optimiser: Optimizer, weights: Sequence[nn.Parameter], grown: Young | None) -> list[Tensor]:
    """Return the ages of all weights, of the parameters' shapes; of the young ones as they are now."""
    ages = [torch.full_like(weight, GROWN_UP, dtype=torch.int64) for weight in weights]
    if grown is not None:
        no_difference = math.log(NO_DIFFERENCE) / math.log(optimiser.param_groups[0]["betas"][1])
        now = torch.where(grown.age > no_difference, GROWN_UP, grown.age).to(torch.int64)
        of = {id(weight): age for weight, age in zip(weights, ages, strict=True)}
        parts = now.split([len(index) for _, index in grown.places])
        for (weight, index), part in zip(grown.places, parts, strict=True):
            of[id(weight)].view(-1)[index] = part
    return ages
