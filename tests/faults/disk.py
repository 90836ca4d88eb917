"""A disk on which the n-th call fails, or at whose n-th call the process is killed, for trainings in children.

`Disk` counts the calls of this process that concern one folder: open, write, fsync, rename, mkdir, unlink, rmdir. What
a training does then is compared with a training to which nothing happened.
"""

import errno
import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import fake_envs
import numpy as np
import tiny
from matplotlib.figure import Figure

from rlsparse import train
from rlsparse.run import checkpoint, record_files, storage
from rlsparse.run.callbacks import Callback

KILL = "kill"
POWER = "power"
"""Killed, and all is lost that nobody has waited for."""

FULL = "full"
"""From that call on the disk takes nothing."""

CODES = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EMFILE", "EINTR")}

EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
"""Names of calls that Python's audit hooks see; writes and syncs it does not."""

CODE = ["--env", "fake_envs:Windy", "--wrappers", "fake_envs.Doubled", "--callbacks", "faults.disk:Gusts", "--quiet"]
TRAIN = [*tiny.FLAGS, *CODE, "--env-kwargs.max-episode-steps", "5", "--run-dir", "run"]
RESUME = ["--resume", "run", *CODE]
EXTEND = [*RESUME, "--total-steps", "160"]


class Gusts(Callback):
    """Changes the task, and remembers how often."""

    def __init__(self):
        self.count = np.zeros(1)

    def on_iteration(self, training):
        self.count = self.count + 1
        training.set_task(wind=0.01 * self.count[0])

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Disk:
    """Counts calls, and does at number `at` what `fault` says: KILL or the name of an error."""

    def __init__(self, folder, at=0, fault=""):
        self.folder, self.at, self.fault = os.path.realpath(folder), at, fault
        self.calls = 0
        self.durable = {} if fault == POWER else None
        """By inode: what a file held, or which names a folder had, when it was last waited for."""
        self.kept = []
        write, fsync = os.write, os.fsync
        sys.addaudithook(self._heard)

        def faulty_write(descriptor, content):
            if self._concerns(f"/proc/self/fd/{descriptor}") and self._counted():
                write(descriptor, content[: len(content) // 2])
                self._happen()
            return write(descriptor, content)

        def faulty_fsync(descriptor):
            if self._concerns(f"/proc/self/fd/{descriptor}") and self._counted():
                self._happen()
            fsync(descriptor)
            if self.durable is not None:
                self._note(descriptor)

        os.write, os.fsync = faulty_write, faulty_fsync
        if self.durable is not None:  # what lies there already
            for path in [*Path(self.folder).rglob("*"), *Path(self.folder).parents[:1], Path(self.folder)]:
                if path.exists():
                    descriptor = os.open(path, os.O_RDONLY)
                    self._note(descriptor)
                    os.close(descriptor)
        self.calls = 0

    def _heard(self, event, arguments):
        reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (
            event in EVENTS
            and not (reads and self.fault in (KILL, POWER))
            and self._concerns(arguments[0])
            and self._counted()
        ):
            self._happen()

    def _concerns(self, path):
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.realpath(os.fsdecode(path)).startswith(self.folder)

    def _counted(self):
        self.calls += 1
        return self.calls == self.at or (self.fault == FULL and self.calls > self.at > 0)

    def _note(self, descriptor):
        path, inode = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_ino
        self.kept.append(os.dup(descriptor))  # no other file gets the number of this one
        if os.path.isdir(path):
            self.durable[inode] = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)}
        else:
            self.durable[inode] = Path(path).read_bytes()

    def _lose(self, inode, folder):
        """Put into a new folder what is left of one after the power has failed."""
        folder.mkdir()
        for name, (number, is_folder) in self.durable.get(inode, {}).items():
            if is_folder:
                self._lose(number, folder / name)
            else:
                (folder / name).write_bytes(self.durable.get(number, b""))

    def _happen(self):
        if self.fault == POWER:
            self.folder, self.fault = "nowhere", KILL  # what follows is no call of the run
            here = Path.cwd()
            after, run = here / "after", here / "run"
            self._lose(here.stat().st_ino, after)
            if run.exists():
                run.rename(here / "before")
            if (after / "run").exists():
                (after / "run").rename(run)
        if self.fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        code = CODES.get(self.fault, errno.ENOSPC)
        raise OSError(code, os.strerror(code))


def in_child(folder, arguments, at=0, fault="", seconds=0.0):
    """Run `rlsparse train` in a child, in `folder`; return its exit code (-9: killed) and how many calls it made.

    After so many `seconds`, if any, it is killed (-14).
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with open(reader) as pipe:
            told = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(told or 0)
    code = 1
    try:
        os.chdir(folder)
        gc.disable()  # it would copy what is shared with the parent
        Figure.savefig = lambda _, picture, **__: picture.write(b"not drawn, for that is slow")
        os.fsync = lambda _: None  # what a disk has when the power fails is told by `Disk`
        record_files.LONGEST_TAIL = 400  # a table that is short is long here
        storage.WAITS = (0.0,) * len(storage.WAITS)
        fake_envs.made = fake_envs.steps = 0
        sys.stdout = sys.stderr = open(Path(folder) / "said", "a")  # noqa: SIM115 - open as long as the child is
        disk = Disk(Path(folder) / "run", at, fault)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        code = run(arguments)
        os.write(writer, str(disk.calls).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def warm_up(folder):
    """Run it once in this process, so that children find everything imported."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert run(TRAIN) == 0
    finally:
        os.chdir(here)


def run(arguments):
    """Run the command; return its exit code."""
    try:
        train.main(arguments)
    except SystemExit as stop:
        return stop.code or 0
    return 0


def promised(folder):
    """The steps of the last whole save before the power failed: its last file says so."""
    status = Path(folder) / "before" / "status.json"
    return json.loads(status.read_text())["total_steps"] if status.exists() else 0


def newest(run_dir):
    """The steps of the newest checkpoint that can be read; 0 if there is none."""
    saved = checkpoint.load_latest(run_dir / "checkpoint")
    return 0 if saved is None else int(saved.arrays["learner"]["counters.train"].max())


def resumable(folder):
    """Whether what lies in the folder is a run."""
    return (Path(folder) / "run" / "recipe.toml").exists()


def recover(folder, command=None):
    """Do what a user does: resume, or start anew what did not become a run; return the outcome and the exit code."""
    code, _ = in_child(folder, (command or RESUME) if resumable(folder) else TRAIN)
    return tiny.outcome(Path(folder) / "run") if code == 0 else None, code
