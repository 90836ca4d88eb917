"""The result of a run in numbers: final returns per seed and over seeds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlsparse.compare.statistics import mean_interval
from rlsparse.run.columns import columns
from rlsparse.run.recipe import Recipe

STEPS = ("train_steps", "probe_steps", "eval_steps")
COLUMNS = ("seed", "total_steps", *STEPS, "return_mean", "return_std", "episodes")
"""Those of progress.csv that are summed up."""

MOST_ROWS = 40
"""Of more seeds three are shown on the terminal."""


def summarise(
    rows: list[dict[str, float]],
    recipe: Recipe,
    agent: str,
    seconds: float,
    probes: Sequence[tuple[int, bool]] = (),
    eval_seconds: float = 0.0,
) -> dict[str, Any]:
    """Return the last evaluation of every seed, and mean and 95 % interval over seeds.

    `probes` are the seed of each probe and whether it was accepted; they are told if the recipe asks for any. Of the
    `seconds` of the run, `eval_seconds` went to evaluations; steps a second are those of all else.
    """
    of_seed, outcomes = defaultdict(list), defaultdict(list)
    for row in rows:
        of_seed[row["seed"]].append(row)
    for seed, accepted in probes:
        outcomes[seed].append(accepted)
    final = [of_seed[seed][-1] for seed in sorted(of_seed)]
    returns = np.array([row["return_mean"] for row in final])
    mean, half_width = mean_interval(returns)
    return {
        "env": recipe.env,
        "agent": agent,
        "seeds": [
            {
                "seed": int(row["seed"]),
                "return_mean": row["return_mean"],
                "return_std": row["return_std"],
                "episodes": int(row["episodes"]),
                **{name: int(row[name]) for name in STEPS},
                "best": _best(of_seed[row["seed"]]),
                **(_outcomes(outcomes[int(row["seed"])]) if recipe.explore else {}),
            }
            for row in final
        ],
        "return_mean": float(mean),
        "interval_95": None if np.isnan(half_width) else [float(mean - half_width), float(mean + half_width)],
        "n": len(returns),
        "seconds": round(seconds, 1),
        "eval_seconds": round(eval_seconds, 1),
        "steps_per_second": round(sum(row["total_steps"] for row in final) / max(seconds - eval_seconds, 1e-9), 1),
    }


def _best(rows: list[dict[str, float]]) -> dict[str, float]:
    """The best evaluation of a seed, the first of equal ones; a maximum was selected, and is no score."""
    best = max(rows, key=lambda row: row["return_mean"])
    return {"maximum": best["return_mean"], "total_steps": int(best["total_steps"]), "evaluations": len(rows)}


def _outcomes(accepted: list[bool]) -> dict[str, int]:
    return {"probes": len(accepted), "accepted": sum(accepted)}


def table(summary: dict[str, Any]) -> str:
    """Return the summary as a table for the terminal; steps of training and of probing apart, if there are both."""
    probed = any(row["probe_steps"] for row in summary["seeds"])
    steps = {"train steps": "train_steps", "probe steps": "probe_steps"} if probed else {"steps": "train_steps"}
    rows = [["seed", *steps, "return", "+- std", "over"]]
    shown, few = summary["seeds"], len(summary["seeds"]) <= MOST_ROWS
    if not few:
        by_return = sorted(shown, key=lambda row: row["return_mean"])
        shown = [by_return[0], by_return[len(shown) // 2], by_return[-1]]
    for row in shown:
        probes = f", {row['accepted']} of {row['probes']} probes accepted" if "probes" in row else ""
        numbers = [f"{row[name]:,}" for name in steps.values()]
        numbers += [f"{row[name]:,.1f}" for name in ("return_mean", "return_std")]
        rows.append([str(row["seed"]), *numbers, f"{row['episodes']} evaluation episodes{probes}"])
    spread = f"n = {summary['n']}: too few seeds for an interval"
    if summary["interval_95"]:
        spread = "95 % interval {:,.1f} to {:,.1f}".format(*summary["interval_95"]) + f", n = {summary['n']}"
    rows.append(["mean", *[""] * len(steps), f"{summary['return_mean']:,.1f}", "", spread])
    counted = "training and probe steps" if probed else "training steps"
    share = 100 * summary["eval_seconds"] / max(summary["seconds"], 0.1)
    took = f"{summary['seconds']:,.0f} s, of which evaluation {share:.0f} %"
    rate, seeds = summary["steps_per_second"], summary["n"]
    of_each = f" ({rate / seeds:,.0f} a seed)" if seeds > 1 else ""
    best = [row["best"] for row in summary["seeds"]]
    count, mean = best[0]["evaluations"], sum(one["maximum"] for one in best) / len(best)
    selected = f"best of {count} evaluations: {mean:,.1f} on average; a maximum, and so no score (play --best)"
    left_out = "" if few else f"lowest, middle and highest of {summary['n']:,} seeds; summary.json has all\n"
    return f"{columns(rows)}\n{left_out}{selected}\n{took}; {rate:,.0f} {counted}/s{of_each}"
