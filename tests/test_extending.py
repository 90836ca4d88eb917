"""What docs/extending.md shows works as it stands, from a file outside of the package, and in few lines."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import house
import numpy as np
import pytest
import tiny

from rlsparse import loop
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.propose import Line
from rlsparse.run import session as sessions
from rlsparse.run.recipe import check
from rlsparse.sparse.config import Sparse

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The classes of the page's examples, each from a file of its own outside of the package."""
    found = {}
    for number, block in enumerate(BLOCKS[:-1]):
        path = tmp_path_factory.mktemp("outside") / f"own_{number}.py"
        path.write_text(block, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        found |= {name: x for name, x in vars(module).items() if getattr(x, "__module__", "") == path.stem}
    return found


def trained(recipe, iterations=3):
    """Learner and choices after a few iterations and the probes in between."""
    check(recipe)
    learner, collector, explorer = sessions.begin(recipe)
    choices = []
    for _ in range(iterations):
        choices.append(loop.iterate(recipe, learner, collector, explorer).choice)
        if (members := explorer.due()).size:
            choices.append(explorer.probe(members, lambda: False))
    return learner, [choice for choice in choices if choice is not None]


def test_an_advantage_an_objective_a_rule_and_a_probe_take_less_than_forty_lines_each():
    assert len(BLOCKS) == 5
    assert max(block.count("\n") for block in BLOCKS) < 40


def test_an_advantage_of_ones_own_learns(own):
    rollouts = []

    class Watched(own["OneStep"]):
        def __call__(self, rollout):
            rollouts.append((rollout, super().__call__(rollout)))
            return rollouts[-1][1]

    trained(tiny.recipe(advantage=Watched(gamma=0.9), num_seeds=2))
    rollout, found = rollouts[-1]
    expected = rollout.reward + 0.9 * np.where(rollout.terminated, 0, rollout.next_value) - rollout.value
    np.testing.assert_allclose(found.advantage, expected, rtol=1e-6)


def test_an_advantage_of_ones_own_is_checked_like_any_other(own):
    with pytest.raises(UsageError, match=r"--advantage.gamma is 1.5: expected a number from 0 to 1"):
        check(tiny.recipe(advantage=own["OneStep"](gamma=1.5)))


def test_an_objective_of_ones_own_follows_its_own_slope(own, new_learner, new_batch):
    """Against finite differences of the loss by the log-probabilities."""
    spo, (learner, rng) = own["SPO"](), (new_learner(), np.random.default_rng(0))
    batch, advantage = new_batch(learner), rng.standard_normal((3, 24))
    log_ratio = 0.2 * rng.standard_normal((3, 24))

    def loss(x):
        return spo.weigh(np.exp(x), x, advantage, 0.2, batch)[0]

    slope = spo.weigh(np.exp(log_ratio), log_ratio, advantage, 0.2, batch)[1]
    step = np.zeros((3, 24))
    step[:, 5] = 1e-6
    np.testing.assert_allclose((loss(log_ratio + step) - loss(log_ratio - step)) / 2e-6, slope[:, 5], rtol=1e-5)
    recipe = tiny.recipe(algorithm=replace(tiny.RECIPE.algorithm, objective=spo))
    assert np.isfinite(trained(recipe)[0].params).all()


def test_a_sparsity_rule_of_ones_own_exchanges_weights(own):
    rule = own["LuckyRigL"](every=1, end=1.0)
    learner, _ = trained(tiny.recipe(sparse=Sparse(0.5, rule=rule), total_steps=1000))
    masks = learner.sparsity.masks
    assert (masks.regrown > 0).all()
    assert not learner.params[~masks.active].any()


def test_a_probe_of_ones_own_probes_and_its_steps_are_counted(own):
    probing = ExploRLer(Line((0.0, 2.0)), own["Margin"](margin=0.0), num_anchors=2, budget_fraction=1.0)
    learner, choices = trained(tiny.recipe(explore=probing, total_steps=1000))
    assert choices
    assert learner.counters.probe.sum() == sum(choice.steps.sum() for choice in choices) > 0


def test_what_a_component_of_ones_own_does_not_give_is_missed(own):
    """A critic is what in-rollout probing needs; the refusal names who lacks it and what to use."""

    class WithoutCritic(own["OneStep"]):
        @property
        def gives(self):
            return super().gives - {"critic"}

    with pytest.raises(UsageError, match="--explore.probe in-rollout.*needs advantages with one.*use "):
        check(tiny.recipe(advantage=WithoutCritic(), explore=ExploRLer(probe=InRollout()), num_envs=4))


def test_the_last_example_names_a_recipe(own):
    names = dict(own)
    exec(BLOCKS[-1], names)
    assert names["recipe"].advantage == own["OneStep"](gamma=0.98)


# Leaves


@pytest.mark.parametrize("leaf", house.LEAVES)
def test_deleting_a_leaf_breaks_only_the_union_that_names_it(leaf):
    """And other leaves that are made of it, such as a method and the products that it is computed with."""
    outside = house.importers_of(leaf) - house.UNIONS - set(house.LEAVES)
    assert not {module for module in outside if not module.startswith(house.WINGS)}
