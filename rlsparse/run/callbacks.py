"""Callbacks: a user's own code that watches a run, may steer it, and is saved with it.

They are called in the main loop: after an evaluation, before the checkpoint that follows it; after an iteration or a
probe, before the checkpoint that may follow. Calls after the last checkpoint of a run that was killed are repeated when
it is resumed.
"""

import csv
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsparse.errors import UsageError, in_one_line, listed, nearest
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.records import Counters, EpochStats
from rlsparse.run.foreign import class_named
from rlsparse.run.no_callbacks import NoCallbacks
from rlsparse.run.recipe import Recipe
from rlsparse.run.records import stats_of_updates
from rlsparse.sim.curriculum import for_each

if TYPE_CHECKING:
    from rlsparse.run.session import Session

NUMBERS = "biuf"
"""Kinds of numpy's numbers that a checkpoint holds."""

log = logging.getLogger(__name__)


class Training:
    """What a callback sees of a run, and may do with it; S members, D parameters. All arrays are copies."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.state = "running"
        """In `on_end`: finished, interrupted (by a signal or by `stop`) or failed."""
        self.asked_to_stop = False
        self._read, self._last = 0, dict[int, float]()
        """How many bytes of the evaluations have been read, and the last return of each seed in them."""

    @property
    def recipe(self) -> Recipe:
        """What determines the run."""
        return self._session.recipe

    @property
    def run_dir(self) -> Path:
        """Where the run is written."""
        return self._session.run.path

    @property
    def seeds(self) -> tuple[int, ...]:
        """The members' seeds, [S]."""
        return self._session.learner.seeds

    @property
    def total_steps(self) -> int:
        """Train + probe steps of the member that has most."""
        return self._session.total_steps

    @property
    def counters(self) -> Counters:
        """Environment steps of each member by what they were spent on: `train`, `probe`, `eval`, `total`, [S] each."""
        return replace(self._session.learner.counters, **_copies(vars(self._session.learner.counters)))

    @property
    def stats(self) -> dict[str, np.ndarray]:
        """Numbers about the last update and the last training episodes, named as in progress.csv, [S] each."""
        session = self._session
        return _copies(stats_of_updates(session) | session.collector.metrics() | session.learner.metrics())

    @property
    def returns(self) -> np.ndarray:
        """Mean return of each member's last evaluation, [S]; NaN before the first."""
        table = self._session.run.records.tables["progress.csv"]
        names = table[: table.find(b"\n")].decode().split(",") if self._read else None
        new = csv.DictReader(table[self._read :].decode().splitlines(), names)
        self._last |= {int(row["seed"]): float(row["return_mean"]) for row in new}
        self._read = len(table)
        return np.array([self._last.get(seed, np.nan) for seed in self.seeds])

    @property
    def params(self) -> np.ndarray:
        """All parameters of each member, [S, D] float32."""
        return np.array(to_numpy(self._session.learner.params))

    def stop(self) -> None:
        """End the run after the present call: it is saved, and can be resumed."""
        self.asked_to_stop = True

    def set_task(self, **fields: Any) -> None:
        """Change numbers of the task in the training environments: a value for all members, or [S] values.

        The MuJoCo tasks change at once, other environments with each one's next episode; evaluations and probes stay
        with the recipe's task. Raises UsageError for what the task does not have, or a value of another form.
        """
        env = self._session.collector.env
        if not hasattr(env, "set_task"):
            raise UsageError("set_task needs environments that are simulated on the CPU: use --simulator mujoco")
        env.set_task(for_each(fields, env.task_numbers(), len(self.seeds), env.num_envs))


class Callback:
    """Watches a run; override what is needed. An exception that it raises ends the run, which can be resumed."""

    def on_iteration(self, training: Training) -> None:
        """One iteration is done: a rollout and an update."""

    def on_evaluation(self, training: Training, rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a row of progress.csv of each of them."""

    def on_probe(self, training: Training, rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each of them."""

    def on_end(self, training: Training) -> None:
        """Training ends here, for whatever reason; `training.state` says it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs of this object: numpy arrays and values of JSON, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class Callbacks(NoCallbacks):
    """The callbacks of a run: objects, or texts module:Class. Raises UsageError for what is none.

    `ask_to_stop` is called with the name of one that asks for it.
    """

    def __init__(self, given: Sequence[object], ask_to_stop: Callable[[str], None]) -> None:
        self._callbacks = [_checked(_named(x) if isinstance(x, str) else x) for x in listed("callbacks", given)]
        self._ask_to_stop = ask_to_stop
        self._training: Training | None = None

    def iteration(self, session: "Session", stats: EpochStats) -> None:
        """One update is done."""
        self._tell(session, "on_iteration")

    def evaluation(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have been evaluated: a progress row of each."""
        self._tell(session, "on_evaluation", rows)

    def probe(self, session: "Session", rows: list[dict[str, Any]]) -> None:
        """Members have probed: a row of probe.csv of each."""
        self._tell(session, "on_probe", rows)

    def end(self, session: "Session", state: str) -> None:
        """Training ends, and is finished, interrupted or failed; every callback is told, whatever others raise."""
        training = self._of(session)
        training.state = state
        with ExitStack() as each:
            for callback in reversed(self._callbacks):
                each.callback(callback.on_end, training)

    def _tell(self, session: "Session", call: str, *rows: list[dict[str, Any]]) -> None:
        for callback in self._callbacks:
            training = self._of(session)
            getattr(callback, call)(training, *([dict(row) for row in table] for table in rows))
            if training.asked_to_stop:
                self._ask_to_stop(type(callback).__name__)

    def _of(self, session: "Session") -> Training:
        self._training = self._training or Training(session)
        return self._training

    def state(self) -> tuple[dict[str, np.ndarray], list[dict[str, str]]]:
        """Return all arrays of the callbacks, by name, and of each its class and its other values as JSON."""
        arrays, values = dict[str, np.ndarray](), []
        for i, callback in enumerate(self._callbacks):
            state = callback.state_dict()
            own = {name: x for name, x in state.items() if isinstance(x, np.ndarray) and x.dtype.kind in NUMBERS}
            arrays |= {f"{i}.{name}": x for name, x in own.items()}
            try:
                text = json.dumps({name: _plain(x) for name, x in state.items() if name not in own})
            except (TypeError, ValueError) as error:
                kind = type(callback).__name__
                raise TypeError(f"{kind}.state_dict: {error}; expected arrays of numbers and values of JSON") from error
            values.append({"name": type(callback).__name__, "state": text})
        return arrays, values

    def load(self, arrays: dict[str, np.ndarray], states: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Restore every callback's state by the name of its class and its place among those of that name.

        A warning tells what was there and is no more, what is new, and what has attributes but no state.
        """
        left = [(i, *saved) for i, saved in enumerate(states)]
        for callback in self._callbacks:
            name, attributes = type(callback).__name__, ", ".join(vars(callback))
            found = next((saved for saved in left if saved[1] == name), None)
            if found is None:
                log.warning("the callback %s is new to this run, and begins here", name)
                continue
            left.remove(found)
            i, _, values = found
            own = {key.partition(".")[2]: x for key, x in arrays.items() if key.startswith(f"{i}.")}
            callback.load_state_dict(values | own)
            if type(callback).state_dict is Callback.state_dict and attributes:
                log.warning("the callback %s has no state_dict, so this begins anew: %s", name, attributes)
        super().load({}, [saved[1:] for saved in left])


def _checked(given: object) -> Callback:
    if not isinstance(given, Callback):
        hint = f": write {given.__name__}()" if isinstance(given, type) else ""
        raise UsageError(f"{given!r} is no object of a subclass of rlsparse.Callback{hint}")
    calls = [name for name in vars(Callback) if name.startswith("on_")]
    for name in dir(given):
        near = nearest(name, calls, cutoff=0.8)
        if near and name not in calls:  # it would never be called
            raise UsageError(f"the callback {type(given).__name__} has {name}: did you mean {near}?")
    return given


def _named(place: str) -> Callback:
    from rlsparse.sim.user_classes import load_object

    cls = load_object(class_named(place))
    if not (isinstance(cls, type) and issubclass(cls, Callback)):
        raise UsageError(f"--callbacks {place}: expected module:Class, a subclass of rlsparse.Callback")
    try:
        return cls()
    except TypeError as error:
        raise UsageError(f"--callbacks {place}: it cannot be built without arguments: {in_one_line(error)}") from error


def _copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(x) for name, x in arrays.items()}


def _plain(x: Any) -> Any:
    """Return numpy's numbers as Python's."""
    return x.item() if isinstance(x, np.generic) else x
