"""What a policy can be exported as: the packed file for numpy, the ONNX model, and how to run each of them."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlsparse.learner.activations import EPSILON
from rlsparse.run.version import __version__
from rlsparse.trained import numpy_policy
from rlsparse.trained.compact import Network

Format = Literal["numpy", "onnx"]
Precision = Literal["fp16", "fp32"]
Policy = Callable[[np.ndarray], np.ndarray]
"""Environment actions [N, A] for raw observations [N, O]."""

WEIGHTS: dict[Precision, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32}

RLSP_VERSION = 1
OPSET, IR_VERSION = 17, 8
"""Of 2022, so that older runtimes take the model too."""
OPERATORS = {"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}
"""Of ONNX, by the nonlinearity of hidden units; it has none for SiLU."""


@dataclass(frozen=True)
class Form:
    """One format."""

    files: tuple[str, ...]
    """The one that holds the policy, then those of this package that are copied beside it to run it."""
    precisions: tuple[Precision, ...]
    """Of the weights, the smallest first."""
    encode: Callable[[Network, Precision, dict[str, Any]], bytes]
    """Return the policy's file of a network whose weights are rounded to the precision already."""
    load: Callable[[Path], Policy]
    """Return the policy of a file, as its user gets it."""

    def write(self, network: Network, precision: Precision, about: dict[str, Any]) -> dict[str, bytes]:
        """Return the contents of the files by name."""
        policy, *copied = self.files
        beside = {name: (Path(__file__).parent / name).read_bytes() for name in copied}
        return {policy: self.encode(network, precision, about), **beside}


def pack(network: Network, precision: Precision, about: dict[str, Any]) -> bytes:
    """Return the .rlsp file: one bit per weight, and the numbers of those that are there.

    docs/export.md has its bytes; `numpy_policy` reads it.
    """
    text, weights = json.dumps(about).encode(), np.dtype(WEIGHTS[precision]).newbyteorder("<")
    read = np.isin(np.arange(network.obs_size), network.inputs)
    parts = [
        struct.pack("<III", network.obs_size, len(text), len(network.layers)),
        np.array(network.widths, "<u4").tobytes(),
        text,
        _bits(read),
        _float32(network.shift, network.limit),
    ]
    for weight, bias in network.layers:
        stored = weight.astype(weights).ravel()
        present = stored != 0
        parts += [_bits(present), stored[present].tobytes(), _float32(bias)]
    content = b"".join([*parts, _float32(network.low, network.high)])
    return struct.pack("<4sHHI", b"RLSP", RLSP_VERSION, weights.itemsize, zlib.crc32(content)) + content


def _bits(marked: np.ndarray) -> bytes:
    return np.packbits(marked, bitorder="little").tobytes()


def _float32(*vectors: np.ndarray) -> bytes:
    return np.concatenate(vectors).astype("<f4").tobytes()


def onnx_model(network: Network, about: dict[str, Any]) -> bytes:
    """Return the model: `observation` [N, O] float32 to `action` [N, A] float32, for any N; needs rlsparse[onnx]."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(operator: str, x: str, *values: np.ndarray, out: str = "", **attributes: Any) -> str:
        names = [f"{operator.lower()}_{len(nodes)}_{i}" for i in range(len(values))]
        constants.extend(numpy_helper.from_array(v, name) for v, name in zip(values, names, strict=True))
        out = out or f"x{len(nodes)}"
        nodes.append(helper.make_node(operator, [x, *names], [out], **attributes))
        return out

    def hidden(x: str) -> str:
        if network.layer_normalisation:
            ones, zeros = np.ones(len(bias), np.float32), np.zeros(len(bias), np.float32)
            x = add("LayerNormalization", x, ones, zeros, epsilon=EPSILON)
        if network.activation != "silu":
            return add(OPERATORS[network.activation], x)
        logistic, out = add("Sigmoid", x), f"x{len(nodes)}"
        nodes.append(helper.make_node("Mul", [x, logistic], [out]))
        return out

    x = add("Gather", "observation", network.inputs.astype(np.int64), axis=1)
    x = add("Sub", x, network.shift)
    x = add("Min", add("Max", x, -network.limit), network.limit)
    for weight, bias in network.layers[:-1]:
        x = hidden(add("Gemm", x, weight, bias))
    x = add("Gemm", x, *network.layers[-1])
    add("Min", add("Max", x, network.low), network.high, out="action")

    def end(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    observation, action = end("observation", network.obs_size), end("action", len(network.low))
    built = helper.make_model(
        helper.make_graph(nodes, "policy", [observation], [action], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rlsparse",
        producer_version=__version__,
    )
    helper.set_model_props(built, {name: str(value) for name, value in about.items()})
    checker.check_model(built, full_check=True)
    return built.SerializeToString()


def load_onnx(path: Path) -> Policy:
    """Return the policy of a model, run by onnxruntime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda obs: session.run(["action"], {"observation": obs.astype(np.float32, copy=False)})[0]


FORMS: dict[Format, Form] = {
    "numpy": Form(("policy.rlsp", "numpy_policy.py"), ("fp16", "fp32"), pack, numpy_policy.load),
    "onnx": Form(("policy.onnx",), ("fp32",), lambda network, _, about: onnx_model(network, about), load_onnx),
}
