"""What an optimiser remembers of weights that came or went, and steps of Adam that know how old a weight is."""

import math
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
    """The weights of one parameter that are younger than its optimiser's count of steps."""

    weight: nn.Parameter
    index: Tensor
    """Their places in the flattened parameter, [n]."""
    age: Tensor
    """Steps that each has taken, [n]."""

    def after_step(self, optimiser: Optimizer) -> None:
        """Replace the step that they have just taken by one whose bias is corrected by their own age.

        Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.
        """
        state = optimiser.state.get(self.weight)
        if not state:
            return
        self.age += 1
        group = next(g for g in optimiser.param_groups if any(p is self.weight for p in g["params"]))
        (beta1, beta2), steps = group["betas"], state["step"].to(self.age)
        second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        first, second = (moment.reshape(-1)[self.index] for moment in (state["exp_avg"], second))
        age = torch.minimum(self.age, steps)  # the optimiser may have been told to forget everything

        def direction(age: Tensor) -> Tensor:
            scale = (second / _gathered(beta2, age)).sqrt() + group["eps"]
            return first / (_gathered(beta1, age) * scale)

        with torch.no_grad():
            self.weight.view(-1)[self.index] += float(group["lr"]) * (direction(steps) - direction(age))

    def grown_up(self, optimiser: Optimizer) -> Tensor:
        """Which are so old that their own age makes no difference any more, [n] bool."""
        return self.age > math.log(NO_DIFFERENCE) / math.log(optimiser.param_groups[0]["betas"][1])


def _gathered(beta: float, age: Tensor) -> Tensor:
    """1 - beta ** age, exact for small ages too."""
    return -torch.expm1(age * math.log(beta))
