"""Rows of text as aligned columns, folded to the width of the terminal."""

import re
import shutil
import textwrap
from collections.abc import Sequence

NOT_A_TERMINAL = 100
"""Characters of a line where the output is a file or a pipe."""

NARROW_TEXT = 12
"""Texts are not made narrower before numbers have been folded."""

LONGEST_WORD = 25
"""A longer word is broken where a line is too long; numbers and environments' names are shorter, and stay whole."""

GAP = "  "
NUMBER = re.compile(r"\s*[-+<]?[.\d](?!.*[a-z]{5})")
"""A cell that begins with a number and has no word of five letters."""


def terminal_width() -> int:
    """Return the characters of a line of the terminal, 100 where the output is not a terminal."""
    return max(20, shutil.get_terminal_size((NOT_A_TERMINAL, 24)).columns)


def columns(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows of equal length, the header first, as aligned columns: numbers on the right, texts on the left.

    Where lines would have more than `width` characters (the terminal's, unless given), the cells of the widest columns
    are folded at their spaces, texts before numbers.
    """
    by_column = list(zip(*rows, strict=True))
    to_the_right = [_holds_numbers(column[1:]) for column in by_column]
    widths = _fitting(by_column, to_the_right, width or terminal_width())
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


def _fitting(by_column: Sequence[Sequence[str]], to_the_right: Sequence[bool], limit: int) -> list[int]:
    """Narrow the widest texts, then numbers, then texts further, until a line fits or words would break."""
    widths = [_width(column) for column in by_column]
    words = [max(min(_width(cell.split(" ")), LONGEST_WORD) for cell in column) for column in by_column]
    texts = [max(word, NARROW_TEXT) for word in words]
    pairs = list(zip(widths, words, texts, to_the_right, strict=True))
    for least in (
        [width if right else text for width, _, text, right in pairs],
        [word if right else text for _, word, text, right in pairs],
        words,
    ):
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
