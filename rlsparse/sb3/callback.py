"""ExploRLer as a callback: probes around the policy of PPO, A2C or TRPO while Stable-Baselines3 trains it.

model = PPO("MlpPolicy", "HalfCheetah-v5")
model.learn(1_000_000, callback=ExploRLerCallback(budget_fraction=0.2))
"""

import logging
import math
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EventCallback
from stable_baselines3.common.logger import CSVOutputFormat
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch.optim import Optimizer

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorer import account, episodes_per_probe
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.learner.learner import Learner
from rlsparse.learner.records import Counters
from rlsparse.learner.streams import Purpose, env_seeds, generator
from rlsparse.run.directory import Run
from rlsparse.sb3.actor import Actor
from rlsparse.sb3.configuration import configuration
from rlsparse.sb3.environments import MakeEnv, environments
from rlsparse.sb3.episodes import CandidateEpisodes, undisturbed
from rlsparse.sb3.report import Report
from rlsparse.sb3.supported import refuse

log = logging.getLogger(__name__)

GAIN_EPISODES = 5
"""Pairs of fresh episodes on which the gain of an accepted candidate is measured."""

EVAL_EPISODES = 10
"""Episodes of each evaluation in progress.csv, as in our own runs."""

EVALUATIONS = 20
"""Evaluations in progress.csv over the budget, beside that before the first step."""

UNLIMITED = int(np.iinfo(np.int64).max)


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
        self._out = None if out is None else Path(out)
        self._given_seed = seed
        self._known: OnPolicyAlgorithm | None = None
        self._hook: Any = None
        self._cycle = 0
        self._report = Report()

    def report(self) -> Report:
        """Return what probing has cost and brought so far."""
        return self._report

    @property
    def _algorithm(self) -> OnPolicyAlgorithm:
        return cast(OnPolicyAlgorithm, self.model)

    def _init_callback(self) -> None:
        if isinstance(self.parent, EventCallback):
            raise UsageError(
                f"{type(self.parent).__name__} passes no rollouts on: give ExploRLerCallback to learn(), "
                "alone or in a list"
            )
        refuse(self.model)

    def _on_training_start(self) -> None:
        model = self._algorithm
        self._total_steps = int(self.locals["total_timesteps"])
        with undisturbed(model.policy):
            self._environments = environments(model, self._make_env)
            self._config = configuration(
                self._explore, self._budget_fraction, self._environments.env_id, model.n_envs, model.use_sde
            )
            self._actor = Actor(model, self._config.search_log_std)
        if model is not self._known or model.num_timesteps == 0:
            self._begin(model)
        self._updated = self._spent = False
        self._gradient_steps = 0
        self._steps_per_epoch = _steps_per_epoch(model)
        if self._hook is not None:  # of a learn() that an exception ended
            self._hook.remove()
        if self._config.anchors == "epochs" and self._steps_per_epoch is not None:
            self._hook = model.policy.optimizer.register_step_post_hook(self._after_gradient_step)
        self._open_records(model)
        self._count()

    def _begin(self, model: OnPolicyAlgorithm) -> None:
        """Begin anew, with this model or with its steps counted from zero."""
        self._known = model
        self._seed = self._given_seed if self._given_seed is not None else model.seed
        if self._seed is None:
            self._seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._anchors: deque[np.ndarray] = deque(maxlen=self._config.num_anchors)
        self._anchored_at = self._iterations = self._last_probe = 0
        self._longest = self._environments.horizon
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
            self._spent = again or not self._left()
        self._updated = False

    def _after_update(self) -> None:
        self._iterations += 1
        for i, anchor in enumerate(self._anchors):  # a sparse network may have exchanged weights
            self._anchors[i] = self._actor.project(anchor)
        config, train_steps = self._config, self._report.train_steps
        if config.anchors == "epochs":
            whole_epochs = self._steps_per_epoch is not None and self._gradient_steps % self._steps_per_epoch == 0
            if not (whole_epochs and self._gradient_steps):
                self._anchors.append(self._actor.read().astype(np.float32))
        elif train_steps - self._anchored_at >= config.anchor_span * self._total_steps / config.num_anchors:
            self._anchored_at = train_steps
            self._anchors.append(self._actor.read().astype(np.float32))

    def _left(self) -> int:
        """Steps left of the budget, less one step of each environment, in which learning ends."""
        return max(self._total_steps - self.model.num_timesteps - self._algorithm.n_envs, 0)

    def _allowance(self) -> int:
        """Steps that may be spent on probing now."""
        share, report, left = self._config.budget_fraction, self._report, self._left()
        if share >= 1.0:
            return left
        return max(0, min(math.floor(share / (1.0 - share) * report.train_steps) - report.probe_steps, left))

    def _due(self) -> bool:
        """Whether to probe now; a probe is taken to need as much as if all episodes were as long as the longest."""
        config, report = self._config, self._report
        begin, anchors = config.start * self._total_steps, len(self._anchors)
        cost = episodes_per_probe(config) * min(self._longest, self._environments.horizon)
        allowance = self._allowance()
        if anchors < config.num_anchors:
            report.waits_for = f"{anchors} of {config.num_anchors} anchors so far"
        elif self.model.num_timesteps < begin:
            report.waits_for = f"probing begins at {begin:,.0f} steps"
        elif not config.finish and self._iterations - self._last_probe < config.every:
            report.waits_for = f"probing every {config.every} updates"
        elif allowance < cost:
            if self._left():  # else there is nothing to wait for
                report.waits_for = f"a probe may take {cost:,} steps, and {allowance:,} may be spent"
        else:
            return True
        return False

    def _probe(self) -> bool:
        """Probe, and replace the policy if something better is found; whatever fails leaves the policy as it is.

        Returns whether it was a probe: one that failed, or that took no step, would only do so again.
        """
        config, report, model = self._config, self._report, self._algorithm
        assert isinstance(config.probe, Episodes | Racing)
        incumbent = self._actor.read()
        evaluate = self._episodes(config.probe)
        returns = None
        try:
            with undisturbed(model.policy), np.errstate(over="ignore", invalid="ignore"):
                choice = config.probe(incumbent[None], self._propose(incumbent), config.proposal.rounds, evaluate)
                if choice.accepted[0]:
                    returns = self._measure_gain(incumbent, choice.point[0])
                    self._actor.write(choice.point[0])
        except Exception as error:
            self._actor.write(incumbent)
            reason = f"failed: {' '.join(str(error).split())}"
            log.warning("a probe %s; the policy stays as it was", reason)
            choice = Choice.rejected(incumbent[None], evaluate.steps, reason)
            report.failed += 1
        else:
            self._longest = 2 * evaluate.longest if evaluate.exhausted[0] else evaluate.longest or self._longest
        self._settle(choice, returns)
        return not choice.reason[0].startswith("failed") and bool(choice.steps[0])

    def _settle(self, choice: Choice, returns: np.ndarray | None) -> None:
        """Count a probe, note it, and tidy up after a policy that was replaced."""
        report, model, steps = self._report, self._algorithm, int(choice.steps[0])
        report.probes += 1
        report.probe_steps += steps
        model.num_timesteps += steps
        model.num_probe_timesteps = report.probe_steps  # type: ignore[attr-defined]
        self._cycle += 1
        self._last_probe = self._iterations
        if choice.accepted[0]:
            report.accepted += 1
            _forget(model.policy.optimizer, self._config.moments, self._actor)
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
        if self._out is not None:
            member = SimpleNamespace(seeds=[self._seed], counters=self._counters())
            rows = account(choice, np.zeros(1, int), cast(Learner, member), np.array([self._cycle]))
            self._append("probe.csv", rows)

    def _counters(self) -> Counters:
        report = self._report
        return Counters(*(np.array([n]) for n in (report.train_steps, report.probe_steps, report.eval_steps)))

    def _env_seeds(self, purpose: Purpose, count: int, cycle: int) -> list[int]:
        assert self._seed is not None
        return env_seeds(self._seed, purpose, count, cycle)

    def _episodes(self, probe: Episodes | Racing) -> CandidateEpisodes:
        count = sum(probe.episodes) + probe.duel if isinstance(probe, Racing) else probe.episodes
        cycle = self._cycle if self._config.fresh_seeds else 0
        seeds = self._env_seeds("probe_env", count, cycle)
        noise = self._env_seeds("probe_noise", count, cycle) if probe.stochastic else None
        return CandidateEpisodes(self._actor, self._environments, seeds, self._allowance(), noise)

    def _propose(self, incumbent: np.ndarray) -> Any:
        anchors = np.stack(self._anchors).astype(np.float64)
        if (anchors[-1] != incumbent).any():
            anchors = np.concatenate([anchors[1:], incumbent[None]])
        assert self._seed is not None
        streams = [generator(self._seed, "propose", self._cycle)]
        return lambda probed: self._actor.project(self._config.proposal(anchors[None], probed, streams))

    def _measure_gain(self, incumbent: np.ndarray, point: np.ndarray) -> np.ndarray:
        """Returns [1, 2, E] of both on episodes that nothing was selected on."""
        seeds = self._env_seeds("eval_env", GAIN_EPISODES, 1 + self._cycle)
        evaluate = CandidateEpisodes(self._actor, self._environments, seeds, UNLIMITED)
        returns = evaluate(np.stack([incumbent, point])[None], 0, GAIN_EPISODES)
        self._report.eval_steps += int(evaluate.steps[0])
        return returns

    def _open_records(self, model: OnPolicyAlgorithm) -> None:
        if self._out is None:
            return
        progress = self._out / "progress.csv"
        for output in model.logger.output_formats:
            if isinstance(output, CSVOutputFormat) and Path(output.file.name).resolve() == progress.resolve():
                raise UsageError(f"{progress} is where Stable-Baselines3 logs to: give another folder as out=")
        if model.num_timesteps == 0 and progress.exists() and progress.stat().st_size:
            raise UsageError(f"{progress} exists already: give another folder as out=")
        self._out.mkdir(parents=True, exist_ok=True)

    def _append(self, record: str, rows: list[dict[str, Any]]) -> None:
        assert self._out is not None
        try:
            run = Run(self._out)  # held for the moment only: learn() may end by an exception that nobody tells us of
            try:
                run.append(record, rows)
            finally:
                run.release()
        except RlsparseError as error:
            log.warning("%s; training goes on", error)

    def _evaluate(self, last: bool = False) -> None:
        """Write a row of progress.csv, if one is due: the return of deterministic episodes, always the same ones."""
        total, before = self.model.num_timesteps, self._evaluated_at
        interval = max(1, self._total_steps // EVALUATIONS)
        if self._out is None or total == before or not (last or before < 0 or total // interval > before // interval):
            return
        self._evaluated_at = total
        seeds = self._env_seeds("eval_env", EVAL_EPISODES, 0)
        evaluate = CandidateEpisodes(self._actor, self._environments, seeds, UNLIMITED)
        try:
            with undisturbed(self._algorithm.policy):
                returns = evaluate(self._actor.read()[None, None], 0, EVAL_EPISODES)[0, 0]
        except Exception as error:
            log.warning("an evaluation failed: %s; training goes on", " ".join(str(error).split()))
            return
        self._report.eval_steps += int(evaluate.steps[0])
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
            "length_mean": evaluate.steps[0] / EVAL_EPISODES,
            "train_return_mean": np.mean(recent) if recent else np.nan,
        }
        self._append("progress.csv", [row])


def _steps_per_epoch(model: OnPolicyAlgorithm) -> int | None:
    """Gradient steps in one pass of PPO over its rollout; None where an update is one step of the actor."""
    return math.ceil(model.n_steps * model.n_envs / model.batch_size) if isinstance(model, PPO) else None


def _forget(optimiser: Optimizer, moments: str, actor: Actor) -> None:
    """Treat the optimiser's moments after the actor was moved by another hand: see `ExploRLer.moments`."""
    if moments == "reset":
        optimiser.state.clear()
    elif moments == "transport":
        for parameter in actor.parameters:
            for name in ("exp_avg", "momentum_buffer"):
                first = optimiser.state.get(parameter, {}).get(name)
                if first is not None:
                    first.zero_()
