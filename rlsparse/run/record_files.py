"""The tables of a run that grow: whole in memory, and on the disk as soon as it takes them."""

import csv
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rlsparse.errors import RunDirectoryError, StorageError
from rlsparse.run import digests
from rlsparse.run.checkpoint import File
from rlsparse.run.reading import MOST_OF_TABLE, read_bytes
from rlsparse.run.storage import APPEND, persist, replace_once, write_synced

RECORDS = ("progress.csv", "probe.csv", "density.csv")
"""Evaluations, and where there are any, probes and networks of several densities."""

LONGEST_TAIL = 2**18
"""Bytes of a table that a checkpoint holds itself; what is before them is once more in a file beside all of them."""

log = logging.getLogger(__name__)


class RecordFiles:
    """The RECORDS of one run directory; what cannot be written is kept, and written with the next rows.

    A table only grows, so an append and a checkpoint cost what is new, however long it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tables = {name: bytearray() for name in RECORDS}
        """What each of them holds."""
        self._written: dict[Path, int] = {}
        self._heads = dict.fromkeys(RECORDS, 0)
        """Bytes at the beginning of each that lie in its `_copy` too."""
        self._digests = {name: hashlib.sha256() for name in RECORDS}
        self._failed = False

    def append(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to one of RECORDS, header first; a disk that does not take them is warned of once."""
        text, table = io.StringIO(), self.tables[name]
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        before = table[table.rfind(b"\n", 0, -1) + 1 : -1].decode()
        if not before:
            writer.writeheader()
        writer.writerows(rows)
        lines = text.getvalue().splitlines()
        if not before or digests.are_in(table[: table.find(b"\n")].decode()):
            lines = digests.stamp(lines, before)
        table += "".join(f"{line}\n" for line in lines).encode()
        try:
            self.write()
        except StorageError as error:
            if not self._failed:
                log.warning("%s; the rows are kept in memory, and training goes on", error)
            self._failed = True

    def write(self) -> None:
        """Bring all of them onto the disk; raises StorageError."""
        for name, table in self.tables.items():
            self._bring(self._folder / name, table, len(table))
            copy, head = self._copy(name), self._heads[name]
            if len(table) - head > LONGEST_TAIL and copy.parent.exists():  # as it does from the first checkpoint on
                self._bring(copy, table, len(table))
                self._digests[name].update(table[head:])
                self._heads[name] = len(table)
        self._failed = False

    def _copy(self, name: str) -> Path:
        """Where the beginning of a long table lies again; a name that no search for tables finds."""
        return self._folder / "checkpoint" / f"{Path(name).stem}.rows"

    def _bring(self, path: Path, table: bytearray, size: int) -> None:
        persist(path, partial(self._write, path, table, size))

    def _write(self, path: Path, table: bytearray, size: int) -> None:
        """Append what is missing; a file that is not as it was left, by a write that failed or by hand, is replaced."""
        written, found = self._written.get(path, 0), 0
        if path.is_file() and not path.is_symlink():
            found = path.stat().st_size
        if not size or found == written == size:
            return
        if found == written and written:
            write_synced(path, bytes(table[written:size]), APPEND)
        else:
            replace_once(path, bytes(table[:size]))
        self._written[path] = size

    def load(self) -> None:
        """Go on from what the files hold, whole lines of it."""
        for name in RECORDS:
            path = self._folder / name
            content = path.read_bytes() if path.exists() else b""
            self.tables[name] = bytearray(content[: content.rfind(b"\n") + 1])
            self._written[path] = len(content) if content.endswith(b"\n") else -1

    def state(self) -> dict[str, dict[str, Any]]:
        """Return what a checkpoint holds: `records`, the last rows of each, and `heads`, what vouches for all before.

        Plain values by name, and nothing that changes.
        """
        heads = {name: {"sha256": self._digests[name].hexdigest(), "size": x} for name, x in self._heads.items() if x}
        return {"records": {name: x[self._heads[name] :].decode() for name, x in self.tables.items()}, "heads": heads}

    def restore(self, records: Mapping[str, str], heads: Mapping[str, File]) -> None:
        """Put them back as they were, whatever became of them; raises StorageError.

        Raises RunDirectoryError where what was before the last rows is neither in the table any more nor in its copy.
        """
        for name in RECORDS:
            path, head = self._folder / name, self._head(name, heads[name]) if name in heads else b""
            self._heads[name], self._digests[name] = len(head), hashlib.sha256(head)
            self.tables[name] = table = bytearray(head + records.get(name, "").encode())
            self._written |= {path: -1 if table else 0, self._copy(name): -1}  # what is there now may be anything
            if not table:
                persist(path, partial(path.unlink, missing_ok=True))
            if head:
                self._bring(self._copy(name), table, len(head))
        self.write()

    def _head(self, name: str, told: File) -> bytes:
        for path in (self._copy(name), self._folder / name):
            content = read_bytes(path, MOST_OF_TABLE)[: told.size] if path.is_file() else b""
            if len(content) == told.size and hashlib.sha256(content).hexdigest() == told.sha256:
                return content
        raise RunDirectoryError(f"{path} is damaged, and {self._copy(name)} too: what its first rows were is lost")
