"""Any two kinds of components either learn together or are refused with the reason, and docs/pairs.md says which."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import fake_envs
import numpy as np
import pairs
import pytest

from rlsparse import loop
from rlsparse.explore.explorer import Explorer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.run import session as sessions
from rlsparse.run.process import prepare

ITERATIONS = 3
"""The second may exchange weights and fills the anchors of iterations; the third learns from what was probed."""

ALLOWED = [pair for pair in pairs.pairs() if pairs.verdict(*pair).recipe]
REFUSED = [pair for pair in pairs.pairs() if not pairs.verdict(*pair).recipe]

ALIKE = {
    **dict.fromkeys((("algorithm", "trpo"), ("solver", "cg"), ("solver", "mfac")), ["epochs", "iterations"]),
    **dict.fromkeys((("algorithm", "n-pg-igt"), ("algorithm", "n-harpg")), ["epochs", "iterations"]),
    ("objective", "cloning"): ["dr-grpo", "rloo"],
}
"""An update of one step makes epochs and iterations the same; only signs matter to cloning, and theirs are equal."""


@cache
def trained(recipe):
    """A recipe after a few iterations: learner, parameters before, accounts of probes, steps of environments."""
    prepare()
    steps = fake_envs.steps
    learner, collector = sessions.begin(recipe)
    before = learner.params.copy()
    explorer, choices = None, []
    if recipe.explore is not None:
        explorer = Explorer(
            recipe.explore, learner, sessions.single_episodes(recipe), recipe.num_envs, recipe.total_steps
        )
    for _ in range(ITERATIONS):
        choices.append(loop.iterate(recipe, learner, collector, explorer)[1])
        if explorer is not None and explorer.due().size:
            choices.append(explorer.probe(explorer.due(), lambda: False))
    return learner, before, [choice for choice in choices if choice], fake_envs.steps - steps


def named(pair):
    return "+".join(name for _, name in pair)


@pytest.mark.parametrize("pair", ALLOWED, ids=named)
def test_two_kinds_that_are_allowed_learn_together(pair):
    recipe = pairs.verdict(*pair).recipe
    learner, before, choices, steps = trained(recipe)
    assert np.isfinite(learner.params).all()
    for group in ("actor", "critic") if recipe.advantage.needs_critic else ("actor",):
        part = learner.layout.group(group)
        assert (learner.params[:, part] != before[:, part]).any(1).all(), f"{group} has not moved"
    counters = learner.counters
    assert counters.total.sum() == steps
    assert recipe.group_size or (counters.train == ITERATIONS * recipe.iteration_steps).all()
    if recipe.explore is not None:
        assert all(len(choice.accepted) == recipe.num_seeds for choice in choices)
        assert any(choice.accepted.all() for choice in choices), "no probe, or none that moves"
        assert (counters.probe > 0).all() == isinstance(recipe.explore.probe, Episodes | Racing)
    if recipe.sparse is not None:
        sound(learner, before)


def sound(learner, before):
    """What is absent is zero, no layer has fewer weights than in the end, and rules that exchange weights have."""
    masks = learner.sparsity.masks
    assert not learner.params[~masks.active].any()
    assert not learner.optimiser.first[~masks.active].any() or masks.config.rule.dual_path
    for slot, final in masks.config.budgets(learner.layout):
        assert (masks.active[:, slot.start : slot.stop].sum(1) >= final).all()
    assert (masks.explored != (before != 0)).any() or not masks.config.rule.grows


@pytest.mark.parametrize("pair", REFUSED, ids=named)
def test_two_kinds_that_are_refused_are_told_in_a_line_that_names_both_and_what_to_use(pair):
    refusal = pairs.verdict(*pair).refusal
    assert "\n" not in refusal
    assert "use " in refusal
    for family, name in pair:
        own = {"cg": "trpo", "mfac": "trpo"}.get(name, name)  # trpo is why their pairs are refused
        assert own in refusal.lower() or pairs.FLAGS[family][0].removeprefix("--") in refusal


def outcomes():
    """What a kind makes of each of the others: by kind and other family, of what is alike in all numbers, the names."""
    alike = defaultdict(lambda: defaultdict(list))
    for pair in ALLOWED:
        learner, _, choices, _ = trained(pairs.verdict(*pair).recipe)
        numbers = learner.params.tobytes(), *(choice.score.tobytes() for choice in choices)
        for kind, (family, name) in (pair, pair[::-1]):
            alike[kind, family][numbers].append(name)
    return alike


def test_no_choice_is_without_effect():
    for (kind, family), by_numbers in outcomes().items():
        same = [names for names in by_numbers.values() if len(names) > 1]
        assert same in ([], [ALIKE.get(kind)]), f"{kind} with {family}: {same}"


def test_the_page_says_what_the_library_says():
    committed = (Path(__file__).parent.parent / "docs" / "pairs.md").read_text(encoding="utf-8")
    assert committed == pairs.page(), "python tests/pairs.py > docs/pairs.md writes it anew"
