"""On-policy reinforcement learning for continuous control."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rlsparse.run.version import __version__

if TYPE_CHECKING:  # imported when they are asked for: `import rlsparse` takes no time
    from rlsparse.compare.from_python import Compared
    from rlsparse.compare.from_python import from_script as compare
    from rlsparse.errors import (
        DivergenceError,
        EnvironmentFailure,
        RlsparseError,
        RunDirectoryError,
        StorageError,
        UnsupportedEnvironment,
        UsageError,
    )
    from rlsparse.run.callbacks import Callback, Training
    from rlsparse.run.mlflow import MLflow
    from rlsparse.run.torch_loop import Explorer
    from rlsparse.run.weights_and_biases import WeightsAndBiases
    from rlsparse.study.from_python import sweep
    from rlsparse.study.result import StudyRun, Sweep
    from rlsparse.train.from_python import from_script as train
    from rlsparse.trained.loaded import Policy, load
    from rlsparse.trained.result import TrainedRun

__all__ = ["__version__", "compare", "train", "load", "Policy", "TrainedRun", "Compared", "Callback", "Training"]
__all__ += ["sweep", "Sweep", "StudyRun", "Explorer", "WeightsAndBiases", "MLflow"]
__all__ += ["RlsparseError", "UsageError", "EnvironmentFailure", "UnsupportedEnvironment"]
__all__ += ["RunDirectoryError", "DivergenceError", "StorageError"]

CALLED = ("compare", "train")
"""Modules that are called."""

PUBLIC = {
    "Compared": "compare.from_python",
    "Callback": "run.callbacks",
    "Training": "run.callbacks",
    "Explorer": "run.torch_loop",
    "WeightsAndBiases": "run.weights_and_biases",
    "MLflow": "run.mlflow",
    "load": "trained.loaded",
    "Policy": "trained.loaded",
    "StudyRun": "study.result",
    "Sweep": "study.result",
    "sweep": "study.from_python",
    "TrainedRun": "trained.result",
}
"""Of each public name the module that has it, where that is not `errors`."""


def __getattr__(name: str) -> Any:
    if name in CALLED:
        return import_module(f"rlsparse.{name}")
    if name in __all__:
        return getattr(import_module(f"rlsparse.{PUBLIC.get(name, 'errors')}"), name)
    raise AttributeError(f"module rlsparse has no attribute {name}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
