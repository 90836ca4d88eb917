"""Published returns of the environment cards: where they are from, what they are, and which is the best."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import mean, pstdev

import pytest

from rlsparse.run import cards

README = (Path(__file__).resolve().parent.parent.parent / "envs" / "README.md").read_text(encoding="utf-8")
MEASURED = set(re.findall(r"^\| ([^`|]+) \| \w", README, re.MULTILINE))
SOURCE = r"[\w -]+, https://github\.com/[\w-]+/[\w-]+/blob/[\da-f]{8}(~1)?/\S+"
by_id = pytest.mark.parametrize("card", cards.environments().values(), ids=lambda card: card.id)

# Ten seeds each, as tianshou lists them: HalfCheetah after 1,013,760 steps, Ant after 990,000
SEEDS = {
    ("HalfCheetah", "PPO"): (
        *(3565.6538, 7965.2773, 6726.2793, 5856.8936, 5488.1143),
        *(4190.2139, 4758.9917, 6272.2632, 5236.0015, 6439.4829),
    ),
    ("Ant", "A2C"): (
        *(2694.0837, 3551.3784, 3998.6147, 3543.2737, 3349.7788),
        *(3966.6553, 3442.4268, 3595.2500, 3365.1455, 3816.1379),
    ),
}


@by_id
def test_references_are_of_this_task_and_have_a_source(card):
    assert card.references
    for reference in card.references:
        assert re.fullmatch(re.escape(card.id.removesuffix("5")) + "[2-5]", reference.environment)
        assert re.fullmatch(SOURCE, reference.source)


@by_id
def test_the_readme_says_what_every_way_of_measuring_is(card):
    assert {reference.measured for reference in card.references} <= MEASURED


@by_id
def test_no_reference_is_told_twice(card):
    told = [(x.algorithm, x.environment, x.steps, x.measured, x.source) for x in card.references]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(("name", "algorithm"), SEEDS)
def test_a_reference_is_mean_and_deviation_of_the_seeds_that_its_source_lists(name, algorithm):
    returns = SEEDS[name, algorithm]
    known = [x for x in cards.environment(name).references if x.algorithm == algorithm]
    (found,) = [x for x in known if x.measured == "at that step of a run of 3,000,000"]
    assert found.seeds == len(returns)
    assert found.mean == pytest.approx(mean(returns), abs=0.051)
    assert found.std == pytest.approx(pstdev(returns), abs=0.051)


def reference(steps, mean, algorithm="PPO"):
    return cards.Reference(algorithm, "Hopper-v3", steps, mean, seeds=10, measured="at that step", source="")


def test_the_best_reference_is_the_highest_within_the_default_budget():
    after_it, ppo = reference(2_000_000, 9.0), reference(1_000_000, 3.0)
    a2c, trpo = reference(300_000, 1.0, "A2C"), reference(300_000, 5.0, "TRPO")
    card = replace(cards.environment("Hopper"), references=(after_it, a2c, ppo, trpo))
    assert card.total_steps == 1_000_000
    assert card.best_reference() is trpo
    assert [card.best_reference(name) for name in ("PPO", "A2C", "NPG")] == [ppo, a2c, None]
    assert replace(card, references=(after_it,)).best_reference() is None
