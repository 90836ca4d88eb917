"""What rlsparse uses of Ray, in this process: workers answer when they are waited for, and are lost on demand."""

from functools import partial
from types import SimpleNamespace

from rlsparse import sim
from rlsparse.explore.parts import run_part
from rlsparse.explore.ray_workers import arithmetic
from rlsparse.sim.workers import unpacked


class RayError(Exception):
    pass


class TaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class FakeRay:
    """A cluster of so many cores. `loses(worker, part)` says whether a worker is lost with that part; None: it begins.

    `kinds` are those of the workers, in the order in which they are made; `raises` is what they raise.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=TaskError)

    def __init__(self, cores=4, loses=lambda worker, part: False, kinds=(), raises=None):
        self.cores, self.loses, self.kinds, self.raises = cores, loses, [*kinds], raises
        self.made, self.killed, self.ran, self.begun = [], [], [], True

    def available_resources(self):
        return {"CPU": float(self.cores - len(self.made) + len(self.killed))}

    def remote(self, **options):
        assert options == {"num_cpus": 1, "max_restarts": 0}
        return lambda cls: SimpleNamespace(remote=self._make)

    def _make(self, told, timeout, path):
        make = partial(sim.make, unpacked(told), autoreset=False)
        worker = SimpleNamespace(number=len(self.made), make=make, found=self.kinds.pop(0) if self.kinds else {})
        worker.hello = SimpleNamespace(remote=lambda: Answer(worker, None))
        worker.run = SimpleNamespace(remote=lambda part: Answer(worker, part))
        self.made.append(worker)
        return worker

    def wait(self, answers, timeout):
        return answers[:1], answers[1:]

    def get(self, answer):
        worker, part = answer.worker, answer.part
        if worker in self.killed or self.loses(worker.number, part):
            raise RayError("The worker died.\nOSError: it has no memory left\n")
        if part is None:
            return arithmetic() | worker.found
        self.ran.append((worker.number, part.first))
        if self.raises is not None:
            raise TaskError(self.raises)
        return run_part(worker.make, part)

    def is_initialized(self):
        return self.begun

    def kill(self, worker):
        assert self.begun, "Ray would begin anew"
        self.killed.append(worker)


class Answer:
    """What a worker is asked, to be answered later; with a part, or whether it has begun."""

    def __init__(self, worker, part):
        self.worker, self.part = worker, part
