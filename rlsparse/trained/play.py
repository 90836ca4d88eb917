"""`rlsparse play`: run a trained policy, print its returns, write a video."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rlsparse.errors import UsageError
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.foreign import contained
from rlsparse.run.named_policy import find_policy
from rlsparse.trained import video
from rlsparse.trained.policy import (
    Episode,
    Member,
    PolicyFlags,
    closing,
    load_member,
    make_environment,
    run_episode,
)

STEPS_SHOWN = 20
"""Steps between two lines of progress."""


@dataclass(frozen=True)
class PlayFlags(PolicyFlags):
    """Run the deterministic policy of a run or of an agent card, and print the return of each episode."""

    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a video of the episodes to this .mp4 or .gif."""
    episodes: int | None = None
    """Episodes, on seeds that neither training nor evaluation uses; 5 if not given, 1 with --video."""
    json: bool = False
    """Print one JSON object instead of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line(), _stop_signals():
        run_command(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def _stop_signals() -> Iterator[None]:
    """End on Ctrl-C or SIGTERM in one line, with the usual exit codes, once an unfinished video is cleared away."""

    def terminate(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)  # environments may raise SystemExit

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        if not stop.args:
            print("rlsparse: stopped", file=sys.stderr)
        sys.exit(128 + next(iter(stop.args), signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(arguments: Sequence[str]) -> None:
    """Parse the arguments of `rlsparse play` and do what they say."""
    flags = parse(PlayFlags, arguments, prog="rlsparse play")
    episodes = (1 if flags.video else 5) if flags.episodes is None else flags.episodes
    if episodes < 1:
        raise UsageError(f"--episodes is {episodes}: expected a positive whole number")
    if flags.video is not None:
        video.check_path(flags.video)
        if ":" in (flags.env or ""):  # a module that is imported next, and may import mujoco
            video.choose_renderer()
    path, env_id = find_policy(flags.policy, flags.env, flags.best)
    if flags.video is not None:
        video.choose_renderer()

    from rlsparse.learner.streams import env_seeds

    member = load_member(path, env_id, flags)
    with contextlib.ExitStack() as stack:
        if flags.json:
            stack.enter_context(contained())
        env = stack.enter_context(closing(make_environment(member, "rgb_array" if flags.video else None)))
        watch = stack.enter_context(video.filming(env, flags.video)) if flags.video else lambda step: None
        count = f"{episodes} episodes" if episodes > 1 else "1 episode"
        print(f"{flags.policy} on {member.env_id}, {member.title}, {count}", file=sys.stderr, flush=True)
        played: list[Episode] = []
        for env_seed in env_seeds(member.seed, "play", episodes):
            with _progress(len(played) + 1, watch) if flags.video else contextlib.nullcontext(watch) as shown:
                played.append(run_episode(env, member.actors, env_seed, shown))
            if not flags.json:
                _print_episode(len(played), played[-1])
    _print_result(flags, member, played)


@contextmanager
def _progress(number: int, watch: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """On a terminal, tell from time to time how far an episode is filmed: each picture takes some 20 ms."""
    live = sys.stderr.isatty()

    def shown(step: int) -> None:
        watch(step)
        if live and step % STEPS_SHOWN == 0:
            print(f"\r\x1b[2Kfilming episode {number}: {step:,} steps", end="", file=sys.stderr, flush=True)

    try:
        yield shown
    finally:
        if live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _print_episode(number: int, episode: Episode) -> None:
    if number == 1:
        print(f"{'episode':>7}{'return':>14}{'steps':>9}")
    print(f"{number:>7}{episode.episode_return:>14,.2f}{episode.length:>9,}", flush=True)


def _print_result(flags: PlayFlags, member: Member, played: list[Episode]) -> None:
    import numpy as np

    returns = np.array([episode.episode_return for episode in played])
    mean, std = float(returns.mean()), float(returns.std())
    if flags.json:
        result = {
            "policy": str(member.path),
            "env": member.env_id,
            "seed": member.seed,
            "episodes": [asdict(episode) for episode in played],
            "return_mean": mean,
            "return_std": std,
            "video": str(flags.video) if flags.video else None,
        }
        print(json.dumps(result))
        return
    print(f"{'mean':>7}{mean:>14,.2f} +- {std:,.2f} (standard deviation over episodes)")
    if flags.video is not None:
        print(flags.video)
