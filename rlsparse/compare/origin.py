"""Who was trained on what, from which seed: what paths and small files beside foreign logs say."""

import contextlib
import re
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path

from rlsparse.compare.monitors import is_monitor, monitored_environment
from rlsparse.errors import RunDirectoryError
from rlsparse.run import cards
from rlsparse.run.reading import read_bytes, read_json

SEED_NAME = re.compile(r"(?:^|[_\-. ])(?:seed|s)[_\-=]?(\d{1,18})$|^(\d{1,18})$", re.IGNORECASE)
CLEANRL_NAME = re.compile(r"(.+)__(.+)__(\d{1,18})__\d+")
COUNTED_NAME = re.compile(r"(.+)_\d+")
ENVIRONMENT_ID = re.compile(r"[\w:/.-]*\w-v\d+")
ZOO_SEED = re.compile(r"- seed\n\s*- (\d{1,18})\n")
SETTING = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*[:=]\s*([^,:=]+?)\s*")

SETTING_MEANS = {
    "seed": re.compile(r"(?:random_?)?seed", re.IGNORECASE),
    "env": re.compile(r"env(?:ironment)?(?:[_.]?(?:id|name))?|task", re.IGNORECASE),
    "agent": re.compile(r"algo?|algorithm|agent|method", re.IGNORECASE),
    "time": re.compile(r"(?:time)?stamp|time|date|run", re.IGNORECASE),
}
"""What a folder called `key:value, key:value` says; other keys are of a variant of the agent."""

MOST_ARGUMENTS = 2**18
"""Bytes of rl-zoo's args.yml."""

UNTELLING_NAMES = re.compile(
    r"progress|monitor|evaluations|curve|tb|tensorboard|logs?|eval|train|results|runs|[\d_:.T-]{8,}|"
)
"""Names of files and folders that are no agent's, nor are dates."""


@dataclass(frozen=True)
class Origin:
    """Who was trained on what, from which seed, as far as a path or a file says."""

    agent: str
    env: str | None
    seed: int | None


def environment_in(name: str) -> str | None:
    """Return the id of a card that a file or folder name means, or None."""
    with contextlib.suppress(Exception):
        return cards.environment(name).id
    return None


def origin_of(path: Path) -> Origin:
    """Read what a path says: CleanRL's env__agent__seed__time, rl-zoo's agent/env_1, or .../agent/env/seed_1.

    Names that tell nothing at its end, such as `train`, are passed over.
    """
    names = list(path.absolute().parts[:0:-1])
    if names and (match := CLEANRL_NAME.fullmatch(names[0])):
        return Origin(match[2], match[1], int(match[3]))
    names[:1] = [_stem(path)] if path.suffix in (".csv", ".npz") else names[:1]
    seed, env, agent, variant = None, None, None, []
    for depth, name in enumerate(dropwhile(UNTELLING_NAMES.fullmatch, names)):
        settings = _settings(name) if depth < 4 else {}
        if settings:
            said = {meaning: settings.pop(key) for key in list(settings) if (meaning := _meaning(key))}
            seed = int(said["seed"]) if seed is None and re.fullmatch(r"\d{1,18}", said.get("seed", "")) else seed
            env, name = env or said.get("env"), said.get("agent", "")
            variant += [f"{key}={value}" for key, value in settings.items()]
        elif depth < 2 and seed is None and (match := SEED_NAME.search(name)):
            seed = int(match[1] or match[2])
            name = name[: match.start()]
        elif depth == 0 and (match := COUNTED_NAME.fullmatch(name)):
            name = match[1]
        found = environment_in(name) or (name if ENVIRONMENT_ID.fullmatch(name) else None)
        if env is None and depth < 4 and found:
            env = found
        elif agent is None and not UNTELLING_NAMES.fullmatch(name):
            agent = name
    return Origin(" ".join([agent or path.name, *variant]), env and (environment_in(env) or env), seed)


def _stem(path: Path) -> str:
    """A file's name, without what all monitor files have in theirs, and the number of an environment."""
    name = path.stem.removesuffix("monitor").rstrip("._-")
    return "" if is_monitor(path) and name.isdecimal() else name


def _settings(name: str) -> dict[str, str]:
    """The settings of a folder called `key:value, key=value`; none if it is called anything else."""
    found = [SETTING.fullmatch(part) for part in name.split(",")]
    return {match[1]: match[2] for match in found if match} if all(found) else {}


def _meaning(key: str) -> str | None:
    return next((meaning for meaning, names in SETTING_MEANS.items() if names.fullmatch(key)), None)


def origin_of_files(path: Path, files: list[Path]) -> Origin:
    """Read what the files of a run say of it, and where they do not, what its path says."""
    origin = origin_of(path)
    for monitor in filter(is_monitor, files):
        with contextlib.suppress(RunDirectoryError):  # which is said where its episodes are wanted
            origin = replace(origin, env=monitored_environment(monitor) or origin.env)
            break
    if not path.is_dir():
        return origin
    for arguments in sorted(path.glob("*/args.yml")):
        with contextlib.suppress(RunDirectoryError):
            match = ZOO_SEED.search(read_bytes(arguments, MOST_ARGUMENTS).decode("utf-8", "replace"))
            origin = replace(origin, seed=int(match[1]) if match else origin.seed)
    if (path / "versions.json").is_file():
        with contextlib.suppress(RunDirectoryError):
            agent = read_json(path / "versions.json").get("agent")
            origin = replace(origin, agent=agent if isinstance(agent, str) and agent else origin.agent)
    return origin
