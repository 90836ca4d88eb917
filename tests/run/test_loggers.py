"""Weights & Biases and MLflow get the numbers of a run; stand-ins of the packages, and the packages where they are."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

import rlsparse
from rlsparse import loop
from rlsparse.errors import Interrupted, UsageError
from rlsparse.run import directory as runs
from rlsparse.run.callbacks import Callback
from rlsparse.run.loggers import scalars
from rlsparse.run.reporters import Reporters, callbacks_of
from rlsparse.run.session import open_session, restore
from rlsparse.run.stop import Stop

RECIPE = tiny.recipe(num_seeds=2)


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)


def train(session, stop):
    try:
        with Reporters(session, quiet=True) as reporters:
            loop.train(session, reporters, stop)
    finally:
        session.run.release()


def begin(path, *callbacks):
    session, stop = tiny.begin(path, RECIPE), Stop()
    session.callbacks = callbacks_of(callbacks, stop.ask)
    train(session, stop)


def resume(path, *callbacks):
    run, recipe, _, device = runs.reopen(path)
    session = open_session(recipe, run, device, callbacks_of(callbacks, print))
    restore(session)
    train(session, tiny.never)


class StopsAt48(Callback):
    def on_iteration(self, training):
        if training.total_steps == 48:
            training.stop()


def test_of_every_number_the_mean_is_sent_and_that_of_each_member_if_there_are_several():
    rows = {4: {"seed": 4, "return_mean": 1.0, "nothing": np.nan, "reason": "none"}, 5: {"seed": 5, "return_mean": 3.0}}
    assert scalars("eval", rows) == {
        "eval/return_mean": 2.0,
        "eval/return_mean.seed-4": 1.0,
        "eval/return_mean.seed-5": 3.0,
    }
    assert scalars("eval", {4: rows[4]}) == {"eval/return_mean": 1.0}


# Weights & Biases


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in that keeps what it gets."""

    class Run:
        url = "https://wandb.ai/me/rlsparse/runs/ab12"
        ended = None

        def __init__(self, **init):
            self.init, self.logged, self.id = init, [], init["id"] or "ab12"
            stand_in.runs.append(self)

        def define_metric(self, name, step_metric):
            self.axis = (name, step_metric)

        def log(self, numbers):
            self.logged.append(numbers)

        def finish(self, exit_code):
            self.ended = exit_code

    stand_in = SimpleNamespace(runs=[], init=Run)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


def test_weights_and_biases_gets_the_recipe_and_all_numbers_over_steps(wandb, tmp_path):
    begin(tmp_path / "run", rlsparse.WeightsAndBiases("point", group="seeds"))
    (run,) = wandb.runs
    assert (run.init["project"], run.init["group"], run.init["id"]) == ("point", "seeds", None)
    assert run.init["config"]["algorithm"]["learning_rate"] == RECIPE.algorithm.learning_rate
    assert run.init["config"]["run_dir"] == str(tmp_path / "run")
    assert (run.axis, run.ended) == (("*", "total_steps"), 0)
    rows = runs.read_progress(tmp_path / "run" / "progress.csv")
    told = [(x["total_steps"], x["eval/return_mean.seed-1"]) for x in run.logged if "eval/return_mean" in x]
    assert told == [(row["total_steps"], row["return_mean"]) for row in rows if row["seed"] == 1]
    assert [x["total_steps"] for x in run.logged if "train/value_loss" in x] == [16, 32, 48, 64, 80, 96]


def test_a_resumed_run_goes_on_with_the_same_run_there(wandb, tmp_path):
    with pytest.raises(Interrupted):
        begin(tmp_path / "run", rlsparse.WeightsAndBiases(), StopsAt48())
    resume(tmp_path / "run", rlsparse.WeightsAndBiases())
    first, second = wandb.runs
    assert (first.init["id"], second.init["id"], second.init["resume"]) == (None, "ab12", "allow")
    steps = [x["total_steps"] for run in wandb.runs for x in run.logged if "train/value_loss" in x]
    assert steps == [16, 32, 48, 64, 80, 96]


def test_one_that_cannot_begin_ends_the_run_in_one_line(wandb, tmp_path):
    def no_key(**_):
        raise RuntimeError("api_key not configured\nrun wandb login")

    wandb.init = no_key
    with pytest.raises(UsageError, match="WeightsAndBiases cannot begin: RuntimeError: api_key not configured run"):
        begin(tmp_path / "run", rlsparse.WeightsAndBiases())


def test_one_that_fails_later_is_left_out_and_training_goes_on(wandb, tmp_path, monkeypatch, caplog):
    def lost(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(wandb.init, "log", lost)
    begin(tmp_path / "run", rlsparse.WeightsAndBiases())
    assert caplog.messages == ["WeightsAndBiases fails and is left out from now on: ConnectionError: no network"]
    assert wandb.runs[0].ended is None


@pytest.mark.parametrize("name, extra", [("WeightsAndBiases", "wandb"), ("MLflow", "mlflow")])
def test_without_its_package_the_extra_is_named(name, extra, monkeypatch):
    for module in [module for module in sys.modules if module.partition(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(UsageError, match=rf"{name} needs {extra}.*: pip install 'rlsparse\[{extra}\]'"):
        getattr(rlsparse, name)()


@pytest.mark.long
def test_the_real_weights_and_biases_writes_an_offline_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    begin(tmp_path / "run", rlsparse.WeightsAndBiases("point"))
    wandb.teardown()  # its process writes what it still holds
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert written.stat().st_size > 1000


# MLflow


def mlflow_stand_in():
    """The part of MLflow that is used, in memory."""
    client = SimpleNamespace(runs={}, metrics=[], params={}, ends=[], experiments={})

    def create_experiment(name):
        client.experiments[name] = SimpleNamespace(experiment_id=str(len(client.experiments)))
        return client.experiments[name].experiment_id

    def create_run(experiment, run_name, tags):
        client.runs["r1"] = (experiment, run_name, tags)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def log_batch(run, metrics=(), params=()):
        assert len(metrics) <= 1000
        assert run in client.runs
        client.metrics += metrics
        client.params |= params

    client.create_experiment, client.create_run, client.log_batch = create_experiment, create_run, log_batch
    client.get_experiment_by_name = client.experiments.get
    client.update_run = client.set_terminated = lambda *told: client.ends.append(told)
    entities = SimpleNamespace(Metric=lambda *x: x, Param=lambda *x: x)
    return SimpleNamespace(MlflowClient=lambda uri: client, entities=entities, client=client)


@pytest.fixture
def mlflow(monkeypatch):
    stand_in = mlflow_stand_in()
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    monkeypatch.setitem(sys.modules, "mlflow.entities", stand_in.entities)
    return stand_in.client


def test_mlflow_gets_the_recipe_and_all_numbers_over_steps(mlflow, tmp_path):
    begin(tmp_path / "run", rlsparse.MLflow("point"))
    assert mlflow.runs == {"r1": ("0", "run", {"run_dir": str(tmp_path / "run")})}
    assert mlflow.params["algorithm.learning_rate"] == str(RECIPE.algorithm.learning_rate)
    rows = runs.read_progress(tmp_path / "run" / "progress.csv")
    told = [(step, x) for name, x, _, step in mlflow.metrics if name == "eval/return_mean.seed-0"]
    assert told == [(row["total_steps"], row["return_mean"]) for row in rows if row["seed"] == 0]
    assert [step for name, _, _, step in mlflow.metrics if name == "train/approx_kl"] == [16, 32, 48, 64, 80, 96]
    assert mlflow.ends == [("r1", "FINISHED")]


def test_a_resumed_run_goes_on_with_the_same_run_of_mlflow(mlflow, tmp_path):
    with pytest.raises(Interrupted):
        begin(tmp_path / "run", rlsparse.MLflow(), StopsAt48())
    resume(tmp_path / "run", rlsparse.MLflow())
    assert mlflow.ends == [("r1", "KILLED"), ("r1", "RUNNING"), ("r1", "FINISHED")]
    assert [step for name, _, _, step in mlflow.metrics if name == "train/approx_kl"] == [16, 32, 48, 64, 80, 96]


@pytest.mark.long
def test_the_real_mlflow_keeps_what_it_gets(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    with pytest.raises(Interrupted):
        begin(tmp_path / "run", rlsparse.MLflow("point", tracking_uri=uri), StopsAt48())
    resume(tmp_path / "run", rlsparse.MLflow("point", tracking_uri=uri))
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("point").experiment_id])
    assert (run.info.status, run.data.params["env"]) == ("FINISHED", RECIPE.env)
    told = client.get_metric_history(run.info.run_id, "eval/return_mean.seed-1")
    rows = [row for row in runs.read_progress(tmp_path / "run" / "progress.csv") if row["seed"] == 1]
    assert [(x.step, x.value) for x in told] == [(row["total_steps"], row["return_mean"]) for row in rows]
