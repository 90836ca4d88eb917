"""Environments as most estimators want them: as they are; and the watch of evaluations, which sees and says nothing."""

import numpy as np
import pytest

from rlsparse.advantage.environments import EvaluationWatch, WrappedEnvs
from rlsparse.advantage.estimators import GAE, MonteCarlo, NStep, TDLambda
from rlsparse.advantage.set_functions import Coverage
from rlsparse.advantage.submodular import Submodular
from rlsparse.advantage.vtrace import VTrace
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe


class Plain:
    """Environments that note what they are asked."""

    num_envs = 3

    def __init__(self):
        self.asked = []

    def reset(self, **arguments):
        self.asked.append(arguments)
        return "first", {"reset": True}

    def step(self, actions):
        self.asked.append(actions)
        return "obs", "reward", "terminated", "truncated", {"step": True}

    def get_state(self):
        return {"qpos": np.zeros(3)}

    def set_state(self, state):
        self.asked.append(state)


def test_everything_passes_through():
    plain = Plain()
    env, actions, state = WrappedEnvs(plain), np.zeros(3), {"qpos": np.ones(3)}
    assert env.reset(seed=[1, 2, 3]) == ("first", {"reset": True})
    assert env.step(actions) == ("obs", "reward", "terminated", "truncated", {"step": True})
    env.set_state(state)
    assert env.get_state().keys() == {"qpos"}
    assert plain.asked[0] == {"seed": [1, 2, 3]}
    assert plain.asked[1] is actions
    assert plain.asked[2] is state
    assert env.num_envs == 3  # as whatever else they have
    with pytest.raises(AttributeError):
        _ = env.snapshots


def test_what_is_learned_from_are_the_rewards_themselves():
    rewards = np.ones((4, 1, 3))
    env = WrappedEnvs(Plain())
    assert env.learned_reward(rewards) is rewards
    assert env.metrics() == {}


def test_a_restart_begins_an_episode_in_every_environment():
    plain = Plain()
    assert WrappedEnvs(plain).restart() == "first"
    assert plain.asked[0]["options"]["reset_mask"].tolist() == [True] * 3


def test_the_watch_makes_nothing_of_what_it_sees():
    watch = EvaluationWatch()
    assert watch(np.zeros((3, 2))) is None
    assert watch.metrics(np.ones((1, 3), int)) == {}
    assert vars(watch) == {}


@pytest.mark.parametrize("estimator", [GAE(), NStep(), MonteCarlo(), TDLambda(), VTrace()])
def test_an_ordinary_estimator_wants_them_as_they_are(new_learner, estimator):
    plain, about = Plain(), cards.about(Recipe("Ant-v5"))
    wrapped = estimator.wrap(plain, new_learner(), about)
    assert type(wrapped) is WrappedEnvs
    assert wrapped.env is plain
    assert type(estimator.watch(plain, about)) is EvaluationWatch


def test_the_watch_of_a_set_function_keeps_one_episode_at_a_time_however_many_there_are():
    env, about = Plain(), cards.about(Recipe("Ant-v5"))
    env.num_envs = 1000
    watch = Submodular(Coverage(cells=(1000, 1000))).watch(env, about)
    assert isinstance(watch, EvaluationWatch)
