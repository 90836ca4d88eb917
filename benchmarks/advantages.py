"""PPO with and without a critic: advantage estimators at equal environment steps, seed by seed.

    python benchmarks/advantages.py run --steps 1000000 [--arms ppo ppo-group ...] [--envs ...] [--num-seeds 5]
    python benchmarks/advantages.py report

`run` trains each arm (an agent card) with seeds 0, 1, ... and keeps its curve under
benchmarks/results/advantages/<steps>/<arm>/ (see arms.py, also for --jobs, --out and --results). `report` prints a
table for each number of steps and draws the curves. A score is a run's last evaluation: 10 episodes on seeds that
training has not seen.
"""

from pathlib import Path

from arms import curves_in, main, of_cards
from tables import all_finals, draw_curves, print_table

ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
COLOURS = {"ppo": "#000000", "ppo-group": "#D55E00", "ppo-rloo": "#0072B2", "ppo-monte-carlo": "#009E73"}


def report(folder: Path) -> None:
    """Print the table of one budget and draw its curves."""
    print(f"\n{int(folder.name):,} steps per seed; mean final return with 95 % interval (seeds)")
    scores = all_finals([arm for arm in COLOURS if (folder / arm).is_dir()], ENVS, curves_in(folder))
    print_table(scores, ENVS, {"IQM / ppo, 95 % interval, paired by seed": lambda _: "ppo"})
    draw_curves(folder.with_suffix(".png"), ENVS, COLOURS, ("ppo", "ppo-group"), curves_in(folder))


if __name__ == "__main__":
    main(__doc__, "advantages", COLOURS, ENVS, lambda asked: of_cards(asked.arms), report)
