"""Everything that reads files of others, and what becomes of it: a refusal in one line, or a result."""

import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tiny

from rlsparse import loop
from rlsparse.compare.logs import read_logs
from rlsparse.errors import RlsparseError, RunDirectoryError
from rlsparse.run import directory as runs
from rlsparse.run import policy_file, status
from rlsparse.run import session as sessions
from rlsparse.run.callbacks import Callback
from rlsparse.run.like import recipe_like
from rlsparse.run.reading import printable, read_json
from rlsparse.run.reporters import Reporters, callbacks_of
from rlsparse.run.trust import trust_environment


@contextmanager
def a_gigabyte():
    """Let this process take no more memory than it has now and a gigabyte."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(act):
    """What the refusal says, or None if there is none; anything else that is raised is a fault, and so is to hang."""
    signal.alarm(60)
    try:
        act()
    except RlsparseError as error:
        assert error.exit_code in (2, 3, 4, 5), error
        assert len(printable(str(error))) < 2000
        return str(error)
    finally:
        signal.alarm(0)
    return None


def newest(run_dir):
    """The newest checkpoint; what would be fallen back on is removed."""
    *older, folder = sorted((run_dir / "checkpoint").iterdir(), key=lambda path: int(path.name))
    for path in older:
        shutil.rmtree(path)
    return folder


def reopen(run_dir):
    """What is read before environments are made."""
    run, recipe, agent, device = runs.reopen(run_dir)
    run.release()
    return recipe, agent, device, run.state, run.settings.keep_checkpoints


class Gusts(Callback):
    """Changes the task, and remembers what its checkpoints hold."""

    def __init__(self):
        self.state = {"count": 0, "winds": np.zeros(3)}

    def on_iteration(self, training):
        training.set_task(wind=0.02)
        self.state = {"count": self.state["count"] + 1, "winds": self.state["winds"] + 1}

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        alike = {name: np.asarray(x).dtype == np.asarray(self.state.get(name)).dtype for name, x in state.items()}
        self.state |= {name: x for name, x in state.items() if alike[name]}


def session_of(run, recipe, device):
    """A session with such a callback."""
    return sessions.open_session(recipe, run, device, callbacks_of([Gusts()], print))


def train(run_dir, recipe):
    """A whole run with it."""
    session = session_of(runs.create(recipe, "ppo", run_dir, run_dir, "cpu"), recipe, "cpu")
    sessions.start(session)
    with session.run, Reporters(session, quiet=True) as reporters:
        loop.train(session, reporters, tiny.never)
    return run_dir


def like(run_dir):
    """What `--like` takes from a run, its environment named and its wrappers left out."""
    return recipe_like(str(run_dir), "fake_envs:Windy", False, keep_wrappers=False)


def trusted(run_dir):
    """What a command imports for a run without being told to: nothing of another's."""
    recipe = runs.read_recipe(run_dir)
    return trust_environment(recipe.environment, "fake_envs:Windy", run_dir, wrappers=("fake_envs.Doubled",))


def resume(run_dir):
    """All that a resumed run goes on from."""
    run, recipe, agent, device = runs.reopen(run_dir)
    try:
        trusted(run_dir)
        session = session_of(run, recipe, device)
        sessions.restore(session)
        now = sessions.state(session)
    finally:
        run.release()
    arrays = {(group, name): as_bytes(x) for group, own in now.arrays.items() for name, x in own.items()}
    values = {name: x for name, x in now.values.items() if name not in ("seconds", "eval_seconds")}
    return recipe, agent, device, run.settings.keep_checkpoints, arrays, values


def play(run_dir):
    """All that acts."""
    return [policy_of(policy_file.load(run_dir / name)) for name in (status.LAST, status.BEST)]


def policy_of(policy):
    """What a policy file says."""
    scale = policy.actors.scale
    arrays = [as_bytes(x) for x in (policy.actors.params, scale.mean, scale.inv_std, *policy.statistics.values())]
    return policy.recipe, policy.actors.seeds, policy.actors.layout, scale.clip, policy.best, arrays


def tables(run_dir):
    """What tables and the summary say."""
    return (
        repr(runs.read_progress(run_dir / "progress.csv")),
        runs.read_probes(run_dir / "probe.csv"),
        read_json(run_dir / "summary.json") if (run_dir / "summary.json").exists() else {},
    )


def compare(run_dir):
    """What a comparison takes from a run; one that is left out, and listed, counts as refused."""
    found = read_logs([str(run_dir)])
    if not found.logs:
        raise RunDirectoryError("; ".join(found.unreadable))
    return repr(found.logs)


def everything(run_dir):
    """What all of them read; resuming comes last, for it writes."""
    return compare(run_dir), play(run_dir), tables(run_dir), like(run_dir), resume(run_dir)


def as_bytes(x):
    """An array to compare with another, NaN and types included."""
    return x.dtype.str, x.shape, x.tobytes()


def says_the_same(name):
    """Whether this attack on a recipe gives what is the default, or was there before."""
    return name.endswith(("missing", "is zero", "is yes", "an empty table"))
