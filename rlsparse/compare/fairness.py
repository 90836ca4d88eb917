"""What must be equal for curves to be compared: environment, simulator, kind of return, counting of steps."""

import re
from collections.abc import Iterable

from rlsparse.compare.arms import UNKNOWN_ENVIRONMENT, Arms, Member
from rlsparse.compare.record import PROBES_COUNTED, PROBES_UNKNOWN, Axis

VERSIONED = re.compile(r"(.+)-v\d+")


def mismatches(arms: Arms, axis: Axis) -> list[str]:
    """Return one sentence per reason why these arms must not be compared as if they were alike."""
    members = list(arms.all())
    return [
        *_measures(members),
        *_environment_versions(arms),
        *_no_common_environment(arms),
        *_simulators(members),
        *(_accounting(members) if axis == "steps" else []),
    ]


def _by(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first example of each value."""
    first: dict[str, str] = {}
    for value, example in pairs:
        first.setdefault(value, example)
    return first


def _listed(examples: dict[str, str]) -> str:
    return " and ".join(f"{value} ({example})" for value, example in sorted(examples.items()))


def _measures(members: list[tuple[str, str, Member]]) -> list[str]:
    kinds = _by((member.log.measure, str(member.log.path)) for _, _, member in members)
    if len(kinds) < 2:
        return []
    return [f"training and evaluation returns are not the same measure: {_listed(kinds)}"]


def _versions(arms: Arms) -> dict[str, list[str]]:
    """The environments of each task: ids that differ in their version alone."""
    versions: dict[str, list[str]] = {}
    for env in arms.environments:
        match = VERSIONED.fullmatch(env)
        versions.setdefault(match[1] if match else env, []).append(env)
    return versions


def _environment_versions(arms: Arms) -> list[str]:
    several = [same for same in _versions(arms).values() if len(same) > 1]
    return [f"{' and '.join(same)} are different tasks (--env chooses one)" for same in several]


def _no_common_environment(arms: Arms) -> list[str]:
    tasks = _versions(arms).values()
    shared = any(sum(not by_env.keys().isdisjoint(same) for by_env in arms.members.values()) > 1 for same in tasks)
    if len(arms.names) < 2 or shared:
        return []
    first = {name: ", ".join(sorted(by_env)) for name, by_env in arms.members.items()}
    hint = "; --env NAME says what it is" if UNKNOWN_ENVIRONMENT in arms.environments else ""
    text = " and ".join(f"{name} ran on {envs}" for name, envs in list(first.items())[:3])
    return [f"no two arms share an environment: {text}{hint}"]


def _simulators(members: list[tuple[str, str, Member]]) -> list[str]:
    """Major and minor version of what simulates an environment must agree, as far as logs know them."""
    found = []
    for env in sorted({env for _, env, _ in members}):
        logs = [member.log for _, of, member in members if of == env]
        for package in sorted({name for log in logs for name in log.versions}):
            known = _by((_minor(log.versions[package]), str(log.path)) for log in logs if package in log.versions)
            if len(known) > 1:
                found.append(f"{env} was computed by different versions of {package}: {_listed(known)}")
    return found


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _accounting(members: list[tuple[str, str, Member]]) -> list[str]:
    """Logs that do not know of probe steps may be compared with ours unless ours have spent some."""
    probing = [member.log for _, _, member in members if member.curve.spent.get("probe", 0) > 0]
    unknown = [member.log for _, _, member in members if member.log.accounting == PROBES_UNKNOWN]
    if not probing or not unknown:
        return []
    examples = {PROBES_COUNTED: str(probing[0].path), "training steps only, probe steps unknown": str(unknown[0].path)}
    return [f"steps are counted differently: {_listed(examples)}"]


def merge_versions(arms: Arms) -> None:
    """Put all versions of an environment on one panel, under all their names."""
    for same in (envs for envs in _versions(arms).values() if len(envs) > 1):
        for by_env in arms.members.values():
            merged = [member for env in same for member in by_env.pop(env, [])]
            if merged:
                by_env[" + ".join(same)] = merged
