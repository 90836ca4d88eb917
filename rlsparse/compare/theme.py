"""Colours and line styles: one per arm, the same in every picture of a report."""

from dataclasses import dataclass
from typing import Any

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that colour-blind readers tell apart (Okabe and Ito, 2008), without black and pale yellow."""

DASHES: tuple[Any, ...] = ("solid", (0, (2.2, 1.1)), (0, (1, 0.7)), (0, (3, 0.8, 1, 0.8)))


@dataclass(frozen=True)
class Theme:
    """The colours that are not an arm's."""

    ink: str
    muted: str
    warning: str
    label_size: float
    """Of ticks and labels, in points."""
    longest_name: int
    """Characters of an arm's name in a picture; a legend has it whole."""


PRINT = Theme(ink="#111111", muted="#555555", warning="#B03A00", label_size=8.0, longest_name=24)

SCREEN = Theme(ink="#010203", muted="#010204", warning="#010205", label_size=10.0, longest_name=14)
"""Stand-ins that the page replaces by its own colours, which follow the reader's light or dark scheme."""

VARIABLES = {SCREEN.ink: "var(--ink)", SCREEN.muted: "var(--muted)", SCREEN.warning: "var(--warning)"}


def arm_styles(arms: list[str], theme: Theme = PRINT) -> dict[str, dict[str, Any]]:
    """Return colour and line style of each arm: seven colours, then the same ones dashed."""
    colors = (*OKABE_ITO, theme.ink)
    return {
        arm: {"color": colors[i % len(colors)], "linestyle": DASHES[i // len(colors) % len(DASHES)]}
        for i, arm in enumerate(arms)
    }


def shortened(text: str, most: int) -> str:
    """Cut a long text in its middle, for variants of an arm differ at the end."""
    tail = (most - 1) * 3 // 5
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"
