"""A cell of a study: one agent on one environment with one setting, and its seeds; an ordinary run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsparse.run.recipe import Recipe


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    agent: str
    """The agent's name, as the run directory will tell it."""
    recipe: Recipe
    """Environment, setting and seeds are in it."""
    asked: tuple[str, ...]
    """What was asked for of the recipe that a short budget would change otherwise, as `planned` takes it."""
    folder: Path
    """Its run directory, which need not exist yet."""
    label: str
    """Arm and setting in a few words, for tables: "ppo, learning_rate 0.001"."""
    arm: str = ""
    """The arm's name."""
    setting: dict[str, Any] = field(default_factory=dict, hash=False)
    """Value of each swept field, by dotted name."""
