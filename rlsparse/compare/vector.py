"""Pictures as SVG elements of a page: no fixed size, its colours, names of their own."""

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from rlsparse.compare.theme import VARIABLES


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as one <svg>; `name` keeps its ids apart from those of other pictures on the page."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    opening, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', opening)
    assert view is not None
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {space} {view[0]} role="img" aria-label="{escape(description, quote=True)}">{rest}'
