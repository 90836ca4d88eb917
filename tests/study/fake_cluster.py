"""What a pool uses of Ray, in this process: tasks are begun and ended by a test, actors answer at once."""

from types import SimpleNamespace


class RayError(Exception):
    pass


class TaskError(RayError):
    def __init__(self, cause, ip):
        super().__init__(str(cause))
        self.cause, self.ip = cause, ip


class CancelledError(RayError):
    pass


class Answer:
    """What an actor's method has returned."""

    def __init__(self, value):
        self.value = value


class Task:
    """A task that waits for a test to end it."""

    def __init__(self, order, options):
        self.order, self.options, self.value = order, options, None


class FakeRay:
    """A cluster of machines, by their names, and what each has."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=TaskError, TaskCancelledError=CancelledError)
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
    )

    def __init__(self, **machines):
        self.machines, self.tasks, self.lost, self.down = machines, [], False, False

    def nodes(self):
        return [
            {"NodeID": name, "Alive": True, "Resources": has, "NodeManagerAddress": f"address of {name}"}
            for name, has in self.machines.items()
        ]

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "head")

    def remote(self, what):
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=self._maker(what, options)))

    def _maker(self, what, options):
        if not isinstance(what, type):
            return lambda order, desk: self._begin(order, options)
        assert options == {"num_cpus": 0, "scheduling_strategy": ("head", False)}
        return lambda: self._actor(what())

    def _begin(self, order, options):
        self.tasks.append(Task(order, options))
        return self.tasks[-1]

    def _actor(self, desk):
        self.desk, ray = desk, self

        class Actor:
            def __getattr__(self, method):
                return SimpleNamespace(remote=lambda *given: ray._ask(method, given))

        return Actor()

    def _ask(self, method, given):
        if self.lost:
            raise Exception("Failed to submit task to actor")
        return Answer(getattr(self.desk, method)(*given))

    def wait(self, tasks, num_returns=1, timeout=None):
        return [x for x in tasks if x.value is not None], [x for x in tasks if x.value is None]

    def get(self, ref, timeout=None):
        if isinstance(ref.value, BaseException):
            raise ref.value
        return ref.value

    def cancel(self, task, force=False):
        task.value = task.value or CancelledError()

    def kill(self, actor):
        pass

    def shutdown(self):
        self.down = True
