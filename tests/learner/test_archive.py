"""The archive of an algorithm that remembers no episodes: it takes everything in and keeps nothing."""

import numpy as np

from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.learner.archive import NoArchive


def test_learners_and_algorithms_have_it_by_default(new_learner):
    learner = new_learner()
    for archive in (learner.archive, PPO().archive(3, 2, learner.layout), TRPO().archive(3, 2, learner.layout)):
        assert type(archive) is NoArchive


def test_it_keeps_nothing_of_a_rollout():
    archive = NoArchive()
    obs, reward = np.ones((4, 3, 2, 5)), np.ones((4, 3, 2))
    archive.add_rollout(obs, obs, reward, reward > 0, None)
    archive.restart()
    archive.reset_counts(np.ones(3, bool))
    assert vars(archive) == {}
    assert archive.metrics() == archive.scalars() == archive.state_dict() == {}
    archive.load_state_dict({})
    assert vars(archive) == {}


def test_a_learners_state_has_nothing_of_it(new_learner):
    assert not any(name.startswith("archive") for name in new_learner().state_dict())
