"""The .rlsp file: one bit per weight, and the numbers of those that are there. docs/export.md has its bytes."""

import json
import struct
import zlib
from typing import Any

import numpy as np

from rlsparse.trained.compact import Network

VERSION = 1


def pack(network: Network, weights: type[np.floating], about: dict[str, Any]) -> bytes:
    """Return the file of a network whose weights are stored as float16 or float32; `deploy.numpy_policy` reads it."""
    text = json.dumps(about).encode()
    depth = len(network.layers)
    read = np.zeros(network.obs_size, bool)
    read[network.inputs] = True
    parts = [
        struct.pack("<III", network.obs_size, len(text), depth),
        np.array(network.widths, "<u4").tobytes(),
        text,
        _bits(read),
        _float32(network.shift),
        _float32(network.limit),
    ]
    for weight, bias in network.layers:
        stored = weight.astype(np.dtype(weights).newbyteorder("<")).ravel()
        present = stored != 0
        parts += [_bits(present), stored[present].tobytes(), _float32(bias)]
    content = b"".join([*parts, _float32(network.low), _float32(network.high)])
    start = struct.pack("<4sHHI", b"RLSP", VERSION, np.dtype(weights).itemsize, zlib.crc32(content))
    return start + content


def _bits(marked: np.ndarray) -> bytes:
    return np.packbits(marked, bitorder="little").tobytes()


def _float32(values: np.ndarray) -> bytes:
    return values.astype("<f4").tobytes()
