"""What ships for a card and an environment: the curve of all seeds, and policy and film of the median one."""

import contextlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tables import finals

from rlsparse.learner.actors import Actors
from rlsparse.learner.layout import Layout
from rlsparse.learner.normaliser import ObsScale
from rlsparse.learner.streams import env_seeds
from rlsparse.run import policy_file
from rlsparse.trained import video
from rlsparse.trained.policy import PolicyFlags, closing, load_member, make_environment, run_episode

SECONDS = 5.0
"""Of the robot's time in a film."""
RATE = 10.0
"""Most pictures a second of a film."""
WIDTH = 160
"""Pixels of a film's picture."""
COLOURS = 24
POLICY, CURVE = "policy.safetensors", "curve.csv"


@dataclass(frozen=True)
class Trained:
    """What a policy file is written of, as a learner has it."""

    actors: Actors

    @property
    def layout(self) -> Layout:
        """Where parameters lie."""
        return self.actors.layout

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each member."""
        return self.actors.seeds

    def obs_scale(self) -> ObsScale:
        """Return the observation normaliser."""
        return self.actors.scale


def ship(runs: Sequence[Path], curve: Path, card: Path, gif: Path) -> None:
    """Put into the folder `card` the kept curve of all seeds and the policy of the median one, and film that one."""
    seed = median_seed(finals(curve))
    found = [(run, policy_file.load(run / POLICY)) for run in runs]
    run, policy = next((run, policy) for run, policy in found if seed in policy.actors.seeds)
    card.mkdir(exist_ok=True)
    gif.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(curve, card / CURVE)
    write_one(policy, seed, card / POLICY)
    film(card / POLICY, gif)


def median_seed(returns: dict[int, float]) -> int:
    """Return the seed whose final return is the median one; of an even number, the lower of the two in the middle."""
    return sorted(returns, key=lambda seed: returns[seed])[(len(returns) - 1) // 2]


def write_one(policy: policy_file.TrainedPolicy, seed: int, path: Path) -> None:
    """Write the policy of one of several seeds to a file of its own."""
    member = policy.actors.seeds.index(seed)
    own = slice(member, member + 1)
    actors = policy.actors.only(member)
    arrays = {"params": actors.params, "obs_mean": actors.scale.mean, "obs_inv_std": actors.scale.inv_std}
    arrays |= {name: x[own] for name, x in policy.statistics.items()}
    recipe = replace(policy.recipe, seed=seed, num_seeds=1)
    policy_file.save(path, recipe, Trained(actors), arrays)  # type: ignore[arg-type]


def film(policy: Path, path: Path) -> None:
    """Film the first seconds of a policy's episodes, on seeds that neither training nor evaluation uses."""
    video.choose_renderer()
    from gymnasium.wrappers import TimeLimit

    member = load_member(policy, None, PolicyFlags(str(policy)))
    with closing(make_environment(member, "rgb_array")) as env, contextlib.ExitStack() as stack:
        video.prepare(env)
        rate = float(env.metadata["render_fps"])
        steps_a_picture, left = math.ceil(rate / RATE), round(SECONDS * rate)
        add = stack.enter_context(video.open_video(path, rate / steps_a_picture))

        def watch(step: int) -> None:
            if step % steps_a_picture == 0:
                add(small(video.picture(env)))

        for seed in env_seeds(member.seed, "play", left):
            if left > 0:
                left -= run_episode(TimeLimit(env, left), member.actors, seed, watch).length


def small(picture: np.ndarray) -> np.ndarray:
    """Return a picture of few pixels and colours, so that a film takes few bytes."""
    image = Image.fromarray(picture).resize((WIDTH, WIDTH), Image.Resampling.BOX)
    return np.asarray(image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).convert("RGB"))
