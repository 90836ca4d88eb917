"""`--init POLICY`: begin with a trained policy, its normalisers and its critic, instead of random parameters."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from rlsparse.errors import UsageError
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.bounds import CountFromZero, Expected, Finite, Like
from rlsparse.learner.layout import Group, Layout
from rlsparse.learner.network import NETWORK
from rlsparse.run import cards
from rlsparse.run.compatibility import as_flag
from rlsparse.run.named_policy import policy_of_name
from rlsparse.run.random_start import RandomStart, Read
from rlsparse.run.reading import MOST_OF_ARRAYS, read_bytes

if TYPE_CHECKING:  # a recipe says how its run begins
    from rlsparse.learner.learner import Learner
    from rlsparse.run.policy_file import TrainedPolicy
    from rlsparse.run.recipe import Recipe

GROUPS: tuple[Group, ...] = ("actor", "critic")


@dataclass(frozen=True)
class WarmStart(RandomStart):
    """Begin with a trained policy instead of random parameters: a file of certain bytes, read before the first step."""

    policy: str
    """The policy file, or the agent card that ships one."""
    sha256: Annotated[str, Like("[0-9a-f]{64}"), Expected("a SHA-256 in hexadecimal")]
    """Of the policy file."""
    seed: CountFromZero | None = None
    """Seed of the policy that all members begin with; if not given, each begins with that of its own seed, if any."""
    log_std: Finite | None = None
    """Log standard deviation of every action to begin with; the trained policy's if not given, which is often small."""

    @property
    def title(self) -> str:
        """Say with what learning begins."""
        return f", beginning with {self.policy}"

    def remarks(self, recipe: "Recipe", layout: Layout, read: Read) -> Iterator[str]:
        """Yield what the first policy lacks; raises UsageError if it does not fit a learner with this layout."""
        policy, named = self._load(recipe, read), f"--init {self.policy}"
        theirs, usual = policy.actors.layout, policy.recipe
        for name in (*NETWORK, "normalise_observations"):
            if (given := getattr(usual.policy, name)) != getattr(recipe.policy, name):
                raise UsageError(f"{named}: it was trained with {as_flag(f'policy.{name}', given)}: use the same here")
        for group in GROUPS:
            then, now = _widths(theirs, group), _widths(layout, group)
            if then and now and then != now:
                raise UsageError(
                    f"{named}: its {group} is {then}, the recipe's {now}: use {_remedy(policy, recipe, group)}"
                )
        self._places(policy, recipe)
        if _widths(layout, "critic") and not _widths(theirs, "critic"):
            yield f"{named}: it was trained without a critic, so the critic begins anew"
        if not policy.statistics:
            yield (
                f"{named}: it does not tell how rewards were scaled, which begins anew; its normaliser counts as if it "
                f"had seen {usual.total_steps:,} observations"
            )

    def begin(self, learner: "Learner", recipe: "Recipe", read: Read) -> None:
        """Put the trained policy into a learner that has just been built.

        Steps are counted from zero, and the optimiser begins anew. Of sparse networks the largest weights stay.
        """
        policy = self._load(recipe, read)
        places, theirs, layout = self._places(policy, recipe), policy.actors.layout, learner.layout
        params, trained = np.array(to_numpy(learner.params)), policy.actors.params[places]
        known = {slot.name: slot for slot in theirs.slots}
        for slot in layout.slots:
            if slot.name in known:
                layout.view(params, slot)[...] = theirs.view(trained, known[slot.name])
        if self.log_std is not None:
            layout.log_std(params)[...] = self.log_std
        learner.params[...] = to_device(learner.sparsity.adopt(params), learner.device)

        scale, told = policy.actors.scale, policy.statistics
        count = told.get("obs_count", np.full(len(policy.actors.seeds), float(policy.recipe.total_steps)))
        obs = {"mean": scale.mean.astype(float), "var": scale.inv_std.astype(float) ** -2.0 - 1e-8, "count": count}
        for moments, arrays in (
            (learner.obs_moments, obs),
            (learner.return_moments, {name: told[f"return_{name}"] for name in obs} if told else {}),
        ):
            now = {name: to_device(x[places], learner.simulated_on) for name, x in arrays.items()}
            moments.load_state_dict(moments.state_dict() | now)

    def _load(self, recipe: "Recipe", read: Read) -> "TrainedPolicy":
        """Read the policy; raises UsageError if it is another by now."""
        # a file may name it: no folder is searched
        shipped = self.policy in cards.agents()
        path = policy_of_name(self.policy, recipe.env)[0] if shipped else Path(self.policy)
        if _sha256(path) != self.sha256:
            raise UsageError(
                f"{path} is not the policy that the recipe begins with, by its SHA-256: name the one to begin with by "
                "--init, or --init none"
            )
        return read(path)

    def _places(self, policy: "TrainedPolicy", recipe: "Recipe") -> list[int]:
        """Return which of the policies each member begins with: that of its own seed, or its seed counted around."""
        held = policy.actors.seeds
        if self.seed is not None and self.seed not in held:
            raise UsageError(f"--init.seed {self.seed}: {self.policy} holds {held[0]} to {held[-1]}")
        seeds = [seed if self.seed is None else self.seed for seed in recipe.seeds]
        return [held.index(seed) if seed in held else seed % len(held) for seed in seeds]


def with_policy(recipe: "Recipe", name: str, read: Read) -> "Recipe":
    """Return the recipe that begins with the policy called `name`, or with none for "none".

    Networks and normalisers are then those of that policy. Raises UsageError or RunDirectoryError.
    """
    if name == "none" or not recipe.env:
        return replace(recipe, init=None)
    path, _ = policy_of_name(name, recipe.env)
    shipped = name in cards.agents() and path.is_relative_to(cards.find_cards_root())
    init = WarmStart(name if shipped else str(path.absolute()), _sha256(path))
    return replace(recipe, init=init, policy=read(path).recipe.policy)


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, MOST_OF_ARRAYS)).hexdigest()


def _widths(layout: Layout, group: Group) -> str:
    """The inputs and outputs of a network's layers, such as 17-64-64-6; nothing if there is none."""
    shapes = [slot.shape for slot in layout.slots if slot.group == group and len(slot.shape) == 2]
    return "-".join(str(x) for x in (shapes[0][0], *(shape[1] for shape in shapes))) if shapes else ""


def _remedy(policy: "TrainedPolicy", recipe: "Recipe", group: Group) -> str:
    own, theirs = getattr(recipe.policy, f"{group}_hidden"), getattr(policy.recipe.policy, f"{group}_hidden")
    if own == theirs:
        return f"a policy of an environment with the observations and actions of {recipe.env}"
    return f"--policy.{group}-hidden {' '.join(map(str, theirs))}"
