"""Probing inside the rollout: candidates act in some of the training environments, and no step is added."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from rlsparse.errors import UsageError
from rlsparse.explore.anchors import Probed
from rlsparse.explore.choice import Choice, mean_and_error, paired_gains, t_test
from rlsparse.explore.probe import Evidence, ProbeKind, Propose
from rlsparse.learner.bounds import FractionAboveZero, Probability, Varying

BLOCKS = 8
"""Stretches of time whose differences give a score's standard error."""


@dataclass(frozen=True)
class InRollout(ProbeKind):
    """Share the next rollout's environments among incumbent and candidates.

    A candidate's score is its mean advantage under the incumbent's critic: the performance-difference lemma (Kakade
    and Langford, 2002). Each step keeps the log-probability of the policy that took it, so the update may use all.
    """

    needs: ClassVar = {
        "critic": "judges candidates by a critic, and needs advantages with one",
        "own-rollout": "judges by the rollout, and needs one of the policy itself",
        "others-actions": "lets candidates act too, and needs an update that corrects for their actions",
        "one-round": "asks for candidates once, and needs a proposal of one round",
    }

    share: FractionAboveZero = 0.5
    """Share of each member's environments in which candidates act, one candidate in each."""
    antithetic: bool = True
    """Let candidates come in pairs, the second opposite to the first."""
    move: Literal["none", "best", "evolution"] = "none"
    """Afterwards stay; go to the best candidate if a paired t-test is sure; or go to the score-weighted mean."""
    level: Varying[Probability] = 0.9
    """How sure "best" must be."""

    def check(self, recipe: Any) -> None:
        """Raise UsageError unless the share leaves the incumbent an environment, and makes candidates enough."""
        num_envs = recipe.num_envs
        candidates, given = self.candidates(num_envs), f"--explore.probe.share {self.share:g} of --num-envs {num_envs}"
        if candidates == num_envs and self.share < 1:
            raise UsageError(
                f"{given} leaves the incumbent no environment: use more environments, a smaller share, or a share of "
                "1 if only candidates shall act"
            )
        if self.move == "evolution" and candidates < 2:
            raise UsageError(
                f'--explore.probe.move "evolution" weighs candidates against each other, but {given} is one: use more '
                "environments"
            )

    acts: ClassVar[bool] = True

    def candidates(self, num_envs: int) -> int:
        """Return how many candidates act."""
        return min(num_envs, max(1, round(self.share * num_envs)))

    def tried(self, proposed: int, num_envs: int) -> int:
        """Return how many candidates act, however many are proposed."""
        return self.candidates(num_envs)

    def acting(self, propose: Propose, incumbent: np.ndarray, num_envs: int) -> np.ndarray:
        """Return who acts in each environment, [S, N, P]: the incumbent [S, P] first, the candidates last.

        What is proposed is used from its first on and over again. In place of a candidate that is not finite in
        float32 the incumbent acts.
        """
        proposed = propose(Probed.nothing(incumbent))
        count = self.candidates(num_envs)
        order = np.arange(count)
        direction = (proposed - incumbent[:, None])[:, (order // 2 if self.antithetic else order) % proposed.shape[1]]
        if self.antithetic:
            direction[:, 1::2] *= -1
        acting = np.repeat(incumbent[:, None], num_envs, 1)
        acting[:, num_envs - count :] += direction
        with np.errstate(over="ignore"):
            finite = np.isfinite(acting.astype(np.float32)).all(-1, keepdims=True)
        return np.where(finite, acting, incumbent[:, None])

    def judge(self, evidence: Evidence) -> Choice:
        """Judge the candidates that acted by the advantages of what they did."""
        acting, incumbent, advantage = evidence.acting, evidence.incumbent, evidence.advantage
        assert acting is not None
        num_envs = acting.shape[1]
        own = num_envs - self.candidates(num_envs)
        parts = np.array_split(advantage, min(BLOCKS, advantage.shape[1]), axis=1)
        blocks = np.stack([part.mean(1, dtype=np.float64) for part in parts], -1)  # [S, N, blocks]
        baseline = blocks[:, :own].mean(1, keepdims=True) if own else np.zeros_like(blocks[:, :1])
        returns = np.concatenate([baseline, blocks[:, own:]], 1)
        score, error = mean_and_error(returns)
        best = 1 + score[:, 1:].argmax(1)
        probability = t_test(*paired_gains(returns), candidates=num_envs - own)
        probability = np.take_along_axis(probability, best[:, None] - 1, 1)[:, 0]
        accepted = {
            "none": np.zeros(len(best), bool),
            "best": probability >= self.level,
            "evolution": np.ones(len(best), bool),
        }[self.move]
        towards = acting[np.arange(len(best)), own + best - 1]
        if self.move == "evolution":
            towards = incumbent + evolution_step(acting[:, own:] - incumbent[:, None], score[:, 1:])
        reason = tuple("accepted" if a else "never moves" if self.move == "none" else "no evidence" for a in accepted)
        point = np.where(accepted[:, None], towards, incumbent)
        return Choice(score, error, best, probability, accepted, reason, np.zeros(len(best), np.int64), point)


def evolution_step(direction: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Score-weighted mean of directions [S, C, P], the weights [S, C] centred and of absolute sum 1; [S, P].

    No longer than the longest direction. Source: natural evolution strategies, Wierstra et al., arXiv 1106.4487.
    """
    centred = score - score.mean(1, keepdims=True)
    total = np.abs(centred).sum(1, keepdims=True)
    weight = np.divide(centred, total, out=np.zeros_like(centred), where=total > 0)
    return np.einsum("sc,scp->sp", weight, direction)
