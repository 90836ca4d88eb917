"""The report in a terminal."""

import textwrap

from rlsparse.compare.comparison import Comparison
from rlsparse.compare.tables import FINAL_NOTES, Table, contrast_tables, final_table, overall_tables

WIDTH = 110
"""Columns that notes are wrapped to."""


def report(comparison: Comparison) -> str:
    """Return the whole report as text."""
    blocks = [f"NOT ALIKE: {text}" for text in comparison.mismatches]
    blocks += [comparison.caution] if comparison.caution else []
    blocks = ["\n".join(blocks)] if blocks else []
    blocks += [layout(final_table(panel, comparison)) for panel in comparison.panels]
    blocks.append(_wrapped(FINAL_NOTES))
    blocks += [layout(table) for table in (*contrast_tables(comparison.contrasts), *overall_tables(comparison))]
    if comparison.remarks:
        blocks.append(
            "\n".join(textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ") for text in comparison.remarks)
        )
    return "\n\n".join(blocks)


def layout(table: Table) -> str:
    """Return a table in columns: texts to the left, the first ones, and numbers to the right."""
    rows = [table.header, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.header))]
    left = [not any(character.isdigit() for row in table.rows for character in row[i][:1]) for i in range(len(widths))]
    left[0] = True
    lines = [
        "  ".join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([table.title, *lines, *([_wrapped(table.notes)] if table.notes else [])])


def _wrapped(notes: list[str]) -> str:
    return "\n".join(textwrap.fill(note, WIDTH) for note in notes)
