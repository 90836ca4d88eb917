"""Weights & Biases: https://docs.wandb.ai/ref/python/init."""

import os
from typing import Any

from rlsparse.errors import import_extra
from rlsparse.run.callbacks import Training
from rlsparse.run.loggers import Logger
from rlsparse.run.recipe import to_dict


class WeightsAndBiases(Logger):
    """Sends the numbers of a run, and its recipe, to Weights & Biases; further arguments are those of wandb.init."""

    def __init__(self, project: str = "rlsparse", **init: Any) -> None:
        self._wandb = import_extra("wandb", "wandb", "WeightsAndBiases")
        # environments may change the working directory before the first numbers come
        self._init = {"project": project, "dir": os.getcwd(), "resume": "allow", "reinit": "create_new"} | init

    def begin(self, training: Training) -> None:
        """Begin the service's run, or go on with it; steps of the environments are the axis of all numbers."""
        config = to_dict(training.recipe) | {"run_dir": str(training.run_dir)}
        self._run = self._wandb.init(**{"config": config, "id": self.run_id or None} | self._init)
        self._run.define_metric("*", step_metric="total_steps")
        self.run_id, self.url = self._run.id, self._run.url or ""

    def send(self, scalars: dict[str, float], total_steps: int) -> None:
        """Send numbers by name."""
        self._run.log(scalars | {"total_steps": total_steps})

    def finish(self, state: str) -> None:
        """End the service's run."""
        self._run.finish(exit_code=int(state == "failed"))
