"""Callbacks: when they are called, what they see and do, and that a resumed run knows what they knew."""

import numpy as np
import pytest
import tiny

from rlsparse import loop
from rlsparse.errors import Interrupted, RunDirectoryError, UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.run import checkpoint, policy_file
from rlsparse.run import directory as runs
from rlsparse.run.callbacks import Callback
from rlsparse.run.reporters import Reporters, callbacks_of
from rlsparse.run.session import open_session, restore
from rlsparse.run.stop import Stop

RECIPE = tiny.recipe(num_seeds=2)
"""Six iterations of 16 steps, evaluations at 0, 32, 64 and 96."""


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def go_on(session, stop):
    try:
        with Reporters(session, quiet=True) as reporters:
            loop.train(session, reporters, stop)
    finally:
        session.run.release()


def train(run_dir, *callbacks, recipe=RECIPE, stop=None):
    session, stop = tiny.begin(run_dir, recipe), stop or Stop()
    session.callbacks = callbacks_of(callbacks, stop.ask)
    go_on(session, stop)
    return run_dir


def resume(run_dir, *callbacks):
    run, recipe, _, device = runs.reopen(run_dir)
    session = open_session(recipe, run, device, callbacks_of(callbacks, (stop := Stop()).ask))
    restore(session)
    go_on(session, stop)
    return run_dir


class Calls(Callback):
    """Notes every call, and the steps at it."""

    def __init__(self):
        self.calls = []

    def on_iteration(self, training):
        self.calls.append(("iteration", training.total_steps))

    def on_evaluation(self, training, rows):
        self.calls.append(("evaluation", training.total_steps))

    def on_probe(self, training, rows):
        self.calls.append(("probe", [row["seed"] for row in rows]))

    def on_end(self, training):
        self.calls.append((training.state, training.total_steps))


class Counting(Calls):
    """As Calls, with a state."""

    def state_dict(self):
        return {"calls": self.calls, "number": np.arange(len(self.calls)), "best": -np.inf}

    def load_state_dict(self, state):
        assert state["best"] == -np.inf
        assert len(state["number"]) == len(state["calls"])
        self.calls = [tuple(x) for x in state["calls"]]


ALL = [
    ("evaluation", 0),
    *[("iteration", 16), ("iteration", 32), ("evaluation", 32)],
    *[("iteration", 48), ("iteration", 64), ("evaluation", 64)],
    *[("iteration", 80), ("iteration", 96), ("evaluation", 96)],
    ("finished", 96),
]


# Calls


def test_they_are_called_after_iterations_and_evaluations_and_at_the_end(tmp_path):
    train(tmp_path / "run", calls := Calls())
    assert calls.calls == ALL


def test_a_run_with_one_that_changes_nothing_is_the_run_without_bit_for_bit(tmp_path):
    with_one = tiny.outcome(train(tmp_path / "with", Calls()))
    without = tiny.outcome(train(tmp_path / "without"))
    assert with_one.pop("callbacks") != without.pop("callbacks")
    assert with_one == without


def test_probes_are_told_with_their_members(tmp_path):
    explore = ExploRLer(Line((0.0, 2.0)), Episodes(2), num_anchors=2, budget_fraction=0.75)
    train(tmp_path / "run", calls := Calls(), recipe=tiny.recipe(num_seeds=2, total_steps=160, explore=explore))
    probed = [seeds for call, seeds in calls.calls if call == "probe"]
    rows = len((tmp_path / "run" / "probe.csv").read_text().splitlines()) - 1
    assert sum(map(len, probed)) == rows > 0


class Seen(Callback):
    """Keeps what it is shown, and tries to spoil it."""

    def __init__(self):
        self.seen = []

    def on_evaluation(self, training, rows):
        self.seen.append((training.stats, training.returns, training.counters, training.params, [*map(dict, rows)]))
        for array in (*training.stats.values(), training.returns, *vars(training.counters).values(), training.params):
            array[...] = 1
        for row in rows:
            row.clear()


def test_what_they_see_are_the_numbers_of_the_run_and_copies_of_them(tmp_path):
    train(tmp_path / "run", seen := Seen(), again := Seen())
    written = np.array_split(runs.read_progress(tmp_path / "run" / "progress.csv"), 4)
    for rows, found, (*_, others) in zip(written, seen.seen, again.seen, strict=True):
        stats, returns, counters, _, shown = found
        assert {"action_std", "approx_kl", "train_return_mean", "value_loss"} <= set(stats)
        for name, x in {**stats, "return_mean": returns, "total_steps": counters.total}.items():
            np.testing.assert_array_equal(x, [np.asarray(row[name], x.dtype) for row in rows])
        for told in (shown, others):
            np.testing.assert_allclose([[*row.values()] for row in told], [[*row.values()] for row in rows], 1e-6)
    policy = policy_file.load(tmp_path / "run" / "policy.safetensors").actors.params
    assert np.array_equal(found[3][:, : policy.shape[1]], policy)


# Ends


class StopAt(Counting):
    def __init__(self, steps, call="iteration"):
        super().__init__()
        self.at = (call, steps)

    def on_iteration(self, training):
        super().on_iteration(training)
        self.stop_if_due(training)

    def on_evaluation(self, training, rows):
        super().on_evaluation(training, rows)
        self.stop_if_due(training)

    def stop_if_due(self, training):
        if self.calls[-1] == self.at:
            training.stop()


@pytest.mark.parametrize("call, steps", [("iteration", 48), ("iteration", 32), ("evaluation", 32), ("evaluation", 0)])
def test_stopped_and_resumed_the_run_ends_the_same_and_no_call_is_repeated(call, steps, tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", stopping := StopAt(steps, call), stop=(stop := Stop()))
    assert stop.reason == "StopAt"
    assert stopping.calls == [*ALL[: ALL.index((call, steps)) + 1], ("interrupted", steps)]
    resume(tmp_path / "run", resumed := StopAt(-1))
    assert resumed.calls == ALL
    whole = train(tmp_path / "whole", StopAt(-1))
    assert tiny.outcome(tmp_path / "run") == tiny.outcome(whole)


def test_asked_to_stop_at_its_end_a_run_is_finished(tmp_path):
    train(tmp_path / "run", stopping := StopAt(96, "evaluation"))
    assert stopping.calls == ALL


class Raises(Counting):
    def __init__(self, call, steps=32):
        super().__init__()
        self.at = (call, steps)

    def on_iteration(self, training):
        if self.at == ("iteration", training.total_steps):
            raise ZeroDivisionError("by me")
        super().on_iteration(training)

    def on_evaluation(self, training, rows):
        if self.at == ("evaluation", training.total_steps):
            raise ZeroDivisionError("by me")
        super().on_evaluation(training, rows)


@pytest.mark.parametrize("call", ["iteration", "evaluation"])
def test_what_one_raises_passes_through_and_the_resumed_run_calls_again(call, tmp_path):
    others = Calls()
    with pytest.raises(ZeroDivisionError, match="by me"):
        train(tmp_path / "run", raising := Raises(call), others)
    assert others.calls[-1] == raising.calls[-1] == ("failed", 32)
    resume(tmp_path / "run", resumed := Raises("never"), Calls())
    assert resumed.calls == ALL


class Late(Callback):
    def on_end(self, training):
        raise ValueError("too late")


def test_at_the_end_all_are_told_and_the_first_cause_is_what_is_raised(tmp_path, caplog):
    with pytest.raises(ValueError, match="too late"):
        train(tmp_path / "finished", calls := Calls(), Late())
    assert calls.calls == ALL
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "failed", Late(), Raises("iteration"))
    assert "ValueError: too late" in caplog.text


# States


@pytest.mark.parametrize("killed_at", [("iteration", 48), ("iteration", 64)])
def test_killed_the_calls_since_the_last_checkpoint_are_repeated(killed_at, tmp_path):
    class Killed(BaseException):
        pass

    class Kills(Counting):
        def on_iteration(self, training):
            super().on_iteration(training)
            if self.calls[-1] == killed_at:
                raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", Kills())
    resume(tmp_path / "run", resumed := type("Kills", (Counting,), {})())
    assert resumed.calls == ALL


def test_states_find_their_callback_by_class_and_then_by_place(tmp_path):
    class Named(Callback):
        def __init__(self, name):
            self.name = self.found = name

        def on_evaluation(self, training, rows):
            training.stop()

        def state_dict(self):
            return {"name": self.name, "numbers": np.full(2, len(self.name))}

        def load_state_dict(self, state):
            self.found = state["name"]
            assert state["numbers"].tolist() == [len(self.found)] * 2

    with pytest.raises(Interrupted):
        train(tmp_path / "run", Named("first"), Counting(), Named("second"))
    one, two = Named("a"), Named("b")
    with pytest.raises(Interrupted):
        resume(tmp_path / "run", counting := Counting(), one, two)
    assert (one.found, two.found) == ("first", "second")
    assert counting.calls[0] == ("evaluation", 0)


def test_a_resume_warns_of_those_that_are_missing_new_or_without_a_state(tmp_path, caplog):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", StopAt(32), Calls())
    with pytest.raises(ValueError, match="too late"):
        resume(tmp_path / "run", Calls(), Late())
    assert caplog.messages == [
        "the callback Calls has no state_dict, so this begins anew: calls",
        "the callback Late is new to this run, and begins here",
        "the run had a callback StopAt, which is not there any more",
    ]


def test_a_resume_without_any_warns_of_all_that_there_were(tmp_path, caplog):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", StopAt(32))
    resume(tmp_path / "run")
    assert caplog.messages == ["the run had a callback StopAt, which is not there any more"]


@pytest.mark.parametrize(
    "saved, told",
    [
        ([{"name": "Calls", "state": "[1]"}], "does not fit recipe and environment: TypeError"),
        ([{"name": "Calls", "state": "[" * 10**5}], "does not fit recipe and environment: RecursionError"),
        ([{"name": "Calls"}], r"the key callbacks\[0\].state is missing"),
        ([{"name": 1, "state": "{}"}], r"callbacks\[0\].name must be text, not 1"),
    ],
)
def test_states_that_somebody_made_are_refused_in_one_line(saved, told, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", StopAt(32))
    newest = checkpoint.load_latest(tmp_path / "run" / "checkpoint")
    newest.values["callbacks"] = saved
    monkeypatch.setattr(checkpoint, "load_latest", lambda *_: newest)
    with pytest.raises(RunDirectoryError, match=told):
        tiny.reopen(tmp_path / "run")


def test_a_name_that_somebody_made_moves_no_cursor(caplog):
    callbacks_of([], print).load({}, [("A\x1b[2J" * 1000, {})])
    assert caplog.messages[0].isprintable()
    assert len(caplog.messages[0]) < 300


@pytest.mark.parametrize("thing", [object(), np.array([object()]), np.array(["text"])])
def test_a_state_that_a_checkpoint_does_not_hold_is_named(thing, tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"number": np.float32(1.5), "thing": thing}

    with pytest.raises(TypeError, match=r"Odd.state_dict: .*expected arrays of numbers and values of JSON"):
        train(tmp_path / "run", Odd())


def test_states_are_no_pickles(tmp_path):
    train(tmp_path / "run", Counting())
    saved = checkpoint.load_latest(tmp_path / "run" / "checkpoint")
    assert saved.arrays["callbacks"]["0.number"].tolist() == [*range(len(ALL) - 1)]
    assert saved.values["callbacks"][0]["name"] == "Counting"


# Names


def test_what_is_no_callback_is_refused():
    with pytest.raises(UsageError, match=r"is no object of a subclass of rlsparse.Callback: write Calls\(\)"):
        callbacks_of([Calls], Stop().ask)
    with pytest.raises(UsageError, match="is no object of a subclass"):
        callbacks_of([print], Stop().ask)
    mistyped = type("Typo", (Callback,), {"on_evalution": lambda self, training, rows: None})
    with pytest.raises(UsageError, match=r"the callback Typo has on_evalution: did you mean on_evaluation\?"):
        callbacks_of([mistyped()], Stop().ask)
    for given in (Calls, Calls(), "own:Calls"):
        with pytest.raises(UsageError, match=r"callbacks must be a list, as in callbacks=\[...\], not "):
            callbacks_of(given, Stop().ask)


def test_the_command_line_names_them_by_module_and_class(tmp_path, monkeypatch):
    (tmp_path / "own_callbacks.py").write_text(
        "import rlsparse.run.callbacks as c\n"
        "class Mine(c.Callback): pass\n"
        "class Needy(c.Callback):\n  def __init__(self, x): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (mine,) = callbacks_of(["own_callbacks:Mine"], Stop().ask)._callbacks
    assert type(mine).__name__ == "Mine"
    for place, message in {
        "own_callbacks:Yours": "own_callbacks has no Yours",
        "own_callbacks:c": "expected a class",
        "own_callbacks": "names no class",
        "own_callbacks:Needy": "cannot be built without arguments",
        "no_such_module:Mine": "cannot import no_such_module",
    }.items():
        with pytest.raises(UsageError, match=message):
            callbacks_of([place], Stop().ask)
