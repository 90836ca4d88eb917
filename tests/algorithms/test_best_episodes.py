"""The best episodes that succeeded are kept whole, wherever rollouts cut them and whoever waits in between."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsparse.algorithms import best_episodes
from rlsparse.algorithms.cloning import HPT, BestEpisodes

STEPS, MEMBERS, ENVS = 24, 2, 3


def new(episodes=4, success_return=0.0, gate=0.0, members=MEMBERS, num_envs=ENVS):
    return BestEpisodes(HPT(success_return=success_return, gate=gate, episodes=episodes), members, num_envs, 2, 1)


def numbered(shape=(STEPS, MEMBERS, ENVS)):
    """Observations (step, environment) and actions that no two steps share."""
    step, env = np.indices((shape[0], shape[1] * shape[2]))
    obs = np.stack([step, env], -1).reshape(*shape, 2).astype(np.float32)
    return obs, obs[..., :1] + 100 * obs[..., 1:]


def see(best, reward, ended, valid=None, part=slice(None)):
    obs, action = numbered(reward.shape)
    best.see(*(x if x is None else x[part] for x in (obs, action, reward, ended, valid)))


@st.composite
def lives(draw):
    """Rewards, ends and steps that are real, [T, S, N], of environments that may wait after an end."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = STEPS, MEMBERS, ENVS
    ended = rng.random(shape) < draw(st.floats(0, 0.5))
    reward = rng.integers(-2, 3, shape).astype(float)
    valid = np.ones(shape, bool)
    if draw(st.booleans()):
        for t in range(1, STEPS):
            over = ended[t - 1]
            valid[t] = ~(over & (rng.random(over.shape) < 0.5))
            ended[t] |= ~valid[t]
        reward[~valid] = 0
    cuts = sorted(draw(st.sets(st.integers(1, STEPS - 1), max_size=4)))
    return reward, ended, valid, [slice(*edge) for edge in zip([0, *cuts], [*cuts, STEPS], strict=True)]


def episodes_of(member, reward, ended, valid):
    """All whole episodes by the definition: (return, step of the end, environment, the steps)."""
    for n in range(ENVS):
        steps = []
        for t in np.flatnonzero(valid[:, member, n]):
            steps.append(t)
            if ended[t, member, n]:
                yield reward[steps, member, n].sum(), t, n, steps
                steps = []


@given(lives(), st.integers(1, 5), st.integers(-3, 3))
def test_the_best_whole_episodes_are_kept_wherever_rollouts_cut_them(life, episodes, success_return):
    reward, ended, valid, parts = life
    best = new(episodes, success_return)
    for part in parts:
        see(best, reward, ended, valid, part)
    for member in range(MEMBERS):
        whole = [x for x in episodes_of(member, reward, ended, valid) if x[0] > success_return]
        expected = sorted(whole, key=lambda x: (-x[0], -x[1], -x[2]))[:episodes]
        assert [x.total for x in best.kept[member]] == [x[0] for x in expected]
        for kept, (_, _, n, steps) in zip(best.kept[member], expected, strict=True):
            env = member * ENVS + n
            assert kept.obs.tolist() == [[t, env] for t in steps]
            assert kept.action[:, 0].tolist() == [t + 100 * env for t in steps]


@given(lives(), st.integers(-3, 3))
def test_the_share_of_successes_is_of_the_episodes_that_ended_in_the_last_rollout(life, success_return):
    reward, ended, valid, parts = life
    best = new(success_return=success_return)
    for part in parts:
        see(best, reward, ended, valid, part)
    for member in range(MEMBERS):
        returns = [x[0] for x in episodes_of(member, reward, ended, valid) if x[1] >= parts[-1].start]
        expected = np.mean([x > success_return for x in returns]) if returns else np.nan
        np.testing.assert_equal(best.success[member], expected)


@given(lives())
def test_put_back_from_its_state_it_goes_on_the_same_way(life):
    reward, ended, valid, parts = life
    best = new()
    for part in parts:
        resumed = new()
        resumed.load_state_dict(best.state_dict())
        for each in (best, resumed):
            see(each, reward, ended, valid, part)
            each.decide()
        assert {name: x.tobytes() for name, x in best.state_dict().items()} == {
            name: x.tobytes() for name, x in resumed.state_dict().items()
        }
        best = resumed


@given(lives())
def test_a_member_knows_nothing_of_the_others(life):
    reward, ended, valid, parts = life
    together, alone = new(), new(members=1)
    for part in parts:
        see(together, reward, ended, valid, part)
        obs, action = numbered()
        alone.see(*(x[part, 1:] for x in (obs, action, reward, ended, valid)))
    np.testing.assert_equal(together.kept[1], alone.kept[0])
    np.testing.assert_equal(together.success[1:], alone.success)


def test_of_equally_good_episodes_the_later_ones_are_kept():
    best = new(episodes=2, members=1, num_envs=1)
    reward = np.ones((4, 1, 1))
    see(best, reward, reward > 0)
    assert [x.obs[0, 0] for x in best.kept[0]] == [3, 2]


def test_what_was_broken_off_is_not_gone_on_with():
    best = new(members=1, num_envs=1)
    reward, ended = np.ones((2, 1, 1)), np.array([[[False]], [[True]]])
    see(best, reward[:1], ended[:1])
    best.restart()
    see(best, reward, ended)
    assert [x.total for x in best.kept[0]] == [2.0]


def test_an_episode_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(best_episodes, "LONGEST", 5)
    best = new(members=1, num_envs=1)
    reward, ended = np.ones((4, 1, 1)), np.zeros((4, 1, 1), bool)
    for _ in range(3):
        see(best, reward, ended)
        assert len(best.running[0][0].obs) <= 5
    ended[-1] = True
    see(best, reward, ended)
    assert best.success == 0
    assert best.kept == [[]]
    see(best, reward, ended)
    assert [x.total for x in best.kept[0]] == [4.0]


# When to clone


@pytest.mark.parametrize(
    ("paid", "gate", "expected"), [(0, 0.0, True), (1, 0.0, False), (1, 0.5, True), (2, 0.5, False), (2, 1.0, True)]
)
def test_a_member_clones_when_too_few_episodes_succeed(paid, gate, expected):
    best = new(gate=gate, members=1, num_envs=2)
    ended = np.ones((1, 1, 2), bool)
    see(best, np.ones((1, 1, 2)), ended)
    see(best, (np.arange(2) < paid).astype(float)[None, None], ended)
    assert best.decide().tolist() == [expected]
    assert best.clonings.tolist() == [expected]


def test_a_member_does_not_clone_without_a_stored_success_nor_when_no_episode_has_ended():
    best = new(members=2, num_envs=1)
    ended = np.ones((1, 2, 1), bool)
    see(best, np.array([[[0.0], [1.0]]]), ended)
    assert best.decide().tolist() == [False, False]
    see(best, np.zeros((1, 2, 1)), ended)
    assert best.decide().tolist() == [False, True]
    see(best, np.zeros((1, 2, 1)), ~ended)
    assert np.isnan(best.success).all()
    assert best.decide().tolist() == [False, False]


def test_the_share_of_updates_that_cloned_is_told_from_one_time_to_the_next():
    best = new(members=2, num_envs=1)
    ended = np.ones((1, 2, 1), bool)
    assert np.isnan(best.share()).all()
    for reward in ([1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]):
        see(best, np.reshape(reward, (1, 2, 1)), ended)
        best.decide()
    assert best.share().tolist() == [0.75, 0.25]
    best.told(np.array([True, False]))
    np.testing.assert_equal(best.share(), [np.nan, 0.25])


def test_steps_are_drawn_from_all_kept_episodes_alike():
    best = new(episodes=2, members=1, num_envs=1)
    ended = np.zeros((6, 1, 1), bool)
    ended[[1, 5]] = True
    see(best, np.ones((6, 1, 1)), ended)
    obs, action = best.sample(0, 6000, np.random.default_rng(0))
    assert obs.dtype == action.dtype == np.float32
    assert (obs[:, 0] == action[:, 0]).all()
    np.testing.assert_allclose(np.bincount(obs[:, 0].astype(int)) / 1000, 1.0, atol=0.12)
