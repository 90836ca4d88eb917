"""The comparison that training draws at its end: a run beside the curve that ships with an agent card."""

from pathlib import Path

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.logs import read_logs
from rlsparse.compare.report import write_report
from rlsparse.run.cards import AgentCard


def draw_beside_card(run: Path, card: AgentCard) -> Path:
    """Compare a run with the curve of an agent card; returns the picture, in the run's comparison/.

    Raises RlsparseError if one of them cannot be read, or the two must not be compared.
    """
    found = read_logs([str(run), str(card.path)])
    folder, picture = run / "comparison", "report.png"
    write_report(compare(arrange(found.logs, {}), remarks=found.remarks), folder, "mean", [picture])
    return folder / picture
