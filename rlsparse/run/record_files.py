"""The tables of a run that grow: whole in memory, and on the disk as soon as it takes them."""

import csv
import io
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rlsparse.errors import StorageError
from rlsparse.run import digests
from rlsparse.run.storage import APPEND, persist, replace_once, write_synced

RECORDS = ("progress.csv", "probe.csv", "density.csv")
"""Evaluations, and where there are any, probes and networks of several densities."""

log = logging.getLogger(__name__)


class RecordFiles:
    """The RECORDS of one run directory; what cannot be written is kept, and written with the next rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.texts = dict.fromkeys(RECORDS, "")
        """What each of them holds."""
        self._written = dict.fromkeys(RECORDS, 0)
        self._failed = False

    def append(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to one of RECORDS, header first; a disk that does not take them is warned of once."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        before = self.texts[name].splitlines()[-1:]
        if not before:
            writer.writeheader()
        writer.writerows(rows)
        lines = text.getvalue().splitlines()
        if not before or digests.are_in(self.texts[name]):
            lines = digests.stamp(lines, *before)
        self.texts[name] += "".join(f"{line}\n" for line in lines)
        try:
            self.write()
        except StorageError as error:
            if not self._failed:
                log.warning("%s; the rows are kept in memory, and training goes on", error)
            self._failed = True

    def write(self) -> None:
        """Bring all of them onto the disk; raises StorageError."""
        for name, text in self.texts.items():
            content = text.encode()
            persist(self._folder / name, partial(self._write, name, content))
        self._failed = False

    def _write(self, name: str, content: bytes) -> None:
        """Append what is missing; a file that is not as it was left, by a write that failed or by hand, is replaced."""
        path, written = self._folder / name, self._written[name]
        size = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        if not content or size == written == len(content):
            return
        if size == written and written:
            write_synced(path, content[written:], APPEND)
        else:
            replace_once(path, content)
        self._written[name] = len(content)

    def load(self) -> None:
        """Go on from what the files hold, whole lines of it."""
        for name in RECORDS:
            path = self._folder / name
            content = path.read_bytes() if path.exists() else b""
            self.texts[name] = content[: content.rfind(b"\n") + 1].decode()
            self._written[name] = len(content) if content.endswith(b"\n") else -1

    def restore(self, texts: dict[str, str]) -> None:
        """Put them back as they were, whatever became of them; raises StorageError."""
        self.texts |= texts
        for name, text in self.texts.items():
            path = self._folder / name
            self._written[name] = -1 if text else 0  # what is there now may be anything
            if not text:
                persist(path, partial(path.unlink, missing_ok=True))
        self.write()
