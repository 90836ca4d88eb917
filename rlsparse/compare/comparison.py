"""A whole comparison: from arms to everything that the report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlsparse.compare.arms import Arms
from rlsparse.compare.cells import Cell, Panel, panel
from rlsparse.compare.contrasts import Contrast, Overall, choose_pairs, contrast_all, overall
from rlsparse.compare.fairness import merge_versions, mismatches, remarks_on_files
from rlsparse.compare.record import AXIS_LABELS, Axis, Log
from rlsparse.compare.statistics import FEWEST
from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run import cards
from rlsparse.run.reading import printable

LEAST_SEEDS_FOR_FIGURE = 5
"""With fewer, a figure is a smoke check and says so."""

LONGEST_TITLE = 66
"""Characters; a longer title would be a second line."""


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows."""

    arms: list[str]
    axis: Axis
    measure: str
    baseline: str | None
    panels: list[Panel]
    contrasts: list[Contrast]
    overall: Overall | None
    mismatches: list[str]
    """Why these curves would not be compared without --allow-mixed."""
    remarks: list[str]
    logs: list[Log]
    """Where the curves come from."""

    @property
    def cells(self) -> list[Cell]:
        """Every arm in every environment."""
        return [cell for panel in self.panels for cell in panel.cells.values()]

    @property
    def title(self) -> str:
        """One line: what kind of return, and of which arms."""
        what = " / ".join(dict.fromkeys(part.partition(",")[0] for part in self.measure.split(" / ")))
        named = f"{what[:1].upper()}{what[1:]}: {', '.join(self.arms)}"
        return named if len(named) <= LONGEST_TITLE else f"{what[:1].upper()}{what[1:]} of {len(self.arms)} arms"

    @property
    def x_label(self) -> str:
        """What the curves are drawn against."""
        return AXIS_LABELS[self.axis]

    @property
    def warnings(self) -> list[str]:
        """What stands above everything else, in the colour of a warning."""
        warnings = [f"SHORT RANGE: {panel.warning}" for panel in self.panels if panel.warning]
        warnings += [f"NOT ALIKE: {text}" for text in self.mismatches]
        few = {cell.arm: None for cell in self.cells if cell.n < LEAST_SEEDS_FOR_FIGURE}
        if few:
            which = "" if len(few) == len(self.arms) else f" in {', '.join(few)}"
            none = "; n < 3 is too small for an interval" if any(cell.n < FEWEST for cell in self.cells) else ""
            warnings.append(f"SMOKE CHECK: fewer than {LEAST_SEEDS_FOR_FIGURE} seeds{which}{none}")
        return warnings


def compare(
    arms: Arms,
    axis: Axis = "steps",
    baseline: str | None = None,
    thresholds: dict[str, float] | None = None,
    allow_mixed: bool = False,
    remarks: Sequence[str] = (),
) -> Comparison:
    """Compare arms at equal amounts of `axis`.

    Raises UsageError for arms that must not be compared (unless `allow_mixed`) and for an unknown baseline,
    RunDirectoryError if no environment can be compared.
    """
    found = mismatches(arms, axis)
    if found and not allow_mixed:
        raise UsageError(f"{'; '.join(found)}; name runs that go together, or let --allow-mixed show all and say so")
    if baseline is not None and baseline not in arms.names:
        raise UsageError(f"--baseline {baseline}: the arms are {', '.join(arms.names)}")
    for env in set(thresholds or {}) - {""} - set(arms.environments):
        raise UsageError(f"--threshold {env}: the environments are {', '.join(arms.environments)}")
    if found:
        merge_versions(arms)
    panels, failures = _panels(arms, axis, thresholds or {})
    logs = list({id(member.log): member.log for _, _, member in arms.all()}.values())
    pairs = choose_pairs(arms.names, baseline)
    result = overall(panels, arms.names, pairs, baseline)
    if result is None and len(panels) > 1:
        failures.append("there are no results over environments: not two of them have every arm")
    said = [
        *failures,
        *(text for panel in panels for text in panel.remarks),
        *(_short_budgets(panels) if axis == "steps" else []),
        *arms.remarks,
        *(result.remarks if result else []),
        *_log_remarks(arms, logs),
        *remarks,
    ]
    return Comparison(
        arms=arms.names,
        axis=axis,
        measure=" / ".join(sorted({log.measure for log in logs})),
        baseline=baseline,
        panels=panels,
        contrasts=contrast_all(panels, pairs),
        overall=result,
        mismatches=[printable(text) for text in found],
        remarks=[printable(text) for text in dict.fromkeys(said)],
        logs=logs,
    )


def _panels(arms: Arms, axis: Axis, thresholds: dict[str, float]) -> tuple[list[Panel], list[str]]:
    """Return the environments that can be compared, and why the others cannot."""
    panels, failures = [], []
    for env in arms.environments:
        try:
            panels.append(panel(arms, env, axis, thresholds.get(env, thresholds.get(""))))
        except RunDirectoryError as error:
            failures.append(str(error))
    if not panels:
        raise RunDirectoryError("; ".join(failures) or "there is no curve to compare")
    return panels, failures


def _short_budgets(panels: list[Panel]) -> list[str]:
    """Name the environments that were trained for less than a quarter of what their cards call usual."""
    known = cards.environments()
    short = {p.env: p.end / known[p.env].total_steps for p in panels if p.env in known}
    listed = ", ".join(f"{env} {100 * share:.0f} %" for env, share in short.items() if share < 1 / 4)
    return [f"curves this short say little about the agents; share of the usual steps: {listed}"] if listed else []


def _log_remarks(arms: Arms, logs: list[Log]) -> list[str]:
    """What reading left out, and in what environments and evaluations differ."""
    remarks = [*(text for log in logs for text in log.remarks), *remarks_on_files(arms)]
    for env in arms.environments:
        episodes = sorted({n for _, of, member in arms.all() if of == env for n in member.log.episodes})
        if len(episodes) > 1:
            remarks.append(f"{env}: points are means of different numbers of episodes: {', '.join(map(str, episodes))}")
    kinds = sorted({log.kind for log in logs})
    if len(kinds) > 1:
        remarks.append(f"logs of different origin are compared ({', '.join(kinds)}): check that evaluations are alike")
    return remarks
