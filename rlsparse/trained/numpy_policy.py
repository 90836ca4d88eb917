"""Run an exported policy with numpy alone: policy = load("policy.rlsp"); action = policy(observation)."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

HIDDEN: dict = {"tanh": lambda x: np.tanh(x, out=x), "silu": lambda x: x * (0.5 + 0.5 * np.tanh(x / 2))}
HIDDEN.update(relu=lambda x: np.maximum(x, 0), elu=lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))))
HIDDEN.update({0: np.asarray, 1: lambda x: (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + 1e-5) ** 0.5})


class Policy:
    """A deterministic policy; `about` says which one."""

    def __init__(self, obs_size: int, about: dict, layers: list, *vectors: np.ndarray) -> None:
        self.obs_size, self.about, self.hidden, (self.weight, self.bias) = obs_size, about, layers[:-1], layers[-1]
        self.inputs, self.shift, self.limit, self.low, self.high = vectors
        self.before = HIDDEN[about.get("layer_normalisation", 0)]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Environment action [A], or [N, A], float32, for a raw observation [O], or [N, O]."""
        x = np.asarray(observation, np.float32)
        if x.shape[-1:] != (self.obs_size,):
            raise ValueError(f"an observation of shape {x.shape}: expected {self.obs_size} numbers, or rows of them")
        x = np.minimum(np.maximum(x.take(self.inputs, -1) - self.shift, -self.limit), self.limit)
        for weight, bias in self.hidden:
            x = HIDDEN[self.about.get("activation", "tanh")](self.before(x.dot(weight) + bias))
        return np.minimum(np.maximum(x.dot(self.weight) + self.bias, self.low), self.high)


def load(path: str | Path) -> Policy:
    """Read an .rlsp file, of which no code is run; raises ValueError if it is none or is damaged."""
    data, position = Path(path).read_bytes(), 24

    def read(kind: str, count: int) -> np.ndarray:
        nonlocal position
        values = np.frombuffer(data, kind, count, position)
        position += values.nbytes
        return values

    def mask(count: int) -> np.ndarray:
        return np.unpackbits(read("u1", (count + 7) // 8), count=count, bitorder="little").view(bool)

    if len(data) < position or data[:6] != b"RLSP\1\0":
        raise ValueError(f"{path} is not an .rlsp policy of version 1")
    weight_bytes, checksum, obs_size, about_size, depth = struct.unpack_from("<HIIII", data, 6)
    if zlib.crc32(data[12:]) != checksum:
        raise ValueError(f"{path} is damaged or cut short")
    widths, about = read("<u4", depth + 1).tolist(), json.loads(read("u1", about_size).tobytes())
    layers, inputs, shift, limit = [], np.flatnonzero(mask(obs_size)), read("<f4", widths[0]), read("<f4", widths[0])
    for rows, columns in ((widths[i], widths[i + 1]) for i in range(depth)):
        present, weight = mask(rows * columns), np.zeros((rows, columns), np.float32)  # a file too short ends here
        weight.ravel()[present] = read(f"<f{weight_bytes}", int(present.sum()))
        layers.append((weight, read("<f4", columns).astype(np.float32)))
    return Policy(obs_size, about, layers, inputs, shift, limit, read("<f4", widths[-1]), read("<f4", widths[-1]))
