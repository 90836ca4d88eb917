"""ExploRLer in any training loop in torch: anchors in, parameters out.

explorer = Explorer(actor, "HalfCheetah-v5", total_steps=1_000_000)
while not explorer.finished:
    ...                             # a rollout of the user's own, and its update
    steps += explorer.probe(steps)  # a probe, if one is due; its steps count like any others
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rlsparse import sim
from rlsparse.errors import BROKEN, UsageError, in_one_line
from rlsparse.explore.anchors import ending_at
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorer import horizon
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Propose
from rlsparse.explore.schedule import Schedule
from rlsparse.learner.kinds import kind_of
from rlsparse.learner.streams import env_seeds, generator
from rlsparse.run.cards import agent, resolve_environment
from rlsparse.run.probe_report import Report, waits_for
from rlsparse.run.recipe import Recipe, check, from_dict
from rlsparse.run.torch_parameters import ParameterVector, forget, reached, undisturbed
from rlsparse.sim.environment import Environment
from rlsparse.sim.episodes import ProbeEpisodes
from rlsparse.sim.user_envs import MOST_AT_ONCE, EpisodeEnvironments, Obs, from_maker, on_each

log = logging.getLogger(__name__)

DEFAULT_CARD = "explorler-ppo"

MOST_BATCHED = 2**20
"""Environments of the batched simulator at once, at most."""

MEMBER = np.zeros(1, np.int64)
"""A policy in torch is one member, number 0."""

Act = Callable[[Any], Any]
"""Maps observations, a tensor [n, ...] (or a dict of them), to actions [n, ...] in the environment's units."""

Evaluation = Callable[[np.ndarray, list[int]], tuple[Any, Any]]
"""Maps points [C, P] float32 and seeds [E] of episodes to returns and lengths, [C, E] each."""


class Explorer:
    """Probes around the policy of a user's own training loop, and replaces its parameters by better ones it finds.

    `actor` is what is searched: a module, or parameters; frozen ones, and those on which actions do not depend, are
    left out. `act` maps observations to the actions of the policy without noise; it is `actor` itself, if not given.
    Episodes are run in `env`: an id, a function that makes an environment, or one that makes a vector of n; or by
    `evaluate`, which gets candidates [C, P] (each as torch's parameters_to_vector gives it) and a seed for each episode
    [E], and returns the episodes' returns and lengths [C, E]. `explore` is a configuration or the name of an agent card
    that has one; `budget_fraction` replaces its share of all steps that probing may take. `optimizer` is needed where
    its moments shall be forgotten, `max_episode_steps` where the environment does not tell. Raises UsageError.
    """

    def __init__(
        self,
        actor: nn.Module | Iterable[nn.Parameter],
        env: str | Environment | Callable[..., Any] | None = None,
        *,
        total_steps: int,
        act: Act | None = None,
        evaluate: Evaluation | None = None,
        explore: ExploRLer | str = "explorler",
        budget_fraction: float | None = None,
        optimizer: Optimizer | None = None,
        max_episode_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        self._module = actor if isinstance(actor, nn.Module) else None
        if isinstance(actor, type) or not isinstance(actor, nn.Module | Iterable):
            raise UsageError(f"the actor must be a module of torch, or parameters, not {actor!r}")
        parameters = list(actor.parameters() if isinstance(actor, nn.Module) else actor)
        self._vector = ParameterVector([p for p in parameters if p.requires_grad])
        if not self._vector.parameters:
            raise UsageError("the actor has no parameters that require a gradient, so there is nothing to search")
        self._act: Act | None = act or self._module
        env = Environment(resolve_environment(env)) if isinstance(env, str) else env
        if not (env is None or callable(env) or isinstance(env, Environment)):
            raise UsageError(f"env must be an id, or a function that makes environments, not {env!r}: lambda: ...")
        env_id = env.id if isinstance(env, Environment) else None
        self._config = configuration(explore, budget_fraction, env_id, "in a loop of your own")
        self._refuse(env, evaluate, optimizer, max_episode_steps)
        self._evaluate, self._optimizer, self._seed = evaluate, optimizer, seed
        if evaluate is None:
            with self._undisturbed():
                self._where = environments_of(env)
                self._look()
        self._schedule = Schedule.begin(self._config, total_steps, max_episode_steps or self._where.horizon, 1)
        self._anchors: deque[np.ndarray] = deque(maxlen=self._config.num_anchors)
        self._anchored = False
        self._report = Report()
        self._warn()
        self.last: Choice | None = None
        """What the last probe found."""

    def report(self) -> Report:
        """Return what probing has cost and brought so far."""
        return self._report

    @property
    def finished(self) -> bool:
        """Whether training ends here: all steps are spent or, with `finish`, no further probe can be paid."""
        steps = self._report.steps
        spent = steps.total >= self._schedule.total_steps
        return bool((spent | self._schedule.ended(steps, len(self._anchors)))[0])

    def anchor(self) -> None:
        """Note the parameters after an epoch of the update; where updates are not noted so, each is one epoch."""
        if self._config.anchors == "epochs":
            self._take_anchor()

    def probe(self, steps: int) -> int:
        """Probe after an update, if it is time; returns the environment steps that this took.

        `steps` are all environment steps so far, those of probing included: add what is returned to them. Raises
        UsageError if there were more before.
        """
        report = self._report
        if steps < (before := int(report.steps.total[0])):
            raise UsageError(
                f"probe was given {steps:,} steps after {before:,}: give it all steps so far, with those of probing"
            )
        report.train_steps = steps - report.probe_steps
        if not self._anchored:
            self.anchor()
        if self._schedule.takes_anchor(report.train_steps):
            self._take_anchor()
        self._schedule, self._anchored = self._schedule.after_iteration(report.train_steps), False
        while self._due() and self._probe() and self._config.finish:
            pass
        return int(report.steps.total[0]) - steps

    def state_dict(self) -> dict[str, Any]:
        """Return all that probing goes on from, in tensors and plain values, for a checkpoint of the user's own."""
        schedule, report = self._schedule, self._report
        counts = ("train_steps", "probe_steps", "probes", "accepted", "failed", "reason", "waits_for")
        return {
            "anchors": torch.from_numpy(np.stack(self._anchors)) if self._anchors else torch.zeros(0),
            "anchored": self._anchored,
            "seed": self._seed,
            "schedule": {name: torch.from_numpy(x) for name, x in schedule.of_members().items()},
            "iterations": schedule.iterations,
            "anchored_at": schedule.anchored_at,
            "report": {name: getattr(report, name) for name in counts},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave. Raises UsageError if it is of another actor."""
        anchors, size = state["anchors"].numpy(), self._vector.read().size
        if len(anchors) and anchors.shape[1] != size:
            raise UsageError(f"the state has anchors of {anchors.shape[1]:,} parameters, but the actor has {size:,}")
        self._anchors.clear()
        self._anchors.extend(anchors.copy())
        self._anchored, self._seed = state["anchored"], state["seed"]
        of_member: dict[str, Any] = {name: x.numpy().copy() for name, x in state["schedule"].items()}
        counts = {name: state[name] for name in ("iterations", "anchored_at")}
        self._schedule = replace(self._schedule, **counts, **of_member)
        self._report = Report(**state["report"])

    def _undisturbed(self) -> Any:
        return undisturbed(self._module, self._vector.parameters[0].device)

    def _take_anchor(self) -> None:
        self._anchors.append(self._vector.read())
        self._anchored = True

    # What is refused

    def _refuse(
        self, env: Any, evaluate: Evaluation | None, optimizer: Optimizer | None, max_episode_steps: int | None
    ) -> None:
        """Raise UsageError where something that is needed is not given, or given twice."""
        if (env is None) == (evaluate is None):
            raise UsageError("episodes are run in env, or by evaluate: give one of the two")
        if evaluate is not None and max_episode_steps is None:
            raise UsageError("evaluate does not tell how long episodes may be: give max_episode_steps=")
        if evaluate is None and self._act is None:
            raise UsageError("the actor is no module: give act=, which maps observations [n, ...] to actions [n, ...]")
        if self._config.probe.stochastic:
            raise UsageError("stochastic probes draw noise, and act has none: use stochastic=False")
        if self._config.moments != "keep" and optimizer is None:
            raise UsageError(f'moments="{self._config.moments}" changes the optimiser: give optimizer=')

    def _look(self) -> None:
        """Find the parameters that actions depend on; raise UsageError unless the policy acts, and without noise."""
        obs, _ = self._where.make(1).reset(seed=env_seeds(self._seed, "probe_env", 1))
        given = self._acting(obs)
        expected = (1, *(self._where.action_space.shape or ()))
        if (shape := tuple(np.shape(given))) != expected:
            raise UsageError(f"for one observation act gave actions of shape {shape}: expected {expected}")
        if not np.array_equal(self._actions(obs), self._actions(obs), equal_nan=True):
            raise UsageError("act gave two actions for one observation: it must give the mean action, without noise")
        if isinstance(given, Tensor) and given.requires_grad:
            own = reached(given, self._vector.parameters)
            self._vector = ParameterVector([p for p in self._vector.parameters if id(p) in own])

    def _warn(self) -> None:
        """Warn if no probe can be paid, though episodes may be shorter than they can be."""
        schedule, config = self._schedule, self._config
        most = round(min(config.budget_fraction, 1.0 - config.start) * schedule.total_steps)
        if 0 < most < (cost := int(schedule.cost()[0])):
            log.warning(
                f"a probe may take {cost:,} steps ({config.episodes_per_probe()} episodes of {schedule.horizon:,}), "
                f"all of them {most:,} of {schedule.total_steps:,}: raise budget_fraction or total_steps to have any"
            )

    # A probe

    def _due(self) -> bool:
        """Whether to probe now; if not, the report says why."""
        steps, anchors = self._report.steps, len(self._anchors)
        self._report.waits_for = waits_for(self._schedule, steps, anchors) or self._report.waits_for
        return bool(self._schedule.due(steps, anchors)[0])

    def _probe(self) -> bool:
        """Probe, and go on from what is better; whatever fails leaves the policy as it is.

        Returns whether it was a probe: one that failed, or that took no step, would only do so again.
        """
        config, vector, evaluate = self._config, self._vector, self._episodes()
        incumbent, longest = vector.read(), np.zeros(1, np.int64)
        try:
            with self._undisturbed(), np.errstate(over="ignore", invalid="ignore"):
                choice = config.probe(incumbent[None], self._propose(incumbent), config.proposal.rounds, evaluate)
            longest = evaluate.longest
        except UsageError:
            raise
        except BROKEN as error:
            reason = f"failed: {in_one_line(error)}"
            log.warning("a probe %s; the policy stays as it was", reason)
            choice = Choice.rejected(incumbent[None], evaluate.steps, reason)
            self._report.failed += 1
        finally:
            vector.write(incumbent)
        self._schedule = self._schedule.after_episodes(MEMBER, choice.steps, longest, evaluate.exhausted)
        self._settle(choice)
        return not choice.reason[0].startswith("failed") and bool(choice.steps[0])

    def _settle(self, choice: Choice) -> None:
        """Count a probe, and go on from where it leads."""
        report = self._report
        self.last = choice
        report.probes += 1
        report.probe_steps += int(choice.steps[0])
        report.reason = choice.reason[0]
        if choice.accepted[0]:
            report.accepted += 1
            self._vector.write(choice.point[0])
            if self._optimizer is not None:
                forget(self._optimizer, self._config.moments, self._vector.parameters)

    def _propose(self, incumbent: np.ndarray) -> Propose:
        anchors = ending_at(np.stack(self._anchors)[None].astype(np.float64), incumbent[None])
        streams = [generator(self._seed, "propose", int(self._schedule.cycles[0]))]
        return lambda probed: self._config.proposal(anchors, probed, streams)

    def _episodes(self) -> "ProbeEpisodes | OwnEpisodes":
        cycle = int(self._schedule.cycles[0]) if self._config.fresh_seeds else 0
        seeds = env_seeds(self._seed, "probe_env", self._config.probe.seeds_needed, cycle)
        allowance = self._schedule.allowance(self._report.steps)
        if self._evaluate is not None:
            return OwnEpisodes(self._evaluate, seeds, allowance)
        where = self._where
        return ProbeEpisodes(self._policies, where.make, [seeds], allowance, native=self._native, most=where.most)

    def _policies(self, points: np.ndarray, episodes: slice) -> Callable[[Obs], np.ndarray]:
        """Return the actions of points [1, C, P] for the observations of their episodes, one point after the other."""
        candidates, parts = points.shape[1], self._vector.parts(points[0])

        def act(obs: Obs) -> np.ndarray:
            by_candidate = on_each(lambda x: x.reshape(candidates, -1, *x.shape[1:]), obs)
            actions = []
            for row in range(candidates):
                self._vector.put(parts, row)
                actions.append(self._actions(on_each(itemgetter(row), by_candidate)))
            return np.concatenate(actions)

        return act

    def _actions(self, obs: Obs) -> np.ndarray:
        """Return what the policy does, [n, A]."""
        with torch.no_grad():
            given = self._acting(obs)
        actions = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        return actions.reshape(len(actions), -1)

    def _acting(self, obs: Obs) -> Any:
        assert self._act is not None
        first = self._vector.parameters[0]

        def tensor(x: np.ndarray) -> Tensor:
            return torch.as_tensor(x, dtype=first.dtype if x.dtype.kind == "f" else None, device=first.device)

        return self._act(on_each(tensor, obs))

    def _native(self, actions: np.ndarray) -> np.ndarray:
        """Return actions [n, A] as the environment takes them."""
        space = self._where.action_space
        return actions.reshape(-1, *(space.shape or ())).astype(space.dtype)


class OwnEpisodes:
    """Scores points of one member by what a user's function says of their episodes; counts the steps."""

    def __init__(self, evaluate: Evaluation, seeds: list[int], allowance: np.ndarray) -> None:
        self._evaluate, self._seeds, self._allowance = evaluate, seeds, allowance
        self.steps, self.longest = np.zeros(1, np.int64), np.zeros(1, np.int64)

    @property
    def exhausted(self) -> np.ndarray:
        """Whether more steps were taken than are allowed, [1] bool."""
        return self.steps > self._allowance

    def __call__(self, points: np.ndarray, first: int, count: int, wanted: np.ndarray | None = None) -> np.ndarray:
        """Return of episodes `first` to `first + count` of every point [1, C, P]; [1, C, count].

        NaN: not `wanted` [1]; -inf: parameters or a return were not finite.
        """
        if wanted is not None and not wanted[0]:
            return np.full((1, points.shape[1], count), np.nan)
        candidates = points[0].astype(np.float32)
        finite = np.isfinite(candidates).all(1)
        given = self._evaluate(candidates[finite], self._seeds[first : first + count])
        returns, lengths = (np.asarray(x, np.float64) for x in given)
        if returns.shape != (expected := (int(finite.sum()), count)) or lengths.shape != expected:
            raise UsageError(f"evaluate gave {returns.shape} returns and {lengths.shape} lengths: expected {expected}")
        self.steps = self.steps + int(lengths.sum())
        self.longest = np.maximum(self.longest, int(lengths.max(initial=0)))
        scores = np.full((1, len(candidates), count), -np.inf)
        scores[0, finite] = np.where(np.isfinite(returns), returns, -np.inf)
        return scores


def environments_of(env: Any) -> EpisodeEnvironments:
    """Return where episodes are run: our environments by their ids, others by what makes them."""
    if callable(env):
        return from_maker(env)
    make = cache(lambda n: sim.make(env, n, autoreset=False))
    first, most = make(1), MOST_BATCHED if env.batched else MOST_AT_ONCE
    return EpisodeEnvironments(make, most, horizon(first), first.single_action_space)


def configuration(
    explore: ExploRLer | str | None, budget_fraction: float | None, env_id: str | None, where: str
) -> ExploRLer:
    """Return the configuration; raises UsageError for settings that are wrong, or that need our own rollout.

    `where` completes the sentence that says so. A budget fraction of 0 is allowed here: it gives the control that only
    keeps records.
    """
    if explore is None or isinstance(explore, str):
        explore = _of_card(DEFAULT_CARD if explore in (None, "explorler") else explore, env_id)
    if budget_fraction is not None:
        at_the_end = explore.finish and 0 < budget_fraction < 1  # then it is the share of the last steps
        start = 1.0 - budget_fraction if at_the_end else explore.start
        explore = replace(explore, budget_fraction=budget_fraction, start=start)
    if not explore.probe.spends:
        kind = kind_of(type(explore.probe))
        raise UsageError(f"the probe {kind} needs our own rollout: {where} use Episodes or Racing")
    probed = explore if budget_fraction != 0 else replace(explore, budget_fraction=1.0)
    check(Recipe(env_id or "any", explore=probed))
    return explore


def _of_card(name: str, env_id: str | None) -> ExploRLer:
    """The [recipe.explore] of a card, as it is for that environment."""
    env = env_id or "any"
    recipe = from_dict({"env": env, **agent(name).recipe_for(env)}, name)
    if recipe.explore is None:
        raise UsageError(f"the agent card {name} says nothing of probing: it has no [recipe.explore]")
    return recipe.explore
