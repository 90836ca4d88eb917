"""A policy as an ONNX model, built node by node; needs rlsparse[onnx]."""

from pathlib import Path
from typing import Any

import numpy as np

from rlsparse.run.version import __version__
from rlsparse.trained.compact import Network

OPSET, IR_VERSION = 17, 8
"""Of 2022, so that older runtimes take the model too."""


def model(network: Network, about: dict[str, Any]) -> bytes:
    """Return the model: `observation` [N, O] float32 to `action` [N, A] float32, for any N."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(operator: str, x: str, *values: np.ndarray, out: str = "", **attributes: Any) -> str:
        names = [f"{operator.lower()}_{len(nodes)}_{i}" for i in range(len(values))]
        constants.extend(numpy_helper.from_array(v, name) for v, name in zip(values, names, strict=True))
        out = out or f"x{len(nodes)}"
        nodes.append(helper.make_node(operator, [x, *names], [out], **attributes))
        return out

    x = add("Gather", "observation", network.inputs.astype(np.int64), axis=1)
    x = add("Sub", x, network.shift)
    x = add("Max", x, -network.limit)
    x = add("Min", x, network.limit)
    for weight, bias in network.layers[:-1]:
        x = add("Tanh", add("Gemm", x, weight, bias))
    x = add("Gemm", x, *network.layers[-1])
    add("Min", add("Max", x, network.low), network.high, out="action")

    shapes = {"observation": network.obs_size, "action": len(network.low)}
    ends = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in shapes.items()}
    graph = helper.make_graph(nodes, "policy", [ends["observation"]], [ends["action"]], constants)
    built = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rlsparse",
        producer_version=__version__,
    )
    helper.set_model_props(built, {name: str(value) for name, value in about.items()})
    checker.check_model(built, full_check=True)
    return built.SerializeToString()


class Session:
    """A model run by onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Environment actions [N, A] for raw obs [N, O]."""
        return self._session.run(["action"], {"observation": obs.astype(np.float32, copy=False)})[0]
