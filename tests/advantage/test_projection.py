"""What a set function sees: projections by name, observations by number, and what is refused."""

import shlex

import numpy as np
import pytest

from rlsparse import sim, train
from rlsparse.advantage import submodular
from rlsparse.advantage.set_functions import Coverage
from rlsparse.advantage.submodular import Submodular
from rlsparse.errors import UsageError
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe

CARDS = list(cards.environments().values())


def find(env="Ant-v5", obs_size=None, **settings):
    return Submodular(**settings).objective(cards.about(Recipe(env)), obs_size, environments=8)


def test_the_cards_first_projection_is_the_usual_one():
    found = find()
    assert (
        found.projection == cards.environment("Ant").projections["position"] == find(projection="position").projection
    )
    assert found.function == Coverage(cells=(100, 100))
    assert find(projection="posture").function.cells == (16, 20, 20)


def test_a_box_of_ones_own_becomes_the_unit_cube():
    found = find(low=(-5.0, 0.0), high=(5.0, 1.0))
    np.testing.assert_allclose(found.projection(np.array([[0.0, 0.25, 9.0]])), [[0.5, 0.25]])


def test_observations_by_number():
    found = find("Pendulum-v1", projection="obs:2,0", low=(-8.0, -1.0), high=(8.0, 1.0))
    np.testing.assert_allclose(found.projection(np.array([[0.0, 9.0, 4.0]])), [[0.75, 0.5]])
    assert found.function.cells == (submodular.CELLS, submodular.CELLS)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {"position", "posture"}),
        ({"env_kwargs": {"healthy_reward": 2}}, {"position", "posture"}),
        ({"env_kwargs": {"exclude_current_positions_from_observation": False}}, {"position"}),
        ({"env_kwargs": {"include_cfrc_ext_in_observation": False}}, {"position"}),
        ({"env_kwargs": {"xml_file": "humanoid.xml"}}, set()),
        ({"wrappers": ("gymnasium.wrappers.TimeAwareObservation",)}, set()),
    ],
)
def test_a_card_s_projections_hold_as_long_as_observations_are_its_own(changes, left):
    about = cards.about(Recipe("Ant-v5", **changes))
    assert set(about.projections) == left
    if not left:
        with pytest.raises(UsageError, match="Ant-v5 with its --env-kwargs and --wrappers has no projections; or name"):
            Submodular().objective(about, None, environments=8)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_every_projection_of_a_card_can_be_seen_and_starts_inside_its_box(card):
    env = sim.make(card.id, 8)
    obs, _ = env.reset(seed=0)
    assert card.projections
    for name in card.projections:
        found = find(card.id, obs.shape[1], projection=name)
        points = found.points(env, obs)
        assert points.shape == (8, len(found.projection.index))
        assert ((points >= 0) & (points <= 1)).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            "--env Hopper --advantage submodular --advantage.projection position",
            "--advantage.projection position: Hopper-v5 has the projections posture; or name observations by number, "
            "as in --advantage.projection obs:0,2",
        ),
        (
            "--env Ant --advantage submodular --advantage.projection positon",
            "--advantage.projection positon: did you mean position?",
        ),
        ("--env Pendulum-v1 --advantage submodular", "--advantage submodular: Pendulum-v1 has no projections"),
        (
            "--env Pendulum-v1 --advantage submodular --advantage.projection obs:0",
            "--advantage.projection obs:0 needs a box: give --advantage.low and --advantage.high",
        ),
        (
            "--env Pendulum-v1 --advantage submodular --advantage.projection obs:0,3 --advantage.low -1 -1 "
            "--advantage.high 1 1",
            "--advantage.projection obs:0,3: Pendulum-v1 has observations of 3 numbers",
        ),
        (
            "--env Ant --advantage submodular --advantage.low -1",
            "--advantage.low -1: expected one number for each of 2: x and y of the torso, m",
        ),
        (
            "--env Ant --advantage submodular --advantage.low 30 -1",
            "--advantage.low 30 -1 must lie below --advantage.high 20 20",
        ),
        (
            "--env Ant --advantage submodular --advantage.low nan 0",
            "--advantage.low is nan 0.0: expected finite numbers",
        ),
        (
            "--env Ant --advantage submodular --advantage.set-function.cells 1000 1000 --num-envs 1000",
            "1,000 environments (--num-seeds x --num-envs) with this --advantage.set-function keep 1,000,000,000 num",
        ),
        (
            "--env Ant --advantage submodular --advantage.set-function log-det --advantage.set-function.features 5",
            "--advantage.set-function.features is 5: expected a positive even number",
        ),
        (
            "--env Ant --advantage submodular --advantage.set-function.cells 0 1",
            "--advantage.set-function.cells is 0 1: expected positive whole numbers",
        ),
        (
            "--env Ant --advantage submodular --advantage.inner nstep --advantage.inner.n 0",
            "--advantage.inner.n is 0: expected a positive whole number",
        ),
        (
            "--env Ant --advantage submodular --advantage.gain-weight 0",
            "--advantage.gain-weight and --advantage.reward-weight are both 0: nothing is learned from",
        ),
        (
            "--env Ant --advantage submodular --explore explorler-ppo-racing",
            "--explore.probe racing compares candidates by their return, and needs advantages of the environment's "
            "reward, which --advantage.reward-weight 0 does not give: use --advantage.reward-weight 1, or --",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_before_a_run_begins(flags, message):
    with pytest.raises(UsageError) as error:
        train.run_command(shlex.split(flags))
    assert str(error.value).startswith(message)
