"""Every kind of component trains in some combination, no choice is without effect, and docs/pairs.md is up to date."""

from functools import cache
from itertools import combinations
from pathlib import Path

import fake_envs
import numpy as np
import pairs
import pytest

from rlsparse import loop
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare

ITERATIONS = 3
"""The second may exchange weights and fills the anchors of iterations; the third learns from what was probed."""

KINDS = [(family, name) for family, names in pairs.FAMILIES.items() for name in names]

REFUSED = [pair for pair in pairs.pairs() if not pairs.verdict(*pair).recipe]


@cache
def trained(recipe):
    """A recipe after a few iterations: learner, parameters before, accounts of probes, steps of environments."""
    prepare()
    steps = fake_envs.steps
    learner, collector, explorer = sessions.begin(recipe)
    before, choices = learner.params.copy(), []
    for _ in range(ITERATIONS):
        choices.append(loop.iterate(recipe, learner, collector, explorer).choice)
        if explorer.due().size:
            choices.append(explorer.probe(explorer.due(), lambda: False))
    return learner, before, [choice for choice in choices if choice], fake_envs.steps - steps


def named(kinds):
    return "+".join(name for _, name in kinds)


@pytest.mark.parametrize("kind", KINDS, ids=":".join)
def test_every_kind_learns_counts_all_steps_and_keeps_absent_weights_at_zero(kind):
    recipe = pairs.verdict(kind).recipe
    learner, before, choices, steps = trained(recipe)
    assert np.isfinite(learner.params).all()
    for group in ("actor", "critic") if recipe.advantage.needs_critic else ("actor",):
        part = learner.layout.group(group)
        assert (learner.params[:, part] != before[:, part]).any(1).all(), f"{group} has not moved"
    counters = learner.counters
    assert counters.total.sum() == steps
    assert not recipe.advantage.autoreset or (counters.train == ITERATIONS * recipe.iteration_steps).all()
    if recipe.explore is not None:
        assert all(len(choice.accepted) == recipe.num_seeds for choice in choices)
        assert any(choice.accepted.all() for choice in choices), "no probe, or none that moves"
        assert (counters.probe > 0).all() == ("probe-episodes" in recipe.explore.gives)
    if recipe.sparse is not None:
        sound(learner, before)


def sound(learner, before):
    """What is absent is zero, no layer has fewer weights than in the end, and rules that exchange weights have."""
    masks = learner.sparsity.masks
    assert not learner.params[~masks.active].any()
    assert not learner.optimiser.first[~masks.active].any() or hasattr(learner.sparsity, "path")
    for slot, final in masks.config.budgets(learner.layout):
        assert (masks.active[:, slot.start : slot.stop].sum(1) >= final).all()
    assert (masks.explored != (before != 0)).any() or not masks.config.rule.grows


@pytest.mark.parametrize("family", pairs.FAMILIES)
def test_no_choice_is_without_effect(family):
    """Two kinds of a family never make the same of what else is the same."""
    numbers = {}
    for name in pairs.FAMILIES[family]:
        learner, _, choices, _ = trained(pairs.verdict((family, name)).recipe)
        numbers[name] = learner.params.tobytes(), *(choice.score.tobytes() for choice in choices)
    assert not [(a, b) for a, b in combinations(numbers, 2) if numbers[a] == numbers[b]]


@pytest.mark.parametrize("pair", REFUSED, ids=named)
def test_two_kinds_that_are_refused_are_told_in_a_line_that_names_both_and_what_to_use(pair):
    refusal = pairs.verdict(*pair).refusal
    assert "\n" not in refusal
    assert "use " in refusal
    for family, name in pair:
        own = {"cg": "trpo", "mfac": "trpo"}.get(name, name)  # trpo is why their pairs are refused
        assert own in refusal.lower() or pairs.FLAGS[family][0].removeprefix("--") in refusal


def test_the_page_says_what_the_library_says():
    committed = (Path(__file__).parent.parent / "docs" / "pairs.md").read_text(encoding="utf-8")
    assert committed == pairs.page(), "python tests/pairs.py > docs/pairs.md writes it anew"
