"""Run an exported policy with PyTorch. Copy this file wherever the policy goes.

policy = load("policy.safetensors"); action = policy(observation)
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn


class Policy(nn.Module):
    """Environment action [..., A] for raw observations [..., O]: float32, differentiable, movable to any device."""

    inputs: torch.Tensor
    shift: torch.Tensor
    limit: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, obs_size: int, widths: list[int]) -> None:
        super().__init__()
        self.obs_size, self.reads_all = obs_size, widths[0] == obs_size
        self.register_buffer("inputs", torch.zeros(widths[0], dtype=torch.int64))
        for name, size in (("shift", widths[0]), ("limit", widths[0]), ("low", widths[-1]), ("high", widths[-1])):
            self.register_buffer(name, torch.zeros(size))
        layers = [layer for i in range(len(widths) - 1) for layer in (nn.Linear(widths[i], widths[i + 1]), nn.Tanh())]
        self.network = nn.Sequential(*layers[:-1])

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Act."""
        if observation.shape[-1] != self.obs_size:
            raise ValueError(f"an observation has {observation.shape[-1]} numbers, expected {self.obs_size}")
        x = observation.float()
        x = (x if self.reads_all else x.index_select(-1, self.inputs)) - self.shift
        return self.network(x.clamp(-self.limit, self.limit)).clamp(self.low, self.high)


def load(path: str | Path) -> Policy:
    """Read a policy without running code from its file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        obs_size = int(file.metadata()["obs_size"])
    depth = sum(name.endswith(".bias") for name in tensors)
    policy = Policy(obs_size, [len(tensors["inputs"]), *(len(tensors[f"network.{2 * i}.bias"]) for i in range(depth))])
    policy.load_state_dict(tensors)
    return policy.eval()
