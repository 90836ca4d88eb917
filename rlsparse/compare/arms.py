"""Sort logs into arms: what is compared. An arm is an agent, one of its variants, or a group named by the user."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rlsparse.compare.arm_names import arm_names, cut
from rlsparse.compare.origin import environment_in
from rlsparse.compare.record import Curve, Log, some
from rlsparse.compare.same_run import each_training_once, goes_on
from rlsparse.errors import UsageError
from rlsparse.run.naming import OF_ENVIRONMENT
from rlsparse.run.reading import printable

UNKNOWN_ENVIRONMENT = "environment not logged"


@dataclass(frozen=True)
class Member:
    """One seed of one run."""

    log: Log
    curve: Curve

    @property
    def label(self) -> str:
        """What to call it beside its siblings."""
        return f"seed {self.curve.seed}" if self.curve.seed is not None else str(self.log.path)


@dataclass
class Arms:
    """Members by arm and environment, each seed once, and what was noticed on the way."""

    members: dict[str, dict[str, list[Member]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The arms, in the order in which they were named."""
        return list(self.members)

    @property
    def environments(self) -> list[str]:
        """All environments, sorted."""
        return sorted({env for by_env in self.members.values() for env in by_env})

    def all(self) -> Iterable[tuple[str, str, Member]]:
        """Every arm, environment and member."""
        for arm, by_env in self.members.items():
            for env, members in by_env.items():
                for member in members:
                    yield arm, env, member


def arrange(logs: Sequence[Log], groups: dict[str, list[Log]], env: str | None = None) -> Arms:
    """Sort logs into arms by agent and variant, and those of `groups` by group; `env` chooses an environment.

    Logs that do not say their environment are taken to be of `env`. Raises UsageError for a run in two groups, and
    when nothing is left.
    """
    arms = Arms()
    named = [(name, log) for name, members in groups.items() for log in members]
    _refuse_overlap(named)
    grouped = {log.path.resolve() for _, log in named}
    rest, arms.remarks = each_training_once([log for log in logs if log.path.resolve() not in grouped])
    entries = [(name, log) for name, log in zip(arm_names(rest), rest, strict=True)] + named
    entries = _tasks_apart(entries)
    if env is not None:
        entries = _of_environment(entries, environment_in(env) or env, arms.remarks)
    entries = _without_other_environments_of_cards(_without_stand_ins(entries, arms.remarks))
    for name, log in entries:
        by_env = arms.members.setdefault(printable(name), {})
        members = by_env.setdefault(printable(log.env or UNKNOWN_ENVIRONMENT), [])
        members += [Member(log, curve) for curve in log.curves]
        members += [Member(log, Curve(seed, {}, np.array([]))) for seed in log.missing]
    for by_env in arms.members.values():
        for members in by_env.values():
            members[:] = _each_seed_once(members, arms.remarks)
    _remark_equal_arms(arms)
    _remark_arms_of_one_agent(arms)
    _remark_unknown_seeds(arms)
    return arms


Entry = tuple[str, Log]
"""An arm's name, and a log of it."""


def _tasks_apart(entries: list[Entry]) -> list[Entry]:
    """Call an environment by its arguments and wrappers too, where logs differ in these: they make it another task.

    Logs that do not know their arguments are taken to have none.
    """
    tasks: dict[str | None, set[str]] = {}
    for _, log in entries:
        tasks.setdefault(log.env, set()).add(_task(log))
    several = {env for env, found in tasks.items() if len(found) > 1}
    return [(name, replace(log, env=_task(log)) if log.env in several else log) for name, log in entries]


def _task(log: Log) -> str:
    given = {name: value for name, value in log.settings.items() if name.startswith(OF_ENVIRONMENT)}
    words = [f"{name.removeprefix('env_kwargs.')}={value}" for name, value in sorted(given.items())]
    return " ".join([log.env or UNKNOWN_ENVIRONMENT, *([cut(" ".join(words))] if words else [])])


def _of_environment(entries: list[Entry], env: str, remarks: list[str]) -> list[Entry]:
    """The logs of one environment; says what an argument named of which nothing is left."""
    kept = [(name, replace(log, env=log.env or env)) for name, log in entries if log.env in (env, None)]
    named: dict[str, set[str]] = {}
    for _, log in entries:
        named.setdefault(log.argument, set()).add(log.env or env)
    if not kept:
        known = sorted(set().union(*named.values()))
        raise UsageError(f"--env {env}: no log is of this environment, there is {' and '.join(known) or 'no log'}")
    remarks += [f"left out: {x} is of {some(sorted(of))}, not of {env}" for x, of in named.items() if env not in of]
    return kept


def _without_stand_ins(entries: list[Entry], remarks: list[str]) -> list[Entry]:
    """Read a worse file of a run for a damaged one only where that does not mix kinds of returns; say so."""
    usual = {log.measure for _, log in entries if not log.instead_of} or {log.measure for _, log in entries}
    for log in (log for _, log in entries if log.instead_of):
        used = "is used instead" if log.measure in usual else "would not be the same measure"
        remarks.append(f"not read: {log.instead_of}; {log.kind} {used} ({log.path})")
    return [(name, log) for name, log in entries if log.measure in usual]


def _refuse_overlap(named: list[Entry]) -> None:
    for (name, log), (other, same) in combinations(named, 2):
        if name != other and log.path.resolve() == same.path.resolve():
            raise UsageError(f"{log.path} is in both --group {name} and --group {other}: a run belongs to one")


def _without_other_environments_of_cards(entries: list[Entry]) -> list[Entry]:
    """A card ships curves of many environments; beside runs, only those of the runs' environments count."""
    own = {log.env for _, log in entries if log.kind != "agent card"}
    kept = [(name, log) for name, log in entries if log.kind != "agent card" or not own or log.env in own]
    for name in dict.fromkeys(name for name, _ in entries):
        if name not in {other for other, _ in kept}:
            raise UsageError(f"{name} has no curve on {' or '.join(sorted(str(env) for env in own))}")
    return kept


def _each_seed_once(members: list[Member], remarks: list[str]) -> list[Member]:
    """Leave out copies of a run, and all but one run of the same seed; say so."""
    kept: list[Member] = []
    left_out: dict[str, list[str]] = {}
    for member in sorted(members, key=_completeness, reverse=True):
        path, seed = member.log.path, member.curve.seed
        same = next((x for x in kept if _same_data(x, member)), None)
        twin = next((x for x in kept if x.curve.seed == seed is not None), None)
        if same and seed in (same.curve.seed, None):
            text = f"{path} holds the same data as {same.log.path} and counts once"
            left_out.setdefault(text, []).append(member.label)
            continue
        if same:
            remarks.append(f"{member.label} of {path} equals {same.label} of {same.log.path} in every return")
        if twin:
            text = f"{path} is left out, for {twin.log.path} has the same seeds"
            text += ", and --join is not given" * goes_on(member.log, twin.log)
            left_out.setdefault(text, []).append(member.label)
        else:
            kept.append(member)
    remarks += [f"{text} ({some(labels)})" for text, labels in left_out.items()]
    return sorted(kept, key=lambda x: (x.curve.seed is None, x.curve.seed or 0))


def _completeness(member: Member) -> tuple[bool, float, str]:
    steps = member.curve.axes.get("steps", np.array([]))
    return member.log.state == "finished", float(steps[-1]) if len(steps) else -1.0, member.log.started


def _same_data(a: Member, b: Member) -> bool:
    """Whether two curves are equal at every point, by more than being short or flat."""
    x, y = a.curve.returns, b.curve.returns
    return len(x) > 1 and np.array_equal(x, y) and bool(np.ptp(x) > 0)


def _remark_equal_arms(arms: Arms) -> None:
    """Two arms with the same numbers may be a control, or a mistake: the reader decides."""
    for a, b in combinations(arms.names, 2):
        for env in arms.environments:
            pairs = zip(arms.members[a].get(env, []), arms.members[b].get(env, []), strict=False)
            equal = sum(_same_data(x, y) for x, y in pairs)
            if equal:
                arms.remarks.append(f"{a} and {b} have identical returns on {env} in {equal} of their seeds")


def _remark_arms_of_one_agent(arms: Arms) -> None:
    """Logs of two programs with one agent's name, in any case, are often of one training, though no number agrees."""
    logs = {arm: [x.log for members in by_env.values() for x in members] for arm, by_env in arms.members.items()}
    agents = {arm: {x.agent.casefold() for x in those if "rlsparse" not in x.kind} for arm, those in logs.items()}
    for a, b in combinations(arms.names, 2):
        alike = agents[a] & agents[b] and arms.members[a].keys() & arms.members[b].keys()
        if alike and {x.kind for x in logs[a]} != {x.kind for x in logs[b]}:
            arms.remarks.append(f"{a} and {b} may be the same trainings, logged by two programs: then name only one")


def _remark_unknown_seeds(arms: Arms) -> None:
    """Tries that a program has numbered are replicates only if nothing but the seed differs."""
    for name, by_env in arms.members.items():
        unknown = [x.log.path for members in by_env.values() for x in members if x.curve.seed is None]
        if len(unknown) > len(by_env):
            those = some([path.name for path in unknown], 2)
            arms.remarks.append(
                f"{name}: {len(unknown)} runs do not say their seed ({those}); each counts as one, which is right only "
                "if they differ in nothing else"
            )
