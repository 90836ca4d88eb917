"""What a policy can be exported as: the files of each format, and how to run them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlsparse.run.checkpoint import encode_arrays
from rlsparse.trained import numpy_policy, onnx_graph
from rlsparse.trained.compact import Network
from rlsparse.trained.pack import pack

Format = Literal["numpy", "compact", "torch", "onnx"]
Precision = Literal["fp16", "fp32"]
Policy = Callable[[np.ndarray], np.ndarray]

WEIGHTS: dict[Precision, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32}


@dataclass(frozen=True)
class Form:
    """One format: the file that holds the policy, and the one beside it that runs it, if there is one."""

    policy: str
    runner: str | None
    precisions: tuple[Precision, ...]
    """Of the weights, the smallest first."""
    encode: Callable[[Network, Precision, dict[str, Any]], bytes]
    """File of a network whose weights are rounded to the precision already."""
    load: Callable[[Path], Policy]
    """Policy of a file: actions [N, A] for raw observations [N, O]."""

    @property
    def files(self) -> list[str]:
        """Names of what is written."""
        return [self.policy, *([self.runner] if self.runner else [])]

    def write(self, network: Network, precision: Precision, about: dict[str, Any]) -> dict[str, bytes]:
        """Return the files by name."""
        files = {self.policy: self.encode(network, precision, about)}
        if self.runner:
            files[self.runner] = (Path(__file__).parent / self.runner).read_bytes()
        return files


def tensors(network: Network, about: dict[str, Any]) -> bytes:
    """Return a safetensors document that is the state dict of `deploy.torch_policy.Policy`."""
    arrays = {"inputs": network.inputs.astype(np.int64)}
    arrays |= {name: getattr(network, name) for name in ("shift", "limit", "low", "high")}
    for i, (weight, bias) in enumerate(network.layers):
        arrays |= {f"network.{2 * i}.weight": weight.T, f"network.{2 * i}.bias": bias}
    said = {name: str(value) for name, value in about.items()}
    return encode_arrays(arrays, {**said, "obs_size": str(network.obs_size)})


def load_torch(path: Path) -> Policy:
    """Return the policy that a PyTorch user gets, on arrays."""
    import torch

    from rlsparse.trained import torch_policy

    policy = torch_policy.load(path)

    def act(obs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return policy(torch.as_tensor(obs)).numpy()

    return act


def _pack(network: Network, precision: Precision, about: dict[str, Any]) -> bytes:
    return pack(network, WEIGHTS[precision], about)


FORMS: dict[Format, Form] = {
    "numpy": Form("policy.rlsp", "numpy_policy.py", ("fp16", "fp32"), _pack, numpy_policy.load),
    "compact": Form("policy.rlsp", None, ("fp16", "fp32"), _pack, numpy_policy.load),
    "torch": Form(
        "policy.safetensors", "torch_policy.py", ("fp32",), lambda n, _, about: tensors(n, about), load_torch
    ),
    "onnx": Form("policy.onnx", None, ("fp32",), lambda n, _, about: onnx_graph.model(n, about), onnx_graph.Session),
}
