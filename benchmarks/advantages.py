"""PPO with and without a critic: advantage estimators at equal environment steps, seed by seed.

    python benchmarks/advantages.py run --steps 1000000 [--arms ppo ppo-group ...] [--envs ...] [--num-seeds 5]
    python benchmarks/advantages.py report

`run` trains each arm (an agent card) with seeds 0, 1, ... in one process per environment and keeps its curve under
benchmarks/results/advantages/<steps>/<arm>/. A seed that is there already is not trained again. `report` prints a table
for each number of steps and draws the curves. A score is a run's last evaluation: 10 episodes on seeds that training
has not seen.
"""

from pathlib import Path

from arms import all_finals, draw_curves, main, print_table

RESULTS = Path(__file__).parent / "results" / "advantages"
ENVS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5")
COLOURS = {"ppo": "#000000", "ppo-group": "#D55E00", "ppo-rloo": "#0072B2", "ppo-monte-carlo": "#009E73"}


def report(folder: Path) -> None:
    """Print the table of one budget and draw its curves."""

    def curve_file(arm: str, env: str) -> Path:
        return folder / arm / f"{env}.csv"

    print(f"\n{int(folder.name):,} steps per seed; mean final return with 95 % interval (seeds)")
    arms = [arm for arm in COLOURS if (folder / arm).is_dir()]
    print_table(all_finals(arms, ENVS, curve_file), ENVS, {"IQM / ppo, 95 % interval, paired by seed": lambda _: "ppo"})
    draw_curves(RESULTS / f"{folder.name}.png", ENVS, COLOURS, ("ppo", "ppo-group"), curve_file)


if __name__ == "__main__":
    main(__doc__, COLOURS, ENVS, RESULTS, lambda arm, env, steps: ("--agent", arm), report)
