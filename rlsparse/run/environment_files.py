"""Files of a user's own that decide what an environment is: their digests, and whether they are as a run began."""

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.errors import RunDirectoryError
from rlsparse.run.convert import told
from rlsparse.run.reading import read_bytes, read_json

if TYPE_CHECKING:
    from rlsparse.sim.environment import Environment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """What versions.json tells of them."""

    files: dict[str, str] = field(default_factory=dict)
    """SHA-256, by "file.py:Class" or by the path of a MuJoCo model."""


def digests(environment: "Environment") -> dict[str, str]:
    """Return the SHA-256 of the files that an environment names, as `Files`; files that these import are left out."""
    from rlsparse.sim.user_classes import name_now, shown_name

    places = {shown_name(name): name_now(name).rpartition(":")[0] for name in (environment.id, *environment.wrappers)}
    named = {name: place for name, place in places.items() if place.endswith(".py")}
    model = environment.kwargs.get("xml_file")
    if isinstance(model, str) and model.startswith((".", "/", "~")):  # any other is Gymnasium's own
        named[model] = model
    found = {}
    for name, place in named.items():
        with suppress(RunDirectoryError, RuntimeError):  # that it is not there is told where it is used
            found[name] = hashlib.sha256(read_bytes(Path(place).expanduser())).hexdigest()
    return found


def changed(then: Mapping[str, str], environment: "Environment") -> list[str]:
    """Return the names of the files that have another digest now."""
    return [name for name, now in digests(environment).items() if then.get(name, now) != now]


def warn_of_changes(run: Path, environment: "Environment") -> None:
    """Warn of files that are not as they were when the run in a directory began, as far as its records tell."""
    file = run / "versions.json"
    with suppress(RunDirectoryError):
        then = told(Files, read_json(file), file).files if file.exists() else {}
        if names := changed(then, environment):
            log.warning("%s began with other contents of %s: it may be another task now", run, " and ".join(names))
