"""A report: text for the terminal, the page, the curves as CSV, and the files that are written."""

import base64
import csv
import io
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlsparse.compare.account import account, provenance
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.figure import caption, draw_report, save, steps_spent
from rlsparse.compare.findings import findings
from rlsparse.compare.tables import result_tables
from rlsparse.errors import UsageError
from rlsparse.run.columns import columns, terminal_width
from rlsparse.run.storage import storage_errors, write_atomic

FILES = ("report.html", "curves.csv", "report.json")
"""What is written beside the pictures."""

PICTURES = (".png", ".pdf", ".svg")


def check_pictures(names: Sequence[str]) -> None:
    """Raise UsageError for a picture whose format is unknown, or that is not in the report's folder."""
    for name in names:
        if Path(name).suffix.lower() not in PICTURES:
            raise UsageError(f"--figure {name}: the name must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
        if Path(name).name != name:
            raise UsageError(f"--figure {name}: a name without a folder, which --out chooses")


def write_report(comparison: Comparison, folder: Path, statistic: str, pictures: Sequence[str]) -> None:
    """Write the pictures and `FILES`; each is replaced whole."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    figure, block, drawn = draw_report(comparison, statistic), provenance(comparison), {}
    for suffix in {".png", *(Path(name).suffix.lower() for name in pictures)}:
        content = io.BytesIO()
        save(figure, content, suffix, block)
        drawn[suffix] = content.getvalue()
    for name in pictures:
        write_atomic(folder / name, drawn[Path(name).suffix.lower()])
    contents = page(comparison, statistic, drawn[".png"]), curves_csv(comparison)
    for name, text in zip(FILES, (*contents, json.dumps(account(comparison), indent=1) + "\n"), strict=True):
        write_atomic(folder / name, text)


def text(comparison: Comparison) -> str:
    """Return the report for a terminal, folded to its width."""
    width = terminal_width()
    blocks = [
        "\n".join(textwrap.fill(x, width) for x in those) for those in (comparison.warnings, findings(comparison))
    ]
    for table in result_tables(comparison):
        grid = columns([table.header, *table.rows], width)
        blocks.append("\n".join(filter(None, [table.title, grid, textwrap.fill(table.note, width)])))
    remarks = [textwrap.fill(f"- {remark}", width, subsequent_indent="  ") for remark in comparison.remarks]
    return "\n\n".join(filter(None, [*blocks, "\n".join(remarks)]))


def page(comparison: Comparison, statistic: str, picture: bytes) -> str:
    """Return the report as one HTML file that needs no network and no script, around its picture (PNG)."""
    import jinja2

    folder = jinja2.PackageLoader("rlsparse", "compare")
    templates = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return templates.get_template("page.html").render(
        comparison=comparison,
        findings=findings(comparison),
        captions=[caption(comparison, statistic), steps_spent(comparison)],
        picture=base64.b64encode(picture).decode(),
        tables=result_tables(comparison),
        account=account(comparison),
    )


def curves_csv(comparison: Comparison) -> str:
    """Return one row per environment, arm and point: mean and IQM over seeds, with the ends of their intervals."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    names = ("mean", "low", "high", "iqm", "iqm_low", "iqm_high")
    writer.writerow(["environment", "arm", comparison.axis, "n", *names])
    for cell in (cell for cell in comparison.cells if cell.n):
        # text that a spreadsheet cannot take for a formula
        named = [f"'{x}" if x[:1] in ("=", "+", "-", "@") else x for x in (cell.env, cell.arm)]
        for x, *values in np.stack([cell.x, *cell.mean, *cell.iqm], 1).tolist():
            writer.writerow([*named, x, cell.n, *("" if np.isnan(value) else value for value in values)])
    return content.getvalue()
