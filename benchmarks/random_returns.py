"""Measure what uniformly random actions earn on each environment card's task, in Gymnasium's own environment.

    python benchmarks/random_returns.py                 # all cards; prints mean and deviation
    python benchmarks/random_returns.py --write         # the same, also written into envs/*.toml
    python benchmarks/random_returns.py Hopper Reacher  # some of them

Episode i resets with seed i and draws its actions from the action space seeded with i.
"""

import argparse
import re
from pathlib import Path

import gymnasium
import numpy as np

from rlsparse.run import cards
from rlsparse.sim.cpu import route_warnings


def random_returns(env_id, episodes):
    """Return of each episode `[episodes]`, played to its end with uniform actions; undiscounted."""
    env = gymnasium.make(env_id)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        env.reset(seed=episode)
        env.action_space.seed(episode)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            returns[episode] += reward
            over = terminated or truncated
    env.close()
    return returns


def write_to_card(path: Path, mean: float, std: float, episodes: int) -> None:
    """Replace the numbers of the card's `[random_return]` table."""
    text = path.read_text(encoding="utf-8")
    head, table = text.split("[random_return]\n", 1)
    for key, value in (("mean", f"{mean:.1f}"), ("std", f"{std:.1f}"), ("episodes", str(episodes))):
        table = re.sub(rf"^{key} = .*$", f"{key} = {value}", table, count=1, flags=re.MULTILINE)
    path.write_text(f"{head}[random_return]\n{table}", encoding="utf-8")


def main():
    """Measure the named cards, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("environments", nargs="*", help="card names; all of them if none is given")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write the numbers into the cards")
    args = parser.parse_args()
    route_warnings()
    for name in args.environments or cards.environments():
        card = cards.environment(name)
        returns = random_returns(card.id, args.episodes)
        mean, std = returns.mean(), returns.std()
        print(f"{card.id:28} {mean:12.1f} ± {std:.1f}  ({args.episodes} episodes)", flush=True)
        if args.write:
            write_to_card(card.path, mean, std, args.episodes)


if __name__ == "__main__":
    main()
