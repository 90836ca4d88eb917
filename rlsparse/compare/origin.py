"""Who was trained on what, from which seed: what paths and small files beside foreign logs say."""

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rlsparse.compare.foreign_logs import is_monitor, monitored_environment
from rlsparse.compare.table import read_bytes
from rlsparse.run import cards
from rlsparse.run.reading import read_json

SEED_NAME = re.compile(r"(?:^|[_\-. ])(?:seed|s)[_\-=]?(\d{1,18})$|^(\d{1,18})$", re.IGNORECASE)
CLEANRL_NAME = re.compile(r"(.+)__(.+)__(\d{1,18})__\d+")
COUNTED_NAME = re.compile(r"(.+)_\d+")
ENVIRONMENT_ID = re.compile(r"[\w:/.-]*\w-v\d+")
ZOO_SEED = re.compile(r"- seed\n\s*- (\d{1,18})\n")

UNTELLING_NAMES = re.compile("progress|monitor|evaluations|curve|tb|logs?|eval|train|results|runs")
"""Names of files and folders that are no agent's."""


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
    """Read what a path says: CleanRL's env__agent__seed__time, rl-zoo's agent/env_1, or .../agent/env/seed_1."""
    names = path.absolute().parts[:0:-1]
    if names and (match := CLEANRL_NAME.fullmatch(names[0])):
        return Origin(match[2], match[1], int(match[3]))
    seed, env, agent = None, None, None
    for depth, name in enumerate(names):
        name = Path(name).stem if depth == 0 and path.suffix in (".csv", ".npz") else name
        if depth < 2 and seed is None and (match := SEED_NAME.search(name)):
            seed = int(match[1] or match[2])
            name = name[: match.start()]
        elif depth == 0 and (match := COUNTED_NAME.fullmatch(name)):
            name = match[1]
        found = environment_in(name) or (name if ENVIRONMENT_ID.fullmatch(name) else None)
        if env is None and depth < 4 and found:
            env = found
        elif agent is None and name and not UNTELLING_NAMES.fullmatch(name):
            agent = name
    return Origin(agent or path.name, env, seed)


def origin_of_files(path: Path, files: list[Path]) -> Origin:
    """Read what the files of a run say of it, and where they do not, what its path says."""
    origin = origin_of(path)
    monitor = next(filter(is_monitor, files), None)
    if monitor:
        origin = replace(origin, env=monitored_environment(monitor) or origin.env)
    if not path.is_dir():
        return origin
    for arguments in sorted(path.glob("*/args.yml")):
        match = ZOO_SEED.search(read_bytes(arguments).decode("utf-8", "replace"))
        origin = replace(origin, seed=int(match[1]) if match else origin.seed)
    if (path / "versions.json").is_file():
        agent = read_json(path / "versions.json").get("agent")
        origin = replace(origin, agent=str(agent) if agent else origin.agent)
    return origin
