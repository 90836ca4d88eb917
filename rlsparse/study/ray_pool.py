"""Jobs as tasks of a Ray cluster: `--on ray`, or `--on ray:ADDRESS`.

Each task runs its worker as a process of its own. Where its machine sees the run directories, as in a folder that all
machines share, it works there; elsewhere they travel. What is lost with a machine goes on at another one from the last
checkpoint.
"""

import logging
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from rlsparse.errors import RlsparseError, RunDirectoryError, StorageError
from rlsparse.run.checkpoint import newest_steps
from rlsparse.run.lock import Lock
from rlsparse.run.storage import make_folder, write_atomic
from rlsparse.study import ray_cluster
from rlsparse.study.desk import Desk, News
from rlsparse.study.pool import Ended, Job
from rlsparse.study.remote_job import BEAT, PATIENCE, Order, Outcome, work
from rlsparse.study.snapshot import news, put

MOST_LOSSES = 3
"""So many attempts in a row that were lost, with no new checkpoint between them, end a job."""

ANSWER = 40.0
"""Most seconds in which the cluster answers; Ray itself ends a process after 60 s without an answer."""

WARNED, GIVEN_UP = 20.0, 600.0
"""Seconds that a job waits for a machine that is large enough: a cluster may still grow."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Flight:
    """A job on its way."""

    given: Job
    job: Job
    """With absolute folders."""
    ticket: str = ""
    """Of this attempt."""
    task: Any = None
    """Ray's reference of it."""
    since: float = 0.0
    """When it was started."""
    steps: int = 0
    """Those of the newest checkpoints when it was started."""
    losses: int = 0
    """Attempts in a row without a new checkpoint."""
    host: str = ""
    """Where it runs, empty as long as it waits."""
    warned: bool = False
    """Of a cluster that is too small, or a disk that is full."""
    waits_until: float = 0.0
    """When it waits for its run directories no longer; 0 if it does not wait."""
    locks: dict[Path, Lock] = field(default_factory=dict)
    """Of run directories that travel, which nobody else may train."""
    unwritten: list[News] = field(default_factory=list)
    """What has come back and could not be written yet."""

    def hold(self) -> None:
        """Hold the run directories; raises RunDirectoryError for one that is in use."""
        for folder in self.job.folders:
            self.locks[folder] = self.locks.get(folder) or Lock(folder)

    def release(self) -> None:
        """Let go of the run directories."""
        while self.locks:
            self.locks.popitem()[1].release()


class RayPool:
    """Runs jobs as tasks of a Ray cluster, at most so many `slots` at once; as many as it has cores if not given.

    `on` is what `ray_cluster.connect` takes, `out` the folder of the study. If `apart`, run directories travel even to
    machines that see them. Raises UsageError.
    """

    def __init__(self, on: str, out: Path, slots: int | None = None, apart: bool = False) -> None:
        self._own = not ray_cluster.connected()
        self._ray = ray = ray_cluster.connect(on)
        self._slots, self._secret, self._numbers = slots, secrets.token_hex(16), count(1)
        self._token = (out / f".shared-{secrets.token_hex(4)}").absolute()
        if not apart:
            make_folder(out, "make the folder of the study")
            write_atomic(self._token, self._secret)
        self._flights: list[_Flight] = []
        self._over: list[Ended] = []
        self._bad: set[str] = set()
        """Machines that cannot do what jobs need."""
        self._stopping = False
        here = ray.get_runtime_context().get_node_id()
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=beside).remote()
        self._task = ray.remote(_on_machine)

    @property
    def slots(self) -> int:
        """How many jobs it runs at once; those beyond the cluster's cores wait there, for it to grow."""
        return self._slots or ray_cluster.size(self._ray)

    def start(self, job: Job) -> None:
        """Start a job; there is a slot free."""
        flight = _Flight(job, replace(job, folders=tuple(folder.absolute() for folder in job.folders)))
        self._flights.append(flight)
        self._launch(flight)

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that are over and have not been told; waits for one at most so many seconds.

        What has come back from other machines is written meanwhile.
        """
        end = time.monotonic() + seconds
        while True:
            if not self._stopping:
                self._look()
            over, self._over = self._over, []
            left = end - time.monotonic()
            if over or left <= 0 or self._stopping:
                return over
            tasks = [flight.task for flight in self._flights]
            if tasks:
                self._ray.wait(tasks, timeout=min(left, BEAT))
            time.sleep(0.0 if tasks else left)

    def stop(self) -> None:
        """Ask all jobs to save and to end, and wait for that; those that do not are killed. Lets go of the cluster."""
        if self._stopping:
            return
        self._stopping = True
        self._tell("stop")
        for flight in [x for x in self._flights if not x.host]:
            self._cancel(flight)
        end = time.monotonic() + PATIENCE + 10 * BEAT
        while self._flights and time.monotonic() < end:
            self._look()
            time.sleep(BEAT / 4)
        for flight in [*self._flights]:
            self._cancel(flight, force=True)
            self._end(flight, "it did not save in time", 1)
        self._token.unlink(missing_ok=True)
        with suppress(Exception):  # of a cluster that is lost
            self._ray.kill(self._desk)
        if self._own:
            self._ray.shutdown()

    def _cancel(self, flight: _Flight, force: bool = False) -> None:
        with suppress(Exception):  # of a cluster that is lost
            self._ray.cancel(flight.task, force=force)

    def _tell(self, method: str, *given: Any) -> None:
        """Leave something at the desk, if the cluster is there; if it is lost, the next look finds that."""
        with suppress(Exception):  # Ray has no class for what it raises then
            getattr(self._desk, method).remote(*given)

    def _launch(self, flight: _Flight) -> None:
        """Hand a job to the cluster, for the first time or once more."""
        if flight.ticket:
            self._tell("give_up", flight.ticket)
        flight.ticket = f"{next(self._numbers)}-{secrets.token_hex(4)}"
        flight.since, flight.waits_until = time.monotonic(), 0.0
        flight.host, flight.warned, flight.unwritten = "", False, []
        flight.steps = _steps(flight.job)
        order = Order(flight.ticket, flight.job, self._token, self._secret, os.getcwd())
        job, elsewhere = flight.job, {"ray.io/node-id": f"!in({','.join(sorted(self._bad))})"}
        task = self._task.options(
            num_cpus=job.cores,
            num_gpus=job.gpus,
            max_retries=0,  # it is started once more by us, from what has come back
            label_selector=elsewhere if self._bad else None,
            name=f"rlsparse {job.folders[0].name}",
        )
        try:
            self._ray.get(self._desk.admit.remote(flight.ticket), timeout=ANSWER)  # before the job can ask
            flight.task = task.remote(order, self._desk)
        except Exception as error:  # Ray has no class for all that it raises when the cluster is lost
            self._end(flight, f"the cluster is lost: {ray_cluster.failure(error)}", 1)

    def _look(self) -> None:
        """Hear what jobs say, and conclude those that are over."""
        try:
            tasks = [flight.task for flight in self._flights]
            done = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)[0] if tasks else []
            # after that, so that nothing of those that are over is left
            said = self._ray.get(self._desk.take.remote(), timeout=ANSWER)
        except Exception as error:  # Ray has no class for all that it raises when the cluster is lost
            for flight in [*self._flights]:
                self._end(flight, f"the cluster is lost: {ray_cluster.failure(error)}", 1)
            return
        for told in said:
            self._hear(told)
        for flight in [*self._flights]:
            self._send(flight)
            self._write(flight)
            if flight not in self._flights:  # it could not be sent, or written
                continue
            if flight.task in done:
                self._conclude(flight)
            elif not flight.host:
                self._check_size(flight)

    def _hear(self, told: News) -> None:
        flight = next((x for x in self._flights if x.ticket == told.ticket), None)
        if flight is None:  # an attempt that was given up
            return
        if told.began:
            flight.host = told.began.host
            flight.waits_until = 0.0 if told.began.shared else time.monotonic() + PATIENCE
            if told.began.shared:
                flight.release()
        if told.snapshots:
            flight.unwritten.append(told)

    def _send(self, flight: _Flight) -> None:
        """Send a job the run directories that it waits for, and hold them here.

        What the worker of an attempt that was lost still holds is waited for.
        """
        if not flight.waits_until:
            return
        try:
            flight.hold()
            parcel = tuple(news(folder, {}) for folder in flight.job.folders)
        except (RlsparseError, OSError) as error:
            if time.monotonic() > flight.waits_until or not isinstance(error, RunDirectoryError):
                self._end(flight, str(error), getattr(error, "exit_code", 1))
            return
        flight.waits_until = 0.0
        self._tell("send", flight.ticket, parcel)

    def _write(self, flight: _Flight) -> None:
        """Write what has come back; what the disk does not take waits."""
        while flight.unwritten:
            try:
                for folder, snapshot in zip(flight.job.folders, flight.unwritten[0].snapshots, strict=True):
                    put(snapshot, folder)
            except StorageError as error:
                if not flight.warned:
                    log.warning("%s; what came back from %s is kept in memory, and tried again", error, flight.host)
                flight.warned = True
                return
            except (RlsparseError, ValueError) as error:
                self._end(flight, f"{flight.host}: {error}", 1)
                return
            flight.unwritten.pop(0)
            if not flight.unwritten:
                self._tell("written", flight.ticket)

    def _conclude(self, flight: _Flight) -> None:
        """End a job whose attempt is over, or start it once more."""
        outcome = self._outcome(flight)
        if outcome.kind == "ended" or self._stopping:
            reason = f"cannot write what came back from {flight.host}" if flight.unwritten else outcome.reason
            self._end(flight, reason, outcome.code or int(bool(flight.unwritten)))
        elif outcome.kind == "refused":
            self._bad |= {outcome.node} - {""}
            there = ray_cluster.machines(self._ray, self._bad).values()
            if outcome.node and any(ray_cluster.takes(has, flight.job) for has in there):
                log.warning("%s; its job goes to another machine", outcome.reason)
                self._launch(flight)
            else:
                self._end(flight, outcome.reason, 1)
        else:
            flight.losses = 1 if _steps(flight.job) > flight.steps else flight.losses + 1
            if flight.losses < MOST_LOSSES:
                log.warning("%s: %s; it goes on from its last checkpoint", flight.job.folders[0], outcome.reason)
                self._launch(flight)
            else:
                self._end(flight, f"{outcome.reason}, {MOST_LOSSES} times in a row", outcome.code)

    def _outcome(self, flight: _Flight) -> Outcome:
        """Return how an attempt ended, in so far as Ray knows it."""
        errors, at = self._ray.exceptions, flight.host or "a machine of the cluster"
        try:
            return self._ray.get(flight.task)
        except errors.TaskCancelledError:
            return Outcome("ended", 130)
        except errors.RayTaskError as error:  # raised before it began, as where rlsparse is not installed
            node = next((x["NodeID"] for x in self._ray.nodes() if x["NodeManagerAddress"] == error.ip), "")
            return Outcome("refused", 1, f"{error.ip}: {ray_cluster.failure(error)}", node)
        except errors.RayError as error:
            return Outcome("killed", 1, f"{at} is lost ({type(error).__name__})")

    def _check_size(self, flight: _Flight) -> None:
        """Warn of a job that waits for a machine larger than any, and end it after long."""
        waited = time.monotonic() - flight.since
        there = ray_cluster.machines(self._ray, self._bad).values() if waited > WARNED else ()
        if waited <= WARNED or any(ray_cluster.takes(has, flight.job) for has in there):
            return
        reason = ray_cluster.too_large(flight.job, there)
        if waited > GIVEN_UP:
            self._cancel(flight)
            self._end(flight, reason, 1)
        elif not flight.warned:
            log.warning("%s: %s; waiting up to %.0f minutes for one", flight.job.folders[0], reason, GIVEN_UP / 60)
        flight.warned = True

    def _end(self, flight: _Flight, reason: str, code: int) -> None:
        """Let a job be over."""
        self._flights.remove(flight)
        flight.release()
        self._tell("give_up", flight.ticket)
        self._over.append(Ended(flight.given, reason, code))


def _steps(job: Job) -> int:
    return sum(newest_steps(folder / "checkpoint") for folder in job.folders)


def _on_machine(order: Order, desk: Any) -> Outcome:
    """Run a job on a machine of the cluster."""
    import ray

    def call(method: str, *given: Any) -> Any:
        return ray.get(getattr(desk, method).remote(*given))

    host = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
    return replace(work(order, host, call), node=ray.get_runtime_context().get_node_id())
