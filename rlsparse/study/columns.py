"""Columns of text, and those of a study's table that a narrow terminal has room for."""

from collections.abc import Iterator, Sequence

from rlsparse.study.folders import value_text
from rlsparse.study.standing import Standing

Columns = dict[str, list[str]]
"""The texts of each column, by its title."""

GAP = "  "

FEWEST = 8
"""Characters of a label that stay, however narrow the terminal is."""


def total_width(columns: Columns) -> int:
    """Return how many characters a line of these columns has."""
    return sum(max(map(len, [title, *texts])) for title, texts in columns.items()) + len(GAP) * (len(columns) - 1)


def fitted(columns: Columns, standings: Sequence[Standing], width: int) -> Columns:
    """Return the columns that a line of a width has room for, with what matters least left out first.

    The first column are labels; the returns stay.
    """
    for narrower in _narrower(columns, standings):
        columns = narrower
        if total_width(columns) <= width:
            return columns
    title, labels = next(iter(columns.items()))
    room = max(FEWEST, width - total_width(columns) + max(map(len, [title, *labels])))
    return {title[:room]: [text[:room] for text in labels]} | {name: columns[name] for name in [*columns][1:]}


def _narrower(columns: Columns, standings: Sequence[Standing]) -> Iterator[Columns]:
    """Yield the columns, and less and less of them."""
    yield columns
    columns = _without(columns, "steps/s")
    yield columns
    for name in ("seeds", "environment"):
        alike = {text for text in columns[name] if text}
        if len(alike) == 1:
            title = f"on {alike.pop()}" if name == "environment" else next(iter(columns))
            rest = [*columns.items()][1:]
            columns = _without({title: next(iter(columns.values()))} | dict(rest), name)
            yield columns
    labels = [", ".join([x.arm, *map(value_text, x.setting.values())]) if x.setting else x.label for x in standings]
    columns = {next(iter(columns)): labels} | dict([*columns.items()][1:])
    yield columns
    yield _without(columns, "steps")


def _without(columns: Columns, name: str) -> Columns:
    return {title: texts for title, texts in columns.items() if title != name}
