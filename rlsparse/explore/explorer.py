"""ExploRLer at work: keeps the anchors, asks for candidates, has them judged, replaces the policy."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import EnvironmentFailure
from rlsparse.explore.anchors import Probed
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes, Propose, Racing
from rlsparse.explore.surrogate import Surrogate, block_scores
from rlsparse.learner.arrays import namespace, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.layout import Layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import action_mean
from rlsparse.learner.records import Advantages, Rollout
from rlsparse.learner.streams import Purpose, env_seeds, generator
from rlsparse.sim.episodes import STEP_CAP, ProbeEpisodes

log = logging.getLogger(__name__)

Estimate = Callable[[Rollout], Advantages]
"""The run's advantage estimator."""


def searched_slice(layout: Layout, log_std: bool) -> slice:
    """Return which numbers of the flat vector are searched: the actor's, and the action noise's if asked for."""
    actor = layout.group("actor")
    return slice(actor.start, layout.group("log_std").stop) if log_std else actor


class NoProbing:
    """The explorer of a run that does not probe: nothing is due, nothing is judged, and it costs nothing."""

    def acting(self) -> np.ndarray | None:
        """Return the actors that take the next rollout's steps, [S, N, P]; None: the members' own."""
        return None

    def judge(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        """Judge candidates by a rollout that no gradient has seen yet; None where there is nothing to judge."""
        return None

    def after_epoch(self) -> None:
        """An epoch of the update is over."""

    def after_iteration(self, skipped_epochs: int = 0) -> None:
        """An iteration is over, and its update left out so many epochs."""

    def due(self) -> np.ndarray:
        """Return the members that probe by episodes now, [n] indices: whose turn it is, and who can pay for it."""
        return np.zeros(0, np.int64)

    def ended(self) -> np.ndarray:
        """Which members have made their last probe and learn no more, [S] bool, or [1] for all."""
        return np.zeros(1, bool)

    @property
    def cycles(self) -> np.ndarray:
        """Probes that each member has made, [S] int64, or [1] for all."""
        return np.zeros(1, np.int64)

    def probe(self, members: np.ndarray, stop: Callable[[], bool]) -> Choice:
        """Probe around the members (indices) by episodes; only those that are due are probed."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that probing goes on from."""
        return {}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""


class Explorer(NoProbing):
    """Probing around S learning members. It has random streams of its own, and changes nothing but by accepting."""

    def __init__(
        self, config: ExploRLer, learner: Learner, env: Callable[[int], VectorEnv], num_envs: int, total_steps: int
    ) -> None:
        """Probe in what `env(n)` gives: n environments that do not reset by themselves."""
        self.config = config
        self._learner = learner
        self._num_envs, self._total_steps = num_envs, total_steps
        self._env = cache(env)
        self._searched = searched_slice(learner.layout, config.search_log_std)
        size = self._searched.stop - self._searched.start
        self.anchors = to_device(np.zeros((learner.members, 0, size), np.float32), learner.device)
        """The last points that training went through, [S, K, P], where parameters live."""
        self.anchored_at = 0
        self.iterations = 0
        self._cycles = np.zeros(learner.members, np.int64)
        self.last_probe = np.zeros(learner.members, np.int64)
        self.longest = np.full(learner.members, STEP_CAP, np.int64)
        self.idle = np.zeros(learner.members, bool)

    @property
    def cycles(self) -> np.ndarray:
        """Probes that each member has made, [S] int64."""
        return self._cycles

    def _incumbent(self) -> np.ndarray:
        return to_numpy(self._learner.params[:, self._searched]).astype(np.float64)

    def after_epoch(self) -> None:
        """Take an anchor, if epochs are anchors and one is due."""
        if self.config.anchors == "epochs":
            self._take_anchor()

    def after_iteration(self, skipped_epochs: int = 0) -> None:
        """Take an anchor, if iterations are anchors and one is due; else one for each epoch that was skipped.

        Members that end their update early stay as they are during others' epochs, and so they do alone. Anchors
        follow the weights that sparse networks have just exchanged.
        """
        self._learner.sparsity.clear(self.anchors, self._searched)
        for _ in range(skipped_epochs):
            self.after_epoch()
        self.iterations += 1
        steps = int(self._learner.counters.train.max())
        between = self.config.anchor_span * self._total_steps / self.config.num_anchors
        if self.config.anchors == "iterations" and steps - self.anchored_at >= between:
            self.anchored_at = steps
            self._take_anchor()

    def _take_anchor(self) -> None:
        new = self._learner.params[:, None, self._searched]
        self.anchors = namespace(new).concatenate([self.anchors, new], 1)[:, -self.config.num_anchors :]

    def _ready(self) -> np.ndarray:
        """Whose turn it is, budget apart, [S] bool."""
        learner, config = self._learner, self.config
        begun = learner.counters.total >= config.start * self._total_steps
        waited = config.finish | (self.iterations - self.last_probe >= config.every)
        unfinished = learner.counters.total < self._total_steps
        return begun & waited & unfinished & (self.anchors.shape[1] == config.num_anchors)

    def allowance(self) -> np.ndarray:
        """Steps that each member may spend on probing now, [S] int64."""
        counters, share = self._learner.counters, self.config.budget_fraction
        left = np.maximum(self._total_steps - counters.total, 0)
        if share >= 1.0:
            return left
        return np.clip(np.floor(share / (1.0 - share) * counters.train).astype(np.int64) - counters.probe, 0, left)

    def due(self) -> np.ndarray:
        """Return the members that probe by episodes now, [n] indices: those that can pay for it.

        A probe is taken to need as many steps as if every episode were as long as the longest of the one before, or
        twice that if the one before ran out of steps.
        """
        if not isinstance(self.config.probe, Episodes | Racing):
            return np.zeros(0, np.int64)
        cost = episodes_per_probe(self.config) * np.minimum(self.longest, horizon(self._env(1)))
        repeats = self.config.finish & self.idle  # a probe that took no step would be due again for ever
        return np.flatnonzero(self._ready() & (self.allowance() >= cost) & ~repeats)

    def ended(self) -> np.ndarray:
        """Which members have done their last probe and learn no more, [S] bool; without any they go on learning."""
        can_pay = np.isin(np.arange(self._learner.members), self.due())
        return self.config.finish & (self.cycles > 0) & ~can_pay

    def probe(self, members: np.ndarray, stop: Callable[[], bool]) -> Choice:
        """Probe around the members (indices) by episodes, and replace the policies of those that found better.

        An environment that fails rejects the probe of all of them. Raises Interrupted, with nothing changed, when
        `stop` says so.
        """
        probe, learner = self.config.probe, self._learner
        assert isinstance(probe, Episodes | Racing)
        evaluate = self._episodes(members, probe, stop)
        incumbent = self._incumbent()[members]
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # candidates may diverge, and count as failed
                choice = probe(incumbent, self._propose(members), self.config.proposal.rounds, evaluate)
        except EnvironmentFailure as error:
            reason = " ".join(f"failed: {error}".split())
            names = ", ".join(f"seed {learner.seeds[m]}" for m in members)
            log.warning("a probe of %s %s; the policy stays as it is", names, reason)
            choice = Choice.rejected(incumbent, evaluate.steps, reason)
        else:
            lived = np.where(evaluate.exhausted, 2 * evaluate.longest, evaluate.longest)
            self.longest[members] = np.where(lived > 0, lived, self.longest[members])
        learner.counters.probe[members] += choice.steps
        self.idle[members] = choice.steps == 0
        self._apply(members, choice)
        return choice

    def _episodes(self, members: np.ndarray, probe: Episodes | Racing, stop: Callable[[], bool]) -> ProbeEpisodes:
        wanted = sum(probe.episodes) + probe.duel if isinstance(probe, Racing) else probe.episodes
        cycles = self.cycles[members] if self.config.fresh_seeds else np.zeros(len(members), np.int64)

        def seeds(purpose: Purpose) -> list[list[int]]:
            owners = zip(members, cycles, strict=True)
            return [env_seeds(self._learner.seeds[m], purpose, wanted, int(cycle)) for m, cycle in owners]

        noise = seeds("probe_noise") if probe.stochastic else None
        allowance = self.allowance()[members]
        return ProbeEpisodes(
            self._learner, members, self._searched, self._env, seeds("probe_env"), allowance, noise, stop
        )

    def _propose(self, members: np.ndarray) -> Propose:
        anchors, incumbent = to_numpy(self.anchors)[members].astype(np.float64), self._incumbent()[members, None]
        newer = (anchors[:, -1:] != incumbent).any(2, keepdims=True)
        anchors = np.where(newer, np.concatenate([anchors[:, 1:], incumbent], 1), anchors)
        streams = [generator(self._learner.seeds[m], "propose", int(self.cycles[m])) for m in members]
        sparsity = self._learner.sparsity

        def propose(probed: Probed) -> np.ndarray:
            return sparsity.project(self.config.proposal(anchors, probed, streams), members, self._searched)

        return propose

    def _apply(self, members: np.ndarray, choice: Choice) -> None:
        """Go on from the chosen points, and note that these members have probed."""
        learner = self._learner
        self.cycles[members] += 1
        self.last_probe[members] = self.iterations
        for row in np.flatnonzero(choice.accepted):
            member = members[row]
            learner.params[member, self._searched] = to_device(choice.point[row].astype(np.float32), learner.device)
            learner.optimiser.forget(int(member), self.config.moments, self._searched)

    def acting(self) -> np.ndarray | None:
        """Return the actors that take the next rollout's steps, [S, N, P]; None: the members' own."""
        probe = self.config.probe
        if not isinstance(probe, InRollout) or not self._ready().all():
            return None
        members, incumbent = np.arange(self._learner.members), self._incumbent()
        proposed = self._propose(members)(Probed.nothing(incumbent))
        return probe.spread(proposed, incumbent, self._num_envs)

    def judge(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        """Judge candidates by a rollout that no gradient has seen yet; None where there is nothing to judge."""
        probe, members = self.config.probe, np.arange(self._learner.members)
        if not isinstance(probe, InRollout | Surrogate):
            return None
        advantage = np.moveaxis(to_numpy(estimate(replace(rollout, own_log_prob=None)).advantage), 1, 0)
        if isinstance(probe, InRollout) and acting is not None:
            choice = probe.choose(acting, self._incumbent(), advantage)
        elif isinstance(probe, Surrogate) and self._ready().all():
            evaluate = _RolloutScores(self._learner, self._searched, rollout, advantage)
            choice = probe(self._incumbent(), self._propose(members), self.config.proposal.rounds, evaluate)
        else:
            return None
        self._apply(members, choice)
        return choice

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that probing goes on from."""
        return {
            "anchors": to_numpy(self.anchors),
            "count": np.array([self.anchored_at, self.iterations]),
            "cycles": self.cycles,
            "last_probe": self.last_probe,
            "longest": self.longest,
            "idle": self.idle,
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        self.anchors, self._cycles = to_device(state["anchors"].copy(), self._learner.device), state["cycles"].copy()
        self.last_probe, self.longest = state["last_probe"].copy(), state["longest"].copy()
        self.idle = state["idle"].copy()
        self.anchored_at, self.iterations = state["count"].tolist()


class _RolloutScores:
    """Surrogate scores of points on one rollout, in the form in which episodes are scored."""

    def __init__(self, learner: Learner, searched: slice, rollout: Rollout, advantage: np.ndarray) -> None:
        self._learner, self._searched, self._advantage = learner, searched, advantage
        self.steps = np.zeros(learner.members, np.int64)
        self.exhausted = np.zeros(learner.members, bool)
        obs = np.moveaxis(rollout.obs, 1, 0)
        self._shape = obs.shape[1:3]
        self._obs = learner.obs_scale()(obs.reshape(*obs.shape[:1], -1, obs.shape[-1]))
        self._action = np.moveaxis(rollout.action, 1, 0).reshape(*self._obs.shape[:2], -1)
        self._log_prob = np.moveaxis(rollout.log_prob, 1, 0)

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return block scores of every point [S, C, P]; [S, C, count]."""
        layout, device = self._learner.layout, self._learner.device
        ratios = []
        for candidate in np.moveaxis(points, 1, 0):
            params = to_numpy(self._learner.params).copy()
            params[:, self._searched] = candidate
            mean = to_numpy(action_mean(layout, to_device(params, device), to_device(self._obs, device)))
            log_std = layout.log_std(params)[:, None, :]
            log_prob = gaussian_log_prob((self._action - mean) / np.exp(log_std), log_std)
            ratios.append(log_prob.reshape(-1, *self._shape) - self._log_prob)
        return block_scores(np.stack(ratios, 1), self._advantage, count)


def episodes_per_probe(config: ExploRLer) -> int:
    """Return how many episodes one probe runs at most."""
    probe, proposal = config.probe, config.proposal
    if isinstance(probe, Episodes | Racing):
        return probe.episodes_for(proposal.count(config.num_anchors), proposal.rounds)
    return 0


def horizon(env: VectorEnv) -> int:
    """Return the most steps of an episode."""
    limit = env.spec.max_episode_steps if env.spec else None
    return min(limit or STEP_CAP, STEP_CAP)


def account(choice: Choice, members: np.ndarray, learner: Learner, cycles: np.ndarray) -> list[dict[str, Any]]:
    """Return one row of probe.csv for each member that probed."""
    rows = []
    for row, member in enumerate(members):
        best = choice.best[row]
        rows.append(
            {
                "seed": learner.seeds[member],
                "cycle": cycles[member],
                "total_steps": learner.counters.total[member],
                "train_steps": learner.counters.train[member],
                "probe_steps": learner.counters.probe[member],
                "steps": choice.steps[row],
                "accepted": int(choice.accepted[row]),
                "reason": choice.reason[row],
                "probability": choice.probability[row],
                "best": best,
                "best_score": choice.score[row, best],
                "best_error": choice.error[row, best],
                "incumbent_score": choice.score[row, 0],
                "incumbent_error": choice.error[row, 0],
                "scores": " ".join(f"{x:.6g}" for x in choice.score[row]),
                "errors": " ".join(f"{x:.3g}" for x in choice.error[row]),
            }
        )
    return rows
