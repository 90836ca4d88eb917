"""The report as one HTML file that needs no network and no script, for phones and screens, light and dark."""

import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from rlsparse.compare.account import account
from rlsparse.compare.comparison import Comparison
from rlsparse.compare.contrasts import Contrast
from rlsparse.compare.figure import caption, draw_panel, draw_parts, steps_spent
from rlsparse.compare.tables import (
    FINAL_NOTES,
    Table,
    between,
    contrast_tables,
    final_table,
    number,
    overall_tables,
    probability,
    steps_table,
)
from rlsparse.compare.theme import SCREEN, VARIABLES, arm_styles
from rlsparse.compare.vector import inline_svg

MOST_SENTENCES = 12
"""Comparisons told in words; with more, the table must do."""


def page(comparison: Comparison, statistic: str = "mean") -> str:
    """Return the page."""
    style = (files("rlsparse.compare") / "page.css").read_text(encoding="utf-8")
    title = escape(", ".join(comparison.arms))
    body = "\n".join(
        [
            f"<h1>{title}</h1>",
            f'<p class="lead">{escape(_lead(comparison))}</p>',
            _warnings(comparison),
            _sentences(comparison.contrasts),
            _legend(comparison),
            _curves(comparison, statistic, "curves"),
            _overall(comparison),
            *(_table(final_table(panel, comparison)) for panel in comparison.panels),
            _notes(FINAL_NOTES),
            *(_table(table) for table in contrast_tables(comparison.contrasts)),
            _details("What was left out, cut or assumed", _list(comparison.remarks), is_open=True),
            _details(*_other_statistic(comparison, statistic)),
            _details("Steps", _table(steps_table(comparison))),
            _details("Runs", _runs(comparison)),
        ]
    )
    data = json.dumps(account(comparison)).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="report">{data}</script>
</body>
</html>
"""


def _lead(comparison: Comparison) -> str:
    measure = comparison.measure[0].upper() + comparison.measure[1:]
    return f"{measure} against {comparison.x_label}."


def _warnings(comparison: Comparison) -> str:
    lines = [f"NOT ALIKE: {text}" for text in comparison.mismatches] + [comparison.caution] * bool(comparison.caution)
    return "".join(f'<p class="warning">{escape(line)}</p>' for line in lines)


def _sentences(contrasts: list[Contrast]) -> str:
    if not 0 < len(contrasts) <= MOST_SENTENCES:
        return ""
    return '<ul class="findings">' + "".join(f"<li>{_sentence(x)}</li>" for x in contrasts) + "</ul>"


def _sentence(x: Contrast) -> str:
    """What one comparison found, in words and numbers."""
    who = f"<b>{escape(x.arm)}</b> against <b>{escape(x.other)}</b> on {escape(x.env)}"
    numbers = f"difference {number(x.difference.mean)}"
    if x.difference.p == x.difference.p:
        ends = between(x.difference.low, x.difference.high)
        p = f"p {probability(x.adjusted_p)}, permutation {probability(x.adjusted_permutation_p)}"
        numbers += f" (95 % interval {ends}; {p})"
    return f"{who}: {escape(x.verdict)}; {escape(numbers)}, n = {x.n}, {x.n_other}."


def _legend(comparison: Comparison) -> str:
    """Each arm's name beside a piece of its line."""
    items = []
    for arm, style in arm_styles(comparison.arms, SCREEN).items():
        color = VARIABLES.get(style["color"], style["color"])
        dash = "" if style["linestyle"] == "solid" else ' stroke-dasharray="5 3"'
        line = f'<line x1="0" y1="5" x2="28" y2="5" stroke="{color}" stroke-width="3"{dash}/>'
        items.append(f'<li><svg viewBox="0 0 28 10" aria-hidden="true">{line}</svg>{escape(arm)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _curves(comparison: Comparison, statistic: str, name: str) -> str:
    pictures = [
        inline_svg(draw_panel(panel, comparison, statistic, SCREEN), f"{name}{i}", f"{statistic} curves on {panel.env}")
        for i, panel in enumerate(comparison.panels)
    ]
    notes = f"{caption(comparison, statistic)} {steps_spent(comparison)}"
    return f'{_pictures(pictures)}<p class="note">{escape(notes)}</p>'


def _pictures(pictures: Iterable[str]) -> str:
    return f'<div class="pictures">{"".join(f"<figure>{picture}</figure>" for picture in pictures)}</div>'


def _other_statistic(comparison: Comparison, statistic: str) -> tuple[str, str]:
    other, name = ("iqm", "Interquartile mean (IQM) curves") if statistic == "mean" else ("mean", "Mean curves")
    return name, _curves(comparison, other, "other")


def _overall(comparison: Comparison) -> str:
    tables = overall_tables(comparison)
    if not tables:
        return ""
    figures = draw_parts(comparison, SCREEN)
    pictures = [inline_svg(figure, f"overall{i}", "results over environments") for i, figure in enumerate(figures)]
    return "<h2>Over environments</h2>" + _pictures(pictures) + "".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    """A table that scrolls sideways by itself where it is wider than the screen."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    region = f'<div class="wide" role="region" aria-label="{escape(table.title, quote=True)}" tabindex="0">'
    return f"<h2>{escape(table.title)}</h2>{region}{grid}</div>{_notes(table.notes)}"


def _notes(notes: list[str]) -> str:
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _list(texts: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _details(title: str, content: str, is_open: bool = False) -> str:
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{escape(title)}</summary>{content}</details>" if content else ""


def _runs(comparison: Comparison) -> str:
    rows = []
    for log in comparison.logs:
        seeds = ", ".join(str(curve.seed) for curve in log.curves if curve.seed is not None)
        versions = ", ".join(f"{name} {version}" for name, version in log.versions.items())
        rows.append([str(log.path), log.agent, str(log.env or "-"), seeds or "-", log.state or "-", versions or "-"])
    return _table(Table("All runs", ["path", "agent", "environment", "seeds", "state", "versions"], rows))
