"""MLflow: https://mlflow.org/docs/latest/ml/tracking."""

import time
from typing import Any

from rlsparse.errors import import_extra
from rlsparse.run.callbacks import Training
from rlsparse.run.loggers import Logger
from rlsparse.run.naming import flat
from rlsparse.run.recipe import to_dict

AT_ONCE = 1000
"""Most numbers in one message; MLflow takes no more."""

SECONDS = 5.0
"""Numbers wait so long for others, for a message may take as long as an update."""

ENDS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Logger):
    """Sends the numbers of a run, and its recipe, to MLflow: to MLFLOW_TRACKING_URI unless `tracking_uri` is given."""

    def __init__(self, experiment: str = "rlsparse", *, run_name: str | None = None, tracking_uri: str | None = None):
        self._entities = import_extra("mlflow.entities", "mlflow", "MLflow")
        self._mlflow = import_extra("mlflow", "mlflow", "MLflow")
        self._experiment, self._run_name, self._uri = experiment, run_name, tracking_uri
        self._waiting: list[Any] = []
        self._sent = 0.0

    def begin(self, training: Training) -> None:
        """Begin the service's run, or go on with it."""
        self._client = self._mlflow.MlflowClient(self._uri)
        if self.run_id:
            self._client.update_run(self.run_id, "RUNNING")
            return
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self._experiment)
        name = self._run_name or training.run_dir.name
        run = self._client.create_run(experiment, run_name=name, tags={"run_dir": str(training.run_dir)})
        self.run_id = run.info.run_id
        fields = [self._entities.Param(place, str(x)) for place, x in flat(to_dict(training.recipe)).items()]
        self._client.log_batch(self.run_id, params=fields)

    def send(self, scalars: dict[str, float], total_steps: int) -> None:
        """Send numbers by name."""
        now = int(1000 * time.time())
        self._waiting += [self._entities.Metric(name, x, now, total_steps) for name, x in scalars.items()]
        if time.monotonic() - self._sent > SECONDS:
            self._flush()

    def finish(self, state: str) -> None:
        """End the service's run."""
        self._flush()
        self._client.set_terminated(self.run_id, ENDS[state])

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), AT_ONCE):
            self._client.log_batch(self.run_id, metrics=waiting[first : first + AT_ONCE])
        self._sent = time.monotonic()
