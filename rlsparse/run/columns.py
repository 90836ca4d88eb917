"""Rows of text as aligned columns, folded to the width of the terminal."""

import re
import shutil
import textwrap
from collections.abc import Sequence

NOT_A_TERMINAL = 100
"""Characters of a line where the output is a file or a pipe."""

LONGEST_WORD = 24
"""A longer word is broken where a line is too long; numbers are shorter, and stay whole."""

GAP = "  "
NUMBER = re.compile(r"\s*[-+<]?[.\d](?!.*[a-z]{5})")
"""A cell that begins with a number and has no word of five letters."""


def terminal_width() -> int:
    """Return the characters of a line of the terminal, 100 where the output is not a terminal."""
    return max(20, shutil.get_terminal_size((NOT_A_TERMINAL, 24)).columns)


def columns(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows of equal length, the header first, as aligned columns: numbers on the right, texts on the left.

    Where lines would have more than `width` characters (the terminal's, unless given), the cells of the widest columns
    are folded at their spaces.
    """
    by_column = list(zip(*rows, strict=True))
    widths = _fitting([_width(column) for column in by_column], by_column, width or terminal_width())
    to_the_right = [_holds_numbers(column[1:]) for column in by_column]
    lines = []
    for row in rows:
        folded = [_folded(cell, room) for cell, room in zip(row, widths, strict=True)]
        for i in range(max(map(len, folded))):
            parts = [lines_of_cell[i] if i < len(lines_of_cell) else "" for lines_of_cell in folded]
            aligned = (
                part.rjust(room) if right else part.ljust(room)
                for part, room, right in zip(parts, widths, to_the_right, strict=True)
            )
            lines.append(GAP.join(aligned).rstrip())
    return "\n".join(lines)


def _fitting(widths: list[int], by_column: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Narrow the widest columns, one character at a time, until a line fits or no cell can be folded further."""
    least = [max(min(_width(cell.split()), LONGEST_WORD) for cell in column) for column in by_column]
    while sum(widths) + len(GAP) * (len(widths) - 1) > limit:
        foldable = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not foldable:
            break
        widths[max(foldable, key=lambda i: widths[i])] -= 1
    return widths


def _width(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _folded(cell: str, width: int) -> list[str]:
    return [cell] if len(cell) <= width else textwrap.wrap(cell, width)


def _holds_numbers(cells: Sequence[str]) -> bool:
    """Whether most cells are numbers; empty ones and dashes do not count."""
    told = [cell for cell in cells if cell.strip() not in ("", "-")]
    return 2 * sum(bool(NUMBER.match(cell)) for cell in told) > len(told)
