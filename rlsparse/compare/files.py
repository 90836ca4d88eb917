"""Write a report into a folder."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

from rlsparse.compare.account import account, provenance
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.figure import draw_report, save
from rlsparse.compare.report import page
from rlsparse.compare.spreadsheet import curves_csv, report_csv
from rlsparse.errors import UsageError
from rlsparse.run.storage import storage_errors, write_atomic

PICTURES = (".png", ".pdf", ".svg")


def check_pictures(names: Sequence[str]) -> None:
    """Raise UsageError for a picture whose format is unknown, or that is not in the report's folder."""
    for name in names:
        if Path(name).suffix.lower() not in PICTURES:
            raise UsageError(f"--figure {name}: the name must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
        if Path(name).name != name:
            raise UsageError(f"--figure {name}: a name without a folder, which --out chooses")


def write_report(comparison: Comparison, folder: Path, statistic: str, pictures: Sequence[str]) -> None:
    """Write the pictures, report.html, report.csv, curves.csv and report.json; each is replaced whole."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    figure, block = draw_report(comparison, statistic), provenance(comparison)
    for name in pictures:
        content = io.BytesIO()
        save(figure, content, Path(name).suffix.lower(), block)
        write_atomic(folder / name, content.getvalue())
    write_atomic(folder / "report.html", page(comparison, statistic))
    write_atomic(folder / "report.csv", report_csv(comparison))
    write_atomic(folder / "curves.csv", curves_csv(comparison))
    write_atomic(folder / "report.json", json.dumps(account(comparison), indent=1) + "\n")
