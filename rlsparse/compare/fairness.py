"""What must be equal for curves to be compared: environment, simulator, kind of return, counting of steps."""

import re
from collections.abc import Iterable

from rlsparse.compare.arms import UNKNOWN_ENVIRONMENT, Arms, Member
from rlsparse.compare.record import PROBES_COUNTED, PROBES_UNKNOWN, Axis

VERSION = re.compile(r"(?<=.)-v\d+$")


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


def _several(pairs: Iterable[tuple[str, str]]) -> str:
    """Name the values that differ, each with its first example; nothing if all are the same."""
    first: dict[str, str] = {}
    for value, example in pairs:
        first.setdefault(value, example)
    return " and ".join(f"{value} ({example})" for value, example in sorted(first.items())) if len(first) > 1 else ""


def _measures(members: list[tuple[str, str, Member]]) -> list[str]:
    kinds = _several((member.log.measure, str(member.log.path)) for _, _, member in members)
    return [f"training and evaluation returns are not the same measure: {kinds}"] if kinds else []


def _versions(arms: Arms) -> dict[str, list[str]]:
    """The environments of each task: ids that differ in their version alone."""
    versions: dict[str, list[str]] = {}
    for env in arms.environments:
        versions.setdefault(VERSION.sub("", env), []).append(env)
    return versions


def _environment_versions(arms: Arms) -> list[str]:
    several = [same for same in _versions(arms).values() if len(same) > 1]
    return [f"{' and '.join(same)} are different tasks (--env chooses one)" for same in several]


def _no_common_environment(arms: Arms) -> list[str]:
    tasks = _versions(arms).values()
    shared = any(sum(not by_env.keys().isdisjoint(same) for by_env in arms.members.values()) > 1 for same in tasks)
    if len(arms.names) < 2 or shared:
        return []
    hint = "; --env NAME says what it is" if UNKNOWN_ENVIRONMENT in arms.environments else ""
    first = list(arms.members.items())[:3]
    text = " and ".join(f"{name} ran on {', '.join(sorted(by_env))}" for name, by_env in first)
    return [f"no two arms share an environment: {text}{hint}"]


def _simulators(members: list[tuple[str, str, Member]]) -> list[str]:
    """Major and minor version of what simulates an environment must agree, as far as logs know them."""
    found = []
    for env in sorted({env for _, env, _ in members}):
        logs = [member.log for _, of, member in members if of == env]
        for package in sorted({name for log in logs for name in log.versions}):
            known = _several((_minor(log.versions[package]), str(log.path)) for log in logs if package in log.versions)
            if known:
                found.append(f"{env} was computed by different versions of {package}: {known}")
    return found


def remarks_on_files(arms: Arms) -> list[str]:
    """Return a sentence per file of an environment that is not the same in all runs: what differs may not matter."""
    found = []
    for env in arms.environments:
        logs = [member.log for _, of, member in arms.all() if of == env]
        for file in sorted({name for log in logs for name in log.files}):
            known = _several((log.files[file][:8], str(log.path)) for log in logs if file in log.files)
            if known:
                found.append(f"{env} may be another task, for {file} has other contents: {known}")
    return found


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _accounting(members: list[tuple[str, str, Member]]) -> list[str]:
    """Logs that do not know of probe steps may be compared with ours unless ours have spent some."""
    probing = [member.log for _, _, member in members if member.curve.spent.get("probe", 0) > 0]
    unknown = [member.log for _, _, member in members if member.log.accounting == PROBES_UNKNOWN]
    if not probing or not unknown:
        return []
    unaware = "training steps only, probe steps unknown"
    examples = _several([(PROBES_COUNTED, str(probing[0].path)), (unaware, str(unknown[0].path))])
    return [f"steps are counted differently: {examples}"]


def merge_versions(arms: Arms) -> None:
    """Put all versions of an environment on one panel, under all their names."""
    for same in (envs for envs in _versions(arms).values() if len(envs) > 1):
        for by_env in arms.members.values():
            merged = [member for env in same for member in by_env.pop(env, [])]
            if merged:
                by_env[" + ".join(same)] = merged
