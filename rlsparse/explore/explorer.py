"""ExploRLer at work: keeps the anchors, asks for candidates, has them judged, replaces the policy."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlsparse.errors import EnvironmentFailure
from rlsparse.explore.anchors import Probed, ending_at
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.no_probing import Estimate, NoProbing
from rlsparse.explore.probe import Evidence, Propose
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.arrays import namespace, to_device, to_numpy
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.layout import Layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Rollout
from rlsparse.learner.streams import Purpose, env_seeds, generator
from rlsparse.sim.episodes import STEP_CAP, MemberPolicies, ProbeEpisodes

log = logging.getLogger(__name__)


def searched_slice(layout: Layout, log_std: bool) -> slice:
    """Return which numbers of the flat vector are searched: the actor's, and the action noise's if asked for."""
    actor = layout.group("actor")
    return slice(actor.start, layout.group("log_std").stop) if log_std else actor


def horizon(env: VectorEnv) -> int:
    """Return the most steps of an episode."""
    limit = env.spec.max_episode_steps if env.spec else None
    return min(limit or STEP_CAP, STEP_CAP)


class MemberExplorer(NoProbing):
    """Probing around S learning members. It has random streams of its own, and changes nothing but by accepting."""

    run_episodes: Callable[..., ProbeEpisodes] = ProbeEpisodes

    def __init__(
        self, config: ExploRLer, learner: Learner, env: Callable[[int], VectorEnv], num_envs: int, total_steps: int
    ) -> None:
        """Probe in what `env(n)` gives: n environments that do not reset by themselves."""
        self.config = config
        self._learner = learner
        self._num_envs = num_envs
        self._env = cache(env)
        self._searched = searched_slice(learner.layout, config.search_log_std)
        self.before = learner.params[:, self._searched] * 1
        """The policies that the last update began with, [S, P], where parameters live."""
        self.anchors = self.before[:, None][:, :0]
        """The last points that training went through, [S, K, P], where parameters live."""
        self.schedule = Schedule.begin(config, total_steps, horizon(self._env(1)), learner.members)
        """When to probe; it counts iterations and probes."""

    def _incumbent(self) -> np.ndarray:
        return to_numpy(self._learner.params[:, self._searched]).astype(np.float64)

    # Anchors and turns

    def after_epoch(self) -> None:
        """Take an anchor, if epochs are anchors."""
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
        steps = int(self._learner.counters.train.max())
        if self.schedule.takes_anchor(steps):
            self._take_anchor()
        self.schedule = self.schedule.after_iteration(steps)

    def _take_anchor(self) -> None:
        new = self._learner.params[:, None, self._searched]
        self.anchors = namespace(new).concatenate([self.anchors, new], 1)[:, -self.config.num_anchors :]

    def _all_ready(self) -> bool:
        return bool(self.schedule.ready(self._learner.counters, self.anchors.shape[1]).all())

    def due(self) -> np.ndarray:
        """Return the members that probe by episodes now, [n] indices: whose turn it is, and who can pay for it."""
        return np.flatnonzero(self.schedule.due(self._learner.counters, self.anchors.shape[1]))

    def ended(self) -> np.ndarray:
        """Which members have made their last probe and learn no more, [S] bool."""
        return self.schedule.ended(self._learner.counters, self.anchors.shape[1])

    @property
    def cycles(self) -> np.ndarray:
        """Probes that each member has made, [S] int64."""
        return self.schedule.cycles

    # Probes by episodes

    def probe(self, members: np.ndarray, stop: Callable[[], bool]) -> Choice:
        """Probe around the members (indices) by episodes, and replace the policies of those that found better.

        An environment that fails rejects the probe of all of them. Raises Interrupted, with nothing changed, when
        `stop` says so.
        """
        learner, config, incumbent = self._learner, self.config.of(members), self._incumbent()[members]
        evaluate, longest = self._episodes(members, stop), np.zeros(len(members), np.int64)  # 0: not known
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # candidates may diverge, and count as failed
                choice = config.probe(incumbent, self._propose(members), config.proposal.rounds, evaluate)
        except EnvironmentFailure as error:
            reason = " ".join(f"failed: {error}".split())
            names = ", ".join(f"seed {learner.seeds[m]}" for m in members)
            log.warning("a probe of %s %s; the policy stays as it is", names, reason)
            choice = Choice.rejected(incumbent, evaluate.steps, reason)
        else:
            longest = evaluate.longest
        learner.counters.probe[members] += choice.steps
        self.schedule = self.schedule.after_episodes(members, choice.steps, longest, evaluate.exhausted)
        self._apply(members, choice)
        return choice

    def _episodes(self, members: np.ndarray, stop: Callable[[], bool]) -> ProbeEpisodes:
        learner, probe = self._learner, self.config.probe
        cycles = self.schedule.cycles[members] if self.config.fresh_seeds else np.zeros(len(members), np.int64)

        def seeds(purpose: Purpose) -> list[list[int]]:
            owners = zip(members, cycles, strict=True)
            return [env_seeds(learner.seeds[m], purpose, probe.seeds_needed, int(cycle)) for m, cycle in owners]

        noise = seeds("probe_noise") if probe.stochastic else None
        allowance = self.schedule.allowance(learner.counters)[members]
        policies = MemberPolicies(learner, members, self._searched, noise)
        return self.run_episodes(policies, self._env, seeds("probe_env"), allowance, stop, learner.simulated_on)

    def _propose(self, members: np.ndarray) -> Propose:
        learner, proposal = self._learner, self.config.of(members).proposal
        anchors = ending_at(to_numpy(self.anchors)[members].astype(np.float64), self._incumbent()[members])
        streams = [generator(learner.seeds[m], "propose", int(self.schedule.cycles[m])) for m in members]

        def propose(probed: Probed) -> np.ndarray:
            return learner.sparsity.project(proposal(anchors, probed, streams), members, self._searched)

        return propose

    def _apply(self, members: np.ndarray, choice: Choice) -> None:
        """Go on from the chosen points."""
        learner = self._learner
        for row in np.flatnonzero(choice.accepted):
            member = members[row]
            learner.params[member, self._searched] = to_device(choice.point[row].astype(np.float32), learner.device)
            learner.optimiser.forget(int(member), self.config.moments, self._searched)

    # Probes by rollouts

    def acting(self) -> np.ndarray | None:
        """Return the actors that take the next rollout's steps, [S, N, P]; None: the members' own."""
        if not self.config.probe.acts or not self._all_ready():
            return None
        return self.config.probe.acting(self._propose(self._members), self._incumbent(), self._num_envs)

    def judge(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        """Judge candidates by a rollout that no gradient has seen yet; None where there is nothing to judge.

        What the candidates did counts as they did it, not corrected for what the incumbents would have done.
        """
        choice = self._judged(rollout, estimate, acting)
        if choice is not None:
            self.schedule = self.schedule.after_probe(self._members)
            self._apply(self._members, choice)
        self.before[...] = self._learner.params[:, self._searched]
        return choice

    def _judged(self, rollout: Rollout, estimate: Estimate, acting: np.ndarray | None) -> Choice | None:
        probe = self.config.probe
        if probe.spends or (acting is None if probe.acts else not self._all_ready()):
            return None
        advantage = np.moveaxis(to_numpy(estimate(replace(rollout, own_log_prob=None)).advantage), 1, 0)
        propose, rounds = self._propose(self._members), self.config.proposal.rounds
        log_ratio = partial(self._log_ratio, rollout=rollout)
        return probe.judge(Evidence(self._incumbent(), acting, advantage, log_ratio, propose, rounds))

    def _log_ratio(self, points: np.ndarray, rollout: Rollout) -> np.ndarray:
        """Log of how much more likely points [S, C, P] would have acted as the rollout did, [S, C, T, N]."""
        obs, action, behaviour = (x.swapaxes(0, 1) for x in (rollout.obs, rollout.action, rollout.log_prob))
        each_step = obs.reshape(len(obs), -1, obs.shape[-1])
        ratios = []
        for candidate in np.moveaxis(points, 1, 0):
            actors = self._learner.actors_at(candidate[:, None], self._searched, self._members)
            mean, log_std = actors.distribution(each_step)
            noise = (action.reshape(mean.shape) - mean) / namespace(mean).exp(log_std)
            ratios.append(to_numpy(gaussian_log_prob(noise, log_std).reshape(behaviour.shape) - behaviour))
        return np.stack(ratios, 1)

    @property
    def _members(self) -> np.ndarray:
        """All of them, [S] indices."""
        return np.arange(self._learner.members)

    def around(self, member: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Propose]:
        """Return what one member's last update went through, in float64, and what proposes candidates now.

        That is the policy before and after it, [P] each, and the anchors [K, P], equal neighbours once.
        """
        anchors = to_numpy(self.anchors)[member].astype(np.float64)
        moved = np.append(True, (anchors[1:] != anchors[:-1]).any(1))
        before = to_numpy(self.before)[member].astype(np.float64)
        return before, self._incumbent()[member], anchors[moved], self._propose(np.array([member]))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return all that probing goes on from."""
        schedule = self.schedule
        count = np.array([schedule.anchored_at, schedule.iterations])
        return {"anchors": to_numpy(self.anchors), "count": count, **schedule.of_members()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what `state_dict` gave."""
        self.anchors = to_device(state["anchors"].copy(), self._learner.device)
        anchored_at, iterations = state["count"].tolist()
        of_members: dict[str, Any] = {name: state[name].copy() for name in self.schedule.of_members()}
        self.schedule = replace(self.schedule, iterations=iterations, anchored_at=anchored_at, **of_members)
