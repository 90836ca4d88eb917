"""A run that begins with random parameters; another kind of beginning overrides both methods."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.learner.layout import Layout

if TYPE_CHECKING:  # a recipe says how its run begins
    from rlsparse.learner.learner import Learner
    from rlsparse.run.policy_file import TrainedPolicy
    from rlsparse.run.recipe import Recipe

Read = Callable[[Path], "TrainedPolicy"]
"""Reads a policy file."""


class RandomStart:
    """Parameters are random, and nothing is known of observations and rewards."""

    @property
    def title(self) -> str:
        """Say with what learning begins, if it is worth a word."""
        return ""

    def remarks(self, recipe: "Recipe", layout: Layout, read: Read) -> Iterator[str]:
        """Yield what a user may not expect of the beginning of a learner with this layout; raises UsageError."""
        yield from ()

    def begin(self, learner: "Learner", recipe: "Recipe", read: Read) -> None:
        """Put a learner that has just been built where its first step is taken."""


RANDOM = RandomStart()
