"""ExploRLer as a callback: probes around the policy of PPO, A2C or TRPO while Stable-Baselines3 trains it.

model = PPO("MlpPolicy", "HalfCheetah-v5")
model.learn(1_000_000, callback=ExploRLerCallback(budget_fraction=0.2))
"""

import logging
import math
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EventCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rlsparse.errors import UsageError
from rlsparse.explore.anchors import ending_at
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Propose
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.streams import env_seeds, generator
from rlsparse.run.probe_report import Report, waits_for
from rlsparse.run.records import probe_rows
from rlsparse.run.torch_loop import configuration
from rlsparse.run.torch_parameters import forget, undisturbed
from rlsparse.sb3.actor import Actor
from rlsparse.sb3.environments import MakeEnv, environments
from rlsparse.sb3.episodes import candidate_episodes
from rlsparse.sb3.report import Records
from rlsparse.sb3.supported import refuse
from rlsparse.sim.episodes import ProbeEpisodes

log = logging.getLogger(__name__)

GAIN_EPISODES = 5
"""Pairs of fresh episodes on which the gain of an accepted candidate is measured."""

EVAL_EPISODES = 10
"""Episodes of each evaluation in progress.csv, as in our own runs."""

EVALUATIONS = 20
"""Evaluations in progress.csv over the budget, beside that before the first step."""

UNLIMITED = int(np.iinfo(np.int64).max)

MEMBER = np.zeros(1, np.int64)
"""A model of Stable-Baselines3 is one member, number 0."""


class ExploRLerCallback(BaseCallback):
    """Looks around the policy between updates, and replaces it by a candidate that proves better.

    `explore` is a configuration or the name of an agent card whose [recipe.explore] is taken; `budget_fraction`
    replaces its own: the share of all steps that probing may take, 0 for none. `make_env` makes one environment to
    probe in, where that cannot be known from the model's. In the folder `out` progress.csv and probe.csv are written.
    `seed` is of the probes' random streams: the model's, or any, if not given. With `verbose` 1, each probe is printed.

    Raises UsageError, as learning begins, for what it does not support.
    """

    def __init__(
        self,
        explore: ExploRLer | str | None = None,
        budget_fraction: float | None = None,
        make_env: MakeEnv | None = None,
        out: str | Path | None = None,
        seed: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self._explore, self._budget_fraction, self._make_env = explore, budget_fraction, make_env
        self._records = Records(None if out is None else Path(out))
        self._given_seed = seed
        self._known: OnPolicyAlgorithm | None = None
        self._hook: Any = None
        self._schedule = Schedule.begin(ExploRLer(), 0, 0, 1)
        self._report = Report()

    def report(self) -> Report:
        """Return what probing has cost and brought so far."""
        return self._report

    @property
    def _algorithm(self) -> OnPolicyAlgorithm:
        return cast(OnPolicyAlgorithm, self.model)

    @property
    def _cycle(self) -> int:
        return int(self._schedule.cycles[0])

    def _init_callback(self) -> None:
        if isinstance(self.parent, EventCallback):
            raise UsageError(
                f"{type(self.parent).__name__} passes no rollouts on: give ExploRLerCallback to learn(), "
                "alone or in a list"
            )
        refuse(self.model)

    def _on_training_start(self) -> None:
        model = self._algorithm
        with undisturbed(model.policy, model.device):
            self._environments = environments(model, self._make_env)
            self._config = configuration(
                self._explore, self._budget_fraction, self._environments.env_id, "with Stable-Baselines3"
            )
            if self._config.probe.stochastic and model.use_sde:
                raise UsageError("stochastic probes draw independent noise, which gSDE does not: use stochastic=False")
            self._actor = Actor(model, self._config.search_log_std)
        if model is not self._known or model.num_timesteps == 0:
            self._begin(model)
        total_steps, horizon = int(self.locals["total_timesteps"]), self._environments.horizon
        self._schedule = replace(self._schedule, config=self._config, total_steps=total_steps, horizon=horizon)
        self._updated = self._spent = False
        self._gradient_steps = 0
        self._steps_per_epoch = _steps_per_epoch(model)
        if self._hook is not None:  # of a learn() that an exception ended
            self._hook.remove()
        if self._config.anchors == "epochs" and self._steps_per_epoch is not None:
            self._hook = model.policy.optimizer.register_step_post_hook(self._after_gradient_step)
        self._records.open(model)
        self._count()

    def _begin(self, model: OnPolicyAlgorithm) -> None:
        """Begin anew, with this model or with its steps counted from zero."""
        self._known = model
        seed = self._given_seed if self._given_seed is not None else model.seed
        self._seed = seed if seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        self._anchors: deque[np.ndarray] = deque(maxlen=self._config.num_anchors)
        schedule = Schedule.begin(self._config, 0, self._environments.horizon, 1, kept_for_training=model.n_envs)
        # further probes of this callback have seeds of their own
        self._schedule = replace(schedule, cycles=self._schedule.cycles)
        self._evaluated_at = -1
        self._report = Report()
        self._started = time.monotonic()
        if model.num_timesteps == 0 or not hasattr(model, "num_probe_timesteps"):
            model.num_probe_timesteps = 0  # type: ignore[attr-defined] # a number of the model's, saved with it
        self._report.probe_steps = model.num_probe_timesteps  # type: ignore[attr-defined]

    def _count(self) -> None:
        self._report.train_steps = self._algorithm.num_timesteps - self._report.probe_steps

    def _after_gradient_step(self, *_: Any) -> None:
        self._gradient_steps += 1
        assert self._steps_per_epoch is not None
        if self._gradient_steps % self._steps_per_epoch == 0:
            self._take_anchor()

    def _take_anchor(self) -> None:
        self._anchors.append(self._actor.read().astype(np.float32))

    def _on_rollout_start(self) -> None:
        self._between_updates()

    def _on_step(self) -> bool:
        return not self._spent

    def _on_rollout_end(self) -> None:
        self._updated = True  # by what comes next
        self._gradient_steps = 0

    def _on_training_end(self) -> None:
        self._between_updates()
        self._evaluate(last=True)
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self._report.probes:
            self.logger.dump(self.model.num_timesteps)

    def _between_updates(self) -> None:
        """What happens where the policy may be replaced: no rollout and no update knows the one before."""
        self._count()
        if self._updated:
            self._after_update()
        self._evaluate()
        again = self._updated
        while again and self._due():
            self._evaluate()
            again = self._probe() and self._config.finish
            self._spent = again or not self._schedule.left(self._report.steps)[0]
        self._updated = False

    def _after_update(self) -> None:
        for i, anchor in enumerate(self._anchors):  # a sparse network may have exchanged weights
            self._anchors[i] = self._actor.project(anchor)
        train_steps = self._report.train_steps
        whole_epochs = self._steps_per_epoch is not None and self._gradient_steps % self._steps_per_epoch == 0
        unnoticed = self._config.anchors == "epochs" and not (whole_epochs and self._gradient_steps)
        if unnoticed or self._schedule.takes_anchor(train_steps):
            self._take_anchor()
        self._schedule = self._schedule.after_iteration(train_steps)

    def _due(self) -> bool:
        """Whether to probe now; if not, the report says why."""
        steps, anchors = self._report.steps, len(self._anchors)
        self._report.waits_for = waits_for(self._schedule, steps, anchors) or self._report.waits_for
        return bool(self._schedule.due(steps, anchors)[0])

    def _probe(self) -> bool:
        """Probe, and replace the policy if something better is found; whatever fails leaves the policy as it is.

        Returns whether it was a probe: one that failed, or that took no step, would only do so again.
        """
        config, report = self._config, self._report
        incumbent, longest, returns = self._actor.read(), np.zeros(1, np.int64), None
        evaluate = self._episodes()
        try:
            with (
                undisturbed(self._algorithm.policy, self._algorithm.device),
                np.errstate(over="ignore", invalid="ignore"),
            ):
                propose, rounds = self._propose(incumbent), config.proposal.rounds
                choice = config.probe(incumbent[None], propose, rounds, evaluate)
                if choice.accepted[0]:
                    fresh = {"episodes": GAIN_EPISODES, "number": 1 + self._cycle}
                    returns, _ = self._measured(incumbent, choice.point[0], **fresh)
                    self._actor.write(choice.point[0])
        except Exception as error:
            self._actor.write(incumbent)
            reason = f"failed: {' '.join(str(error).split())}"
            log.warning("a probe %s; the policy stays as it was", reason)
            choice = Choice.rejected(incumbent[None], evaluate.steps, reason)
            report.failed += 1
        else:
            longest = evaluate.longest
        self._schedule = self._schedule.after_episodes(MEMBER, choice.steps, longest, evaluate.exhausted)
        self._settle(choice, returns)
        return not choice.reason[0].startswith("failed") and bool(choice.steps[0])

    def _settle(self, choice: Choice, returns: np.ndarray | None) -> None:
        """Count a probe, note it, and tidy up after a policy that was replaced."""
        report, model, steps = self._report, self._algorithm, int(choice.steps[0])
        report.probes += 1
        report.probe_steps += steps
        model.num_timesteps += steps
        model.num_probe_timesteps = report.probe_steps  # type: ignore[attr-defined]
        if choice.accepted[0]:
            report.accepted += 1
            forget(model.policy.optimizer, self._config.moments, self._actor.parameters)
            if model.use_sde:  # the rollout's exploration matrix was drawn before
                model.policy.reset_noise(model.n_envs)
        if returns is not None:
            report.add_gain(returns)
        self._log(choice)

    def _log(self, choice: Choice) -> None:
        report = self._report
        for name in ("probe_steps", "train_steps", "probes", "accepted", "failed", "gain"):
            value = getattr(report, name)
            if not math.isnan(value):
                self.logger.record(f"probe/{name.removeprefix('probe_')}", value)
        best = int(choice.best[0])
        if self.verbose:
            print(
                f"probe at {self.model.num_timesteps:,} steps: {choice.reason[0]}; best candidate "
                f"{choice.score[0, best]:,.1f}, policy {choice.score[0, 0]:,.1f}"
            )
        rows = probe_rows(choice, MEMBER, [self._seed], report.steps, self._schedule.cycles)
        self._records.append("probe.csv", rows)

    def _episodes(self) -> ProbeEpisodes:
        probe, cycle = self._config.probe, self._cycle if self._config.fresh_seeds else 0
        seeds = env_seeds(self._seed, "probe_env", probe.seeds_needed, cycle)
        noise = env_seeds(self._seed, "probe_noise", probe.seeds_needed, cycle) if probe.stochastic else None
        allowance = int(self._schedule.allowance(self._report.steps)[0])
        return candidate_episodes(self._actor, self._environments, seeds, allowance, noise)

    def _propose(self, incumbent: np.ndarray) -> Propose:
        anchors = ending_at(np.stack(self._anchors)[None].astype(np.float64), incumbent[None])
        streams = [generator(self._seed, "propose", self._cycle)]
        return lambda probed: self._actor.project(self._config.proposal(anchors, probed, streams))

    def _measured(self, *points: np.ndarray, episodes: int, number: int) -> tuple[np.ndarray, int]:
        """Return what points [P] give in episodes that nothing is selected on, [1, C, E], and the steps it took.

        Such episodes have a `number`: equal ones begin alike.
        """
        seeds = env_seeds(self._seed, "eval_env", episodes, number)
        evaluate = candidate_episodes(self._actor, self._environments, seeds, UNLIMITED)
        returns, steps = evaluate(np.stack(points)[None], 0, episodes), int(evaluate.steps[0])
        self._report.eval_steps += steps
        return returns, steps

    def _evaluate(self, last: bool = False) -> None:
        """Write a row of progress.csv, if one is due: the return of deterministic episodes, always the same ones."""
        total, before = self.model.num_timesteps, self._evaluated_at
        interval = max(1, self._schedule.total_steps // EVALUATIONS)
        if (
            self._records.out is None
            or total == before
            or not (last or before < 0 or total // interval > before // interval)
        ):
            return
        self._evaluated_at = total
        try:
            with undisturbed(self._algorithm.policy, self._algorithm.device):
                returns, steps = self._measured(self._actor.read(), episodes=EVAL_EPISODES, number=0)
        except Exception as error:
            log.warning("an evaluation failed: %s; training goes on", " ".join(str(error).split()))
            return
        recent = [episode["r"] for episode in self._algorithm.ep_info_buffer or ()]
        row = {
            "seed": self._seed,
            "total_steps": total,
            "train_steps": self._report.train_steps,
            "probe_steps": self._report.probe_steps,
            "eval_steps": self._report.eval_steps,
            "seconds": round(time.monotonic() - self._started, 3),
            "return_mean": returns.mean(),
            "return_std": returns.std(),
            "episodes": EVAL_EPISODES,
            "length_mean": steps / EVAL_EPISODES,
            "train_return_mean": np.mean(recent) if recent else np.nan,
        }
        self._records.append("progress.csv", [row])


def _steps_per_epoch(model: OnPolicyAlgorithm) -> int | None:
    """Gradient steps in one pass of PPO over its rollout; None where an update is one step of the actor."""
    return math.ceil(model.n_steps * model.n_envs / model.batch_size) if isinstance(model, PPO) else None
