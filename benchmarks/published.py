"""Published returns, from the environment cards, as Markdown.

    python benchmarks/published.py [HalfCheetah Hopper]

Without a name, those of every environment are printed.
"""

import argparse

from rlsparse.run import cards
from rlsparse.run.cards import EnvironmentCard, Reference
from rlsparse.run.command_line import fail_in_one_line

HEADER = (
    "| return +- deviation | seeds | algorithm, library | environment | steps | how measured |",
    "|---|---|---|---|---|---|",
)


def rows(card: EnvironmentCard) -> list[str]:
    """Return a Markdown row for each reference of a card: fewest steps first, and among these the highest return."""
    return [row(x) for x in sorted(card.references, key=lambda x: (x.steps, -x.mean))]


def row(reference: Reference) -> str:
    """Return the Markdown row of a reference; its library is a link to the source."""
    digits = 0 if abs(reference.mean) >= 100 else 1  # as in the tables of learning.py
    spread = "" if reference.std is None else f" +- {reference.std:,.{digits}f}"
    library, address = reference.source.split(", ")
    cells = (
        f"{reference.mean:,.{digits}f}{spread}",
        str(reference.seeds),
        f"{reference.algorithm}, [{library}]({address})",
        reference.environment,
        f"{reference.steps:,}",
        reference.measured,
    )
    return f"| {' | '.join(cells)} |"


@fail_in_one_line()
def main() -> None:
    """Print a table for each environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envs", nargs="*")
    names = parser.parse_args().envs or cards.environments()
    for card in map(cards.environment, names):
        print(f"### {card.id}", "", *HEADER, *rows(card), "", sep="\n")


if __name__ == "__main__":
    main()
