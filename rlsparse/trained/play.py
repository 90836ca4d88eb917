"""`rlsparse play`: run a trained policy, print its returns, write a video."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rlsparse.errors import DivergenceError, EnvironmentFailure, RlsparseError, RunDirectoryError, UsageError
from rlsparse.run import cards
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.listing import trained_environments
from rlsparse.trained import video

if TYPE_CHECKING:  # imported once the command line is known to be good
    import gymnasium
    import numpy as np

    from rlsparse.run.policy_file import TrainedPolicy

DEFAULT_FPS = 30.0
"""Of an environment that does not say how many of its steps make a second."""


@dataclass(frozen=True)
class PlayFlags:
    """Run the deterministic policy of a run or of an agent card, and print the return of each episode."""

    policy: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR_or_CARD")]
    """A run directory, or an agent card that ships a trained policy (rlsparse agents lists them)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENV")] = None
    """Environment; needed for a card with policies for several, otherwise the one the policy was trained on."""
    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a video of all episodes to this .mp4 or .gif."""
    episodes: int = 5
    """Episodes, on seeds that neither training nor evaluation uses."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Which member of the population, by its seed; the first one if not given."""
    density: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Which of the networks that --sparse ast trained at once; the densest if not given."""
    json: bool = False
    """Print one JSON object instead of the table."""


@dataclass(frozen=True)
class Episode:
    """How one episode went; its return is undiscounted."""

    seed: int
    episode_return: float
    length: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with the code of what went wrong, if anything did."""
    with fail_in_one_line(), _stop_signals():
        run_command(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def _stop_signals() -> Iterator[None]:
    """End on Ctrl-C or SIGTERM in one line, with the usual exit codes, once an unfinished video is cleared away."""

    def terminate(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        print("rlsparse: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(arguments: Sequence[str]) -> None:
    """Parse and do what `rlsparse play` is told."""
    flags = parse(PlayFlags, arguments, prog="rlsparse play")
    if flags.episodes < 1:
        raise UsageError(f"--episodes is {flags.episodes}: expected a positive whole number")
    if flags.video is not None:
        video.check_path(flags.video)
    path, env_id = find_policy(flags.policy, flags.env)
    if flags.video is not None:
        video.choose_renderer()

    from rlsparse.learner.streams import env_seeds
    from rlsparse.run import policy_file

    policy = policy_file.load(path)
    if flags.density is not None:
        policy = policy.at(flags.density)
    env_id = cards.trust_environment(env_id or policy.recipe.env, flags.env and env_id, path)
    member = member_of(policy, flags.seed, path)
    seed, actors = policy.actors.seeds[member], policy.actors.only(member)
    with contextlib.ExitStack() as stack:
        env = make(env_id, policy, draw=flags.video is not None)
        stack.callback(env.close)
        watch = stack.enter_context(_camera(env, flags.video)) if flags.video else None
        _announce(flags.policy, env_id, policy, seed, flags.episodes)
        played = []
        for env_seed in env_seeds(seed, "play", flags.episodes):
            played.append(run_episode(env, actors, env_seed, watch))
            if not flags.json:
                _print_episode(len(played), played[-1])
    _print_result(flags, env_id, seed, path, played)


def find_policy(name: str, env: str | None) -> tuple[Path, str | None]:
    """Return the policy file that `name` means, and the environment if it is known before reading it.

    `name` is a run directory, a policy file or an agent card. Raises UsageError or RunDirectoryError.
    """
    env_id = cards.resolve_environment(env) if env is not None else None
    path = Path(name).expanduser()
    if (path / "policy.safetensors").is_file():
        return path / "policy.safetensors", env_id
    if path.is_file() and path.suffix == ".safetensors":
        return path, env_id
    if (path / "recipe.toml").is_file():
        raise RunDirectoryError(f"{path} has no policy.safetensors yet: its run has not saved anything")
    if not _may_be_card(name):
        what = "is neither a run directory, which has a policy.safetensors, nor an agent card"
        raise RunDirectoryError(f"{path} {what}" if path.exists() else f"there is no run directory {path}")
    return _shipped_policy(cards.agent(name), env_id)


def _may_be_card(name: str) -> bool:
    path = Path(name).expanduser()
    if path.suffix == ".toml" or (path / "card.toml").is_file():
        return True
    shipped = {card.casefold() for card in cards.agents()}
    # an unknown single word is more likely a mistyped card than a missing folder
    return name.casefold() in shipped or (len(path.parts) == 1 and not path.exists())


def _shipped_policy(card: cards.AgentCard, env_id: str | None) -> tuple[Path, str]:
    known = trained_environments(card)
    if not known:
        raise UsageError(f"the agent {card.name} ships no trained policy: name a run directory")
    if env_id is None and len(known) > 1:
        raise UsageError(f"the agent {card.name} has several trained policies: add --env, one of {', '.join(known)}")
    chosen = env_id or known[0]
    path = card.policy_path(chosen)
    if path is None:
        raise UsageError(f"the agent {card.name} has no trained policy for {chosen}, only for {', '.join(known)}")
    return path, chosen


def member_of(policy: "TrainedPolicy", seed: int | None, path: Path) -> int:
    """Return which member has this seed, the first one for None; raises UsageError if none has."""
    if seed is None:
        return 0
    if seed not in policy.actors.seeds:
        raise UsageError(f"--seed {seed}: {path} holds {seeds_text(policy)}")
    return policy.actors.seeds.index(seed)


def seeds_text(policy: "TrainedPolicy") -> str:
    """Say which seeds there are."""
    first, last = policy.actors.seeds[0], policy.actors.seeds[-1]
    return f"seeds {first} to {last}" if len(policy.actors.seeds) > 1 else f"seed {first} only"


def make(env_id: str, policy: "TrainedPolicy", *, draw: bool) -> "gymnasium.Env":
    """Make the environment for a policy of its sizes.

    Raises UsageError if the sizes differ, UnsupportedEnvironment, or EnvironmentFailure if it cannot be made or drawn.
    """
    import gymnasium
    import numpy as np

    with _failures_of(env_id):  # importing mujoco fails where MUJOCO_GL names what is not there
        from rlsparse.sim.gym import supported_spaces
        from rlsparse.sim.mujoco_log import route_warnings

        route_warnings()
        # an environment that cannot be drawn may know no render mode
        env: gymnasium.Env = gymnasium.make(env_id, render_mode="rgb_array") if draw else gymnasium.make(env_id)
    spaces = supported_spaces(env_id, env.observation_space, env.action_space)
    sizes = [int(np.prod(space.shape)) for space in spaces]
    expected = [policy.actors.layout.obs_size, policy.actors.layout.action_size]
    if sizes != expected:
        raise UsageError(
            f"{env_id} has {sizes[0]} observations and {sizes[1]} actions, but the policy, trained on "
            f"{policy.recipe.env}, has {expected[0]} and {expected[1]}"
        )
    if draw:
        video.prepare(env)
    return env


def run_episode(
    env: "gymnasium.Env",
    actors: Callable[["np.ndarray"], "np.ndarray"],
    seed: int,
    watch: Callable[[int], None] | None = None,
) -> Episode:
    """Run one deterministic episode from `reset(seed=seed)`, of at most `evaluate.STEP_CAP` steps.

    `actors` act as `Actors` of one member do: raw obs [1, 1, O] to actions [1, 1, A] in units of half the range.
    `watch` is told how many steps were made, after the reset and after every step. Raises DivergenceError for an
    action that is not finite, EnvironmentFailure if the environment raises.
    """
    import numpy as np

    from rlsparse.sim.collect import ActionBox
    from rlsparse.sim.episodes import STEP_CAP

    name, space = env.spec.id if env.spec else "the environment", env.action_space
    to_native = ActionBox(space.low.ravel(), space.high.ravel())  # type: ignore[attr-defined]
    with _failures_of(name):
        obs, _ = env.reset(seed=seed)
    episode_return, length, over = 0.0, 0, False
    while True:
        if watch is not None:
            watch(length)
        if over or length == STEP_CAP:
            return Episode(seed, episode_return, length)
        action = actors(np.ravel(obs)[None, None])[0, 0]
        if not np.isfinite(action).all():
            raise DivergenceError(f"the policy's action is not finite at step {length} of the episode with seed {seed}")
        native = to_native(action).reshape(space.shape).astype(space.dtype)
        with _failures_of(name):
            obs, reward, terminated, truncated, _ = env.step(native)
        episode_return += float(reward)
        length += 1
        over = bool(terminated or truncated)


@contextmanager
def _failures_of(env_id: str) -> Iterator[None]:
    try:
        yield
    except RlsparseError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        raise EnvironmentFailure(f"{env_id} failed with {type(error).__name__}: {message}") from error


@contextmanager
def _camera(env: "gymnasium.Env", path: Path) -> Iterator[Callable[[int], None]]:
    fps = float(env.metadata.get("render_fps") or DEFAULT_FPS)
    with video.open_video(path, fps) as writer:

        def watch(step: int) -> None:
            if step % writer.stride == 0:
                writer.add(video.picture(env))

        yield watch


def _announce(name: str, env_id: str, policy: "TrainedPolicy", seed: int, episodes: int) -> None:
    count = f"{episodes} episodes" if episodes > 1 else "1 episode"
    others = f" (of {seeds_text(policy)}; --seed chooses)" if len(policy.actors.seeds) > 1 else ""
    print(f"{name} on {env_id}, policy of seed {seed}{others}, {count}", file=sys.stderr)


def _print_episode(number: int, episode: Episode) -> None:
    if number == 1:
        print(f"{'episode':>7}{'return':>14}{'steps':>9}")
    print(f"{number:>7}{episode.episode_return:>14,.2f}{episode.length:>9,}", flush=True)


def _print_result(flags: PlayFlags, env_id: str, seed: int, path: Path, played: list[Episode]) -> None:
    import numpy as np

    returns = np.array([episode.episode_return for episode in played])
    mean, std = float(returns.mean()), float(returns.std())
    if flags.json:
        result = {
            "policy": str(path),
            "env": env_id,
            "seed": seed,
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
