"""What a run will take, before its first step: rollouts, updates, steps, evaluations and probes."""

import math
from dataclasses import dataclass

from rlsparse.algorithms.kinds import Algorithm
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG
from rlsparse.explore.explorer import episodes_per_probe
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.layout import Layout
from rlsparse.run.recipe import Recipe
from rlsparse.sparse.budgets import NETWORKS, weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.packed_matrix import can_multiply


@dataclass
class Plan:
    """How the budget of one member is spent if every episode of a probe is as long as an episode can be."""

    probe_cost: int
    """Steps of one probe."""
    evaluation_interval: int
    rollouts: int = 0
    train_steps: int = 0
    probes: int = 0
    evaluations: int = 1
    """The first one is before the first step."""
    _evaluated: bool = True

    @property
    def probe_steps(self) -> int:
        """Steps of all probes."""
        return self.probes * self.probe_cost

    @property
    def total_steps(self) -> int:
        """Steps that count against the budget."""
        return self.train_steps + self.probe_steps

    def roll_out(self, count: int, batch_size: int) -> None:
        """Take `count` rollouts."""
        self.rollouts += count
        self.train_steps += count * batch_size
        self._went(count, batch_size)

    def probe(self) -> None:
        """Probe once."""
        self.probes += 1
        self._went(1, self.probe_cost)

    def end(self) -> None:
        """Evaluate what was not evaluated yet."""
        self.evaluations += not self._evaluated

    def _went(self, times: int, steps: int) -> None:
        """Count the evaluations within `times` moves of `steps`: one wherever an interval is over."""
        now = self.total_steps // self.evaluation_interval
        before = (self.total_steps - times * steps) // self.evaluation_interval
        last = (self.total_steps - steps) // self.evaluation_interval
        self.evaluations += min(times, now - before)
        if times * steps:
            self._evaluated = now > last


def predict(recipe: Recipe, horizon: int) -> Plan:
    """Return what a run takes; `horizon` is the most steps of an episode."""
    explore, batch = recipe.explore, recipe.iteration_steps
    plan = Plan(episodes_per_probe(explore) * horizon if explore else 0, recipe.eval_interval)
    due = _next_probe(recipe, plan, 0) if explore else None
    if explore and due is not None and not plan.probe_cost:
        rollouts = math.ceil((recipe.total_steps - _steps_before_choice(recipe, explore)) / batch)
        plan.probes = 1 + (rollouts - 1 - due) // explore.every
        due = None
    while due is not None:
        plan.roll_out(due - plan.rollouts, batch)
        plan.probe()
        due = _next_probe(recipe, plan, due)
    if not (explore and explore.finish and plan.probes):
        plan.roll_out(math.ceil(max(0, recipe.total_steps - plan.total_steps) / batch), batch)
    plan.end()
    return plan


def _next_probe(recipe: Recipe, plan: Plan, last_probe: int) -> int | None:
    """Return after how many rollouts the next probe is due, None if the budget is spent before."""
    explore, batch = recipe.explore, recipe.iteration_steps
    assert explore is not None
    share = explore.budget_fraction
    before = _steps_before_choice(recipe, explore)
    begin = math.ceil((explore.start * recipe.total_steps - plan.probe_steps - before) / batch)
    every = 0 if explore.finish else explore.every
    rollouts = max(plan.rollouts, last_probe + every, _rollouts_for_anchors(recipe, explore), begin)
    if share < 1:
        paid_for = math.ceil((plan.probe_steps + plan.probe_cost) * (1 - share) / share / batch)
        rollouts = max(rollouts, paid_for - 1)
        while math.floor(share / (1 - share) * rollouts * batch) - plan.probe_steps < plan.probe_cost:
            rollouts += 1
    left = recipe.total_steps - plan.probe_steps - rollouts * batch - before
    return rollouts if left > 0 and left >= plan.probe_cost else None


def _steps_before_choice(recipe: Recipe, explore: ExploRLer) -> int:
    """Return how many steps of a rollout are taken before it is decided to probe by it."""
    return recipe.iteration_steps if isinstance(explore.probe, Surrogate) else 0


def _rollouts_for_anchors(recipe: Recipe, explore: ExploRLer) -> int:
    """Return after how many rollouts there are as many anchors as are asked for."""
    if explore.anchors == "epochs":
        return math.ceil(explore.num_anchors / recipe.algorithm.epochs)
    between = explore.anchor_span * recipe.total_steps / explore.num_anchors
    return explore.num_anchors * max(1, math.ceil(between / recipe.iteration_steps))


def describe(recipe: Recipe, horizon: int) -> str:
    """Return the plan as lines for the terminal."""
    plan = predict(recipe, horizon)
    waits = ", or more: environments wait for their group" if not recipe.advantage.autoreset else ""
    second = ""
    if isinstance(recipe.algorithm, NHARPG):
        second = f", and second ones of {recipe.num_envs} x {recipe.algorithm.second_length}"
    networks = len(recipe.sparse.densities_at_once()) if recipe.sparse else 1
    lines = [
        f"rollouts         {plan.rollouts:,} per seed, {recipe.num_envs} x {recipe.rollout_length} steps each"
        f"{second}{waits}",
        f"updates          {_updates(recipe.algorithm, plan.rollouts)}",
        f"training steps   {plan.train_steps:,} per seed, {plan.train_steps * recipe.num_seeds:,} in all "
        f"(probe steps: {plan.probe_steps:,}{' per seed' * bool(plan.probe_steps)})",
        *_probe_lines(recipe, plan, horizon),
        f"evaluations      {plan.evaluations:,} of {recipe.eval_episodes} episodes per seed"
        + (f" and each of {networks} densities" if networks > 1 else "")
        + ", not part of the budget",
    ]
    return "\n".join(lines)


def _updates(algorithm: Algorithm, rollouts: int) -> str:
    """Return what is done with so many rollouts, in words."""
    if not isinstance(algorithm, PPO):
        step = "natural gradient" if isinstance(algorithm, TRPO) else "normalised gradient"
        critic = rollouts * algorithm.critic_epochs * algorithm.critic_minibatches
        return f"{rollouts:,} {step} steps of the policy, {critic:,} gradient steps of the critic per seed"
    steps = f"{rollouts * algorithm.epochs * algorithm.minibatches:,} gradient steps per seed"
    return steps + (", fewer where --algorithm.target-kl ends one early" if algorithm.target_kl is not None else "")


def _probe_lines(recipe: Recipe, plan: Plan, horizon: int) -> list[str]:
    explore = recipe.explore
    if explore is None:
        return []
    candidates = explore.proposal.count(explore.num_anchors) * explore.proposal.rounds
    if isinstance(explore.probe, InRollout):
        candidates = explore.probe.candidates(recipe.num_envs)
    if not plan.probe_cost:
        return [f"probes           {plan.probes:,} per seed of {candidates} candidates, without steps of their own"]
    share = min(explore.budget_fraction, 1.0 - explore.start)
    cap = round(share * recipe.total_steps)
    episodes = episodes_per_probe(explore)
    return [
        f"probes           {plan.probes:,} per seed of {candidates} candidates: at most {episodes} episodes, "
        f"{plan.probe_cost:,} steps if all last {horizon:,}",
        f"probe steps      at most {cap:,} per seed, {share:g} of the budget; cheaper probes leave room for more",
    ]


def warning(recipe: Recipe, horizon: int) -> str | None:
    """Return why no probe will ever be run though the recipe asks for it; None if one will, or may."""
    explore, plan = recipe.explore, predict(recipe, horizon)
    if explore is None or plan.probes:
        return None
    budget = f"--total-steps {recipe.total_steps:,}"
    if not predict(recipe, 0).probes:
        settings = "--explore.num-anchors, --explore.anchor-span, --explore.every and --explore.start"
        return f"there will be no probe: {budget} are over before {settings} let the first one be"
    return (
        f"there will be no probe: one may take {plan.probe_cost:,} steps ({episodes_per_probe(explore)} episodes of "
        f"{horizon:,}), which --explore.budget-fraction {explore.budget_fraction:g} of {budget} cannot pay: raise one "
        "of them, or probe fewer candidates"
    )


def describe_weights(sparse: Sparse, layout: Layout) -> str:
    """Return how many weights of each layer sparse networks have in the end, as lines for the terminal."""
    budgets, lines = sparse.budgets(layout), []
    for group in (group for group in NETWORKS if weight_slots(layout, group)):
        own = [(slot.stop - slot.start, kept) for slot, kept in budgets if slot.group == group]
        layers = ", ".join(f"{kept:,} of {size:,}" for size, kept in own)
        size, kept = (sum(numbers) for numbers in zip(*own, strict=True))
        lines.append(f"{group + ' weights':<16} {kept:,} of {size:,} kept; by layer {layers}")
    for i, density in enumerate(sparse.densities_at_once()[1:]):
        kept = [counts[i] for _, counts in sparse.nested_budgets(layout)]
        layers = ", ".join(f"{count:,}" for count in kept)
        lines.append(f"actor inside     {sum(kept):,} weights, density {density:g}; by layer {layers}")
    absent = sum(slot.stop - slot.start - kept for slot, kept in budgets)
    lines.append(f"parameters kept  {layout.size - absent:,} of {layout.size:,}, biases and action noise included")
    return "\n".join(lines)


def slow_warning(recipe: Recipe) -> str | None:
    """Return that sparse networks could learn faster if a package were there; None if it is, or is of no use."""
    if recipe.sparse is None or recipe.sparse.rule.own_loop or recipe.simulator == "warp" or can_multiply():
        return None
    return "absent weights are multiplied too: pip install 'rlsparse[sparse]' trains sparse networks faster on the CPU"


def sparse_warning(recipe: Recipe, layout: Layout) -> str | None:
    """Return which layer keeps so few weights that units are left without any; None if there is no such layer."""
    if recipe.sparse is None:
        return None
    inside = [(slot, counts[-1]) for slot, counts in recipe.sparse.nested_budgets(layout) if counts]
    for slot, kept in [*recipe.sparse.budgets(layout), *inside]:
        units = slot.shape[1]
        if kept < units:
            return (
                f"the sparse networks have dead units: {slot.name} keeps {kept:,} weights for {units:,} units; use a "
                "smaller --sparsity or wider layers"
            )
    return None
