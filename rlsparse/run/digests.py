"""A digest at the end of every row of a table that grows, so that a digit that has changed since is found.

The digest of a row is of that row and of the whole line before it, so rows that were taken out or put elsewhere are
found as well.
"""

import hashlib
from collections.abc import Sequence

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


def first_flaw(lines: Sequence[str]) -> int | None:
    """Return the number, from 1, of the first line whose digest is wrong; None if all are right, or there are none."""
    if not lines or not are_in(lines[0]):
        return None
    for number, (before, line) in enumerate(zip(lines, lines[1:], strict=False), 2):
        row, _, given = line.rpartition(",")
        if given != str(digest(before, row)):
            return number
    return None
