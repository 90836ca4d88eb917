"""On-policy reinforcement learning for continuous control."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlsparse.run.version import __version__ as __version__

if TYPE_CHECKING:  # imported when they are asked for: `import rlsparse` takes no time
    from rlsparse.compare.from_python import Compared as Compared
    from rlsparse.compare.from_python import from_script as compare
    from rlsparse.errors import DivergenceError as DivergenceError
    from rlsparse.errors import EnvironmentFailure as EnvironmentFailure
    from rlsparse.errors import RlsparseError as RlsparseError
    from rlsparse.errors import RunDirectoryError as RunDirectoryError
    from rlsparse.errors import StorageError as StorageError
    from rlsparse.errors import UnsupportedEnvironment as UnsupportedEnvironment
    from rlsparse.errors import UsageError as UsageError
    from rlsparse.run.callbacks import Callback as Callback
    from rlsparse.run.callbacks import Training as Training
    from rlsparse.run.mlflow import MLflow as MLflow
    from rlsparse.run.torch_loop import Explorer as Explorer
    from rlsparse.run.weights_and_biases import WeightsAndBiases as WeightsAndBiases
    from rlsparse.train.from_python import from_script as train
    from rlsparse.trained.loaded import Policy as Policy
    from rlsparse.trained.loaded import load as load
    from rlsparse.trained.result import TrainedRun as TrainedRun

PUBLIC = {
    "Compared": "compare.from_python",
    "Callback": "run.callbacks",
    "Training": "run.callbacks",
    "Explorer": "run.torch_loop",
    "WeightsAndBiases": "run.weights_and_biases",
    "MLflow": "run.mlflow",
    "load": "trained.loaded",
    "Policy": "trained.loaded",
    "TrainedRun": "trained.result",
    **dict.fromkeys(
        (
            "RlsparseError",
            "UsageError",
            "EnvironmentFailure",
            "UnsupportedEnvironment",
            "RunDirectoryError",
            "DivergenceError",
            "StorageError",
        ),
        "errors",
    ),
}
"""Of each public name the module that has it."""

CALLED = ("compare", "train")
"""Modules that are called."""

__all__ = ["__version__", "compare", "train", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name in CALLED:
        return import_module(f"rlsparse.{name}")
    if name in PUBLIC:
        return getattr(import_module(f"rlsparse.{PUBLIC[name]}"), name)
    raise AttributeError(f"module rlsparse has no attribute {name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
