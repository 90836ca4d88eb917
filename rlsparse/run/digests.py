"""A digest at the end of every row of a table that grows, so that a digit that has changed since is found.

The digest of a row is of that row and of the whole line before it, so rows that were taken out or put elsewhere are
found as well.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice, pairwise, starmap

COLUMN = "digest"


def digest(before: str, row: str) -> int:
    """Return the digest of a row without its last cell, after the line `before`: a whole number below 2^48."""
    return int.from_bytes(hashlib.sha256(f"{before}\n{row}".encode()).digest()[:6])


def stamp(lines: Sequence[str], before: str = "") -> list[str]:
    """Return the lines with their digests; the first is the header unless they follow the stamped line `before`."""
    stamped = [before] if before else [f"{lines[0]},{COLUMN}"]
    for row in lines if before else lines[1:]:
        stamped.append(f"{row},{digest(stamped[-1], row)}")
    return stamped[bool(before) :]


def are_in(text: str) -> bool:
    """Whether a table has digests; older ones, and other programs', have none."""
    return text.partition("\n")[0].endswith(f",{COLUMN}")


def first_flaw(lines: Iterable[str]) -> int | None:
    """Return the number, from 1, of the first line whose digest is wrong; None if all are right, or there are none."""
    header, *rows = first = list(islice(lines := iter(lines), 3)) or [COLUMN]
    if not are_in(header):
        # where the last word of the header has changed, rows still have digests
        as_written = [*stamp([header.rpartition(",")[0]]), *rows]
        return 1 if any(map(_follows, as_written, rows)) else None
    follow = starmap(_follows, pairwise(chain(first, lines)))
    return next((number for number, right in enumerate(follow, 2) if not right), None)


def _follows(before: str, line: str) -> bool:
    row, _, given = line.rpartition(",")
    return given == str(digest(before, row))
