"""The best evaluated policy of each member so far: a maximum over evaluations, so it was selected and is no score."""

from pathlib import Path

import numpy as np

from rlsparse.learner.learner import Learner
from rlsparse.run.policy_file import Best, policy_arrays, save
from rlsparse.run.recipe import Recipe
from rlsparse.run.status import BEST


class BestPolicies:
    """What a policy file of S members holds, each as it was at its best evaluation; of equal ones, the first."""

    def __init__(self, learner: Learner) -> None:
        members = learner.members
        self._score = np.full(members, -np.inf)
        self._steps = np.zeros(members, np.int64)
        self._evaluations = np.zeros(members, np.int64)
        self._arrays = {name: np.array(x) for name, x in policy_arrays(learner).items()}

    def observe(self, learner: Learner, due: np.ndarray, returns: np.ndarray) -> None:
        """Take note of an evaluation of the members that were `due` [S] bool; `returns` [S] are its means."""
        self._evaluations += due
        better = due & (returns > self._score)
        if better.any():
            self._score[better], self._steps[better] = returns[better], learner.counters.total[better]
            for name, x in policy_arrays(learner).items():
                self._arrays[name][better] = x[better]

    def write(self, folder: Path, recipe: Recipe, learner: Learner) -> None:
        """Write the policies, atomically, once every member has been evaluated."""
        if self._evaluations.all():
            numbers = zip(self._score.tolist(), self._steps.tolist(), self._evaluations.tolist(), strict=True)
            save(folder / BEST, recipe, learner, self._arrays, [Best(*each) for each in numbers])

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all arrays from which it goes on."""
        numbers = {"score": self._score, "steps": self._steps, "evaluations": self._evaluations}
        return numbers | {f"policy.{name}": x for name, x in self._arrays.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `state_dict` returned."""
        self._score, self._steps, self._evaluations = (state[x].copy() for x in ("score", "steps", "evaluations"))
        self._arrays = {name: state[f"policy.{name}"].copy() for name in self._arrays}
