"""The comparison of a study: its arms are those of the study, each with each setting by itself."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlsparse.errors import BROKEN, RlsparseError, in_one_line
from rlsparse.study.fields import short_name
from rlsparse.study.ranking import Ranked, ranked
from rlsparse.study.standing import Standing

if TYPE_CHECKING:  # plotting is imported once there is something to compare
    from rlsparse.compare.from_python import Compared
    from rlsparse.compare.settings import Result

COMPARISON = "comparison"
"""Folder of a study in which its comparison lies."""

SETTINGS = "settings.png"
"""Picture of returns against the swept fields, beside the comparison."""

MOST_ARMS = 50
"""Arms with settings that are compared; of more, nobody could read the picture, and every pair is tested."""

log = logging.getLogger(__name__)


def compare_finished(standings: Iterable[Standing], out: Path, so_far: bool = False) -> "Compared | None":
    """Compare all finished runs, or all as they are `so_far`; a failure costs only the comparison."""
    from rlsparse.compare.from_python import from_script as compare
    from rlsparse.compare.settings import draw_settings

    done = [x for x in standings if x.folder is not None and (x.state == "finished" or (so_far and x.returns))]
    kept = best(done, MOST_ARMS)
    if len(kept) < len(labels := {x.label for x in done}) and not so_far:
        log.warning(
            "the comparison has the %d settings that rank best by their last returns, of %d; rlsparse compare takes "
            "any others",
            len(kept),
            len(labels),
        )
    arms = {label: [x.folder for x in done if x.label == label and x.folder] for label in kept}
    try:
        compared = compare(arms, out=out / COMPARISON) if arms else None
        if compared:
            draw_settings([_result(x) for x in ranked(done, unfinished=so_far)], out / COMPARISON / SETTINGS)
        return compared
    except RlsparseError as error:
        log.warning("no comparison: %s", error)
    except BROKEN as error:
        log.warning("no comparison: %s", in_one_line(error))
    return None


def _result(x: Ranked) -> "Result":
    from rlsparse.compare.settings import Result

    return Result(x.arm, x.environment, {short_name(name): value for name, value in x.setting.items()}, x.returns)


def best(standings: Sequence[Standing], most: int) -> list[str]:
    """Return the labels of so many arms at most: those whose rank by last returns is best, on average of environments.

    They stay in the order of the standings. Of what is kept so, a return is a maximum of many, and no score.
    """
    labels = list(dict.fromkeys(x.label for x in standings))
    if len(labels) <= most:
        return labels
    ranks: dict[str, list[int]] = {label: [] for label in labels}
    for env in dict.fromkeys(x.env for x in standings):
        returns: dict[str, list[float]] = {}
        for x in standings:
            if x.env == env:
                returns.setdefault(x.label, []).extend(x.returns)
        means = {label: np.mean(those) for label, those in returns.items() if those}
        for rank, label in enumerate(sorted(means, key=lambda label: -means[label])):
            ranks[label].append(rank)
    order = sorted(labels, key=lambda label: np.mean(ranks[label]) if ranks[label] else np.inf)
    return [label for label in labels if label in set(order[:most])]
