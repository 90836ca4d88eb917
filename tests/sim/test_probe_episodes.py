"""Whole episodes of many candidates: what they return, what they cost, when they stop."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, Interrupted
from rlsparse.explore.explorer import searched_slice
from rlsparse.sim import episodes as evaluate
from rlsparse.sim.episodes import MemberPolicies, ProbeEpisodes

PLENTY = 10**9


class Line(gymnasium.Env):
    """Episodes of three to nine steps, by the seed; the reward is the action plus what the episode began with.

    Every episode notes its seed and its actions. From step `explode_at` of the class on, stepping raises.
    """

    observation_space, action_space = Box(-np.inf, np.inf, (2,), np.float64), Box(-1.0, 1.0, (1,), np.float32)
    steps = 0
    explode_at = None
    episodes: list = []

    def __init__(self, bad=None):
        self.bad = bad

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.left = self.np_random.standard_normal(2), int(self.np_random.integers(3, 10))
        self.actions = []
        Line.episodes.append((seed, self.actions))
        return self.start.copy(), {}

    def step(self, action):
        if Line.explode_at is not None and Line.steps >= Line.explode_at:
            raise RuntimeError("the rope\nbroke")
        Line.steps += 1
        self.actions.append(float(action[0]))
        self.left -= 1
        reward, obs = float(action[0]) + self.start[0], self.start.copy()
        if self.bad is not None and action[0] > 0.9 and len(self.actions) == 2:
            what, number = self.bad
            obs, reward = (obs * number, reward) if what == "observation" else (obs, number)
        return obs, reward, self.left == 0, False, {}


@pytest.fixture(autouse=True)
def fresh_line(monkeypatch):
    monkeypatch.setattr(Line, "steps", 0)
    monkeypatch.setattr(Line, "episodes", [])


@pytest.fixture
def build(register, new_learner):
    """Episodes of members of a learner whose actor is its bias alone, hence P = 3 and points (0, 0, action)."""
    env_id = None

    def build(members=(0, 1), allowance=PLENTY, stop=lambda: False, noisy=False, log_std=False, env=Line, **kwargs):
        nonlocal env_id
        env_id = env_id or (env if isinstance(env, str) else register(env, **kwargs))
        space = sim.make(env_id, 1)
        sizes = space.single_observation_space.shape[0], space.single_action_space.shape[0]
        learner = new_learner((5, 6, 7), *sizes, actor_hidden=(), log_std_init=-2.0)
        seeds = [[1000 * m + e for e in range(10)] for m in members]
        searched = searched_slice(learner.layout, log_std)
        run = ProbeEpisodes(
            MemberPolicies(learner, np.array(members), searched, seeds if noisy else None),
            lambda n: sim.make(env_id, n, autoreset=False),
            seeds,
            np.broadcast_to(allowance, len(members)),
            stop,
        )
        run.learner, run.searched = learner, searched
        return run

    return build


def points(*actions, members=2):
    """Of every member the same: [S, C, 3]."""
    one = [[0.0, 0.0, action] for action in actions]
    return np.tile(np.array(one), (members, 1, 1))


# Returns


def test_a_return_is_that_of_the_episode_the_candidate_ran(build):
    run = build()
    returns = run(points(0.25, -0.5), 0, 3)
    assert returns.shape == (2, 2, 3)
    lengths = np.array([len(actions) for _, actions in Line.episodes]).reshape(2, 2, 3)
    assert len(np.unique(lengths)) > 2
    # of the same episode: as long, begun alike, so that only the actions make a difference
    np.testing.assert_array_equal(lengths[:, 0], lengths[:, 1])
    np.testing.assert_allclose(returns[:, 0] - returns[:, 1], 0.75 * lengths[:, 0])
    assert run.steps.tolist() == lengths.sum((1, 2)).tolist()
    assert run.longest.tolist() == lengths.max((1, 2)).tolist()


@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1"])
def test_returns_are_those_of_an_evaluation(build, env_id):
    """The learner's own parameters, normaliser included, on the same seeds."""
    run = build((0, 1, 2), env=env_id)
    learner = run.learner
    learner.obs_moments.update(np.random.default_rng(0).normal(1, 2, (3, 50, learner.layout.obs_size)))
    own = learner.params[:, None, run.searched]
    env = sim.make(env_id, 9, autoreset=False)
    expected = evaluate.evaluate(env, learner.actors(), [s for seeds in run._seeds for s in seeds[:3]])
    np.testing.assert_array_equal(run(own.astype(np.float64), 0, 3)[:, 0], expected.returns)
    assert run.steps.tolist() == expected.lengths.sum(1).tolist()


def test_later_episodes_are_those_of_later_seeds(build):
    together = build()(points(0.25), 0, 5)
    run = build()
    np.testing.assert_array_equal(run(points(0.25), 0, 2), together[..., :2])
    np.testing.assert_array_equal(run(points(0.25), 2, 3), together[..., 2:])


def test_only_the_searched_numbers_are_the_candidates(build):
    """The observation weights of the learner itself play no part, its log-std does."""
    run = build(noisy=True)
    run(points(0.0, 0.0), 0, 2)
    spread = np.std([a for _, actions in Line.episodes for a in actions])
    assert spread == pytest.approx(np.exp(-2.0), rel=0.3)
    Line.episodes.clear()
    louder = np.concatenate([points(0.0, 0.0), np.full((2, 2, 1), -6.0)], 2)
    build(noisy=True, log_std=True)(louder, 0, 2)
    assert np.std([a for _, actions in Line.episodes for a in actions]) < 0.01


# Common random numbers


def test_noise_is_common_to_all_candidates_and_calls(build):
    run = build(noisy=True)
    first = run(points(0.25, -0.25), 0, 3)
    lengths = np.array([len(actions) for _, actions in Line.episodes]).reshape(2, 2, 3)
    np.testing.assert_allclose(first[:, 0] - first[:, 1], 0.5 * lengths[:, 0], rtol=1e-5)
    np.testing.assert_array_equal(run(points(0.25), 0, 3), first[:, :1])
    np.testing.assert_array_equal(run(points(-0.25), 1, 2), first[:, 1:, 1:])


def test_noise_differs_from_step_to_step_episode_to_episode_and_member_to_member(build):
    build(noisy=True)(points(0.0), 0, 3)
    drawn = [a for _, actions in Line.episodes for a in actions]
    assert len(set(drawn)) == len(drawn)


def test_without_noise_actions_are_the_mean(build):
    build()(points(0.25), 0, 3)
    assert {a for _, actions in Line.episodes for a in actions} == {0.25}


@pytest.mark.parametrize("noisy", [False, True])
def test_a_member_gets_what_it_would_get_alone(build, noisy):
    """Though members' episodes and steps differ, and one of them is out of steps on the way."""
    allowance = [60, 200, 300]
    together = build((0, 1, 2), np.array(allowance), noisy=noisy)
    calls = [(points(0.25, -0.25, members=3), 0, 4), (points(0.5, members=3), 0, 6), (points(0.1, 1, members=3), 4, 2)]
    returns = [together(*call) for call in calls]
    assert together.exhausted.tolist() == [True, False, False]
    for member in range(3):
        alone = build((member,), allowance[member], noisy=noisy)
        for (x, *episodes), expected in zip(calls, returns, strict=True):
            np.testing.assert_array_equal(alone(x[:1], *episodes)[0], expected[member])
        for name in ("steps", "longest", "exhausted"):
            assert getattr(alone, name)[0] == getattr(together, name)[member]


# Steps


def two_calls(run):
    return np.concatenate([run(points(0.25, -0.25, members=1), 0, 3), run(points(0.5, members=1), 0, 3)], 1)


@pytest.mark.parametrize("missing", [0, 1, 5, 17, 40])
def test_no_step_is_taken_beyond_the_allowance(build, missing):
    enough = build((0,))
    two_calls(enough)
    allowance, Line.steps = enough.steps[0] - missing, 0

    def within():
        assert Line.steps <= allowance
        return False

    run = build((0,), allowance, stop=within)
    returns = two_calls(run)
    assert run.steps[0] == Line.steps <= allowance
    assert run.exhausted[0] == np.isnan(returns).any() == (missing > 0)


def test_once_out_of_steps_nothing_more_is_spent(build):
    """Though a smaller step could still be paid: what it would tell cannot be accepted any more."""
    run = build((0,), 20)
    run(points(0.1, 0.2, 0.3, members=1), 0, 3)
    assert run.exhausted[0]
    spent = Line.steps
    assert 20 - spent >= 1
    assert np.isnan(run(points(0.1, members=1), 0, 1)).all()
    assert Line.steps == spent


def test_an_allowance_that_is_just_enough_is_enough(build):
    run = build((0,))
    returns = run(points(0.1, 0.2, members=1), 0, 3)
    exactly = build((0,), run.steps[0])
    np.testing.assert_array_equal(exactly(points(0.1, 0.2, members=1), 0, 3), returns)
    assert not exactly.exhausted[0]


def test_episodes_that_are_over_cost_nothing_more(build):
    build((0,))(points(0.1, members=1), 0, 6)
    lengths = [len(actions) for _, actions in Line.episodes]
    assert min(lengths) < max(lengths)
    assert Line.steps == sum(lengths)


def test_an_episode_without_end_is_cut(build, monkeypatch):
    monkeypatch.setattr("rlsparse.sim.episodes.STEP_CAP", 5)
    run = build((0,))
    returns = run(points(0.5, members=1), 0, 6)
    assert np.isfinite(returns).all() and run.longest == 5
    assert max(len(actions) for _, actions in Line.episodes) == 5


def test_members_that_want_nothing_spend_nothing(build):
    run = build()
    returns = run(points(0.25, np.nan), 0, 2, np.array([False, True]))
    assert np.isnan(returns[0]).all() and np.isfinite(returns[1, 0]).all() and (returns[1, 1] == -np.inf).all()
    assert run.steps[0] == run.longest[0] == 0
    assert run.steps[1] == Line.steps
    assert not run.exhausted.any()


# Candidates that fail


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_parameters_that_are_not_finite_fail_without_a_step(build, bad):
    run = build((0,))
    with np.errstate(over="ignore"):
        returns = run(points(0.25, bad, members=1), 0, 2)
    assert (returns[0, 1] == -np.inf).all() and np.isfinite(returns[0, 0]).all()
    assert run.steps[0] == Line.steps == sum(len(actions) for _, actions in Line.episodes[:2])


def test_an_action_that_is_not_a_number_fails_without_a_step(build):
    """Finite parameters, whose sum is not."""
    run = build((0,))
    huge = np.array([[[3e38, -3e38, 0.0], [0.0, 0.0, 0.25]]])
    run.learner.obs_moments.mean[:] = -100.0
    with np.errstate(over="ignore", invalid="ignore"):
        returns = run(huge, 0, 2)
    assert (returns[0, 0] == -np.inf).all() and np.isfinite(returns[0, 1]).all()
    assert not any(actions for _, actions in Line.episodes[:2])


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e200])
def test_an_episode_that_diverges_ends_there_as_failed(build, what, number):
    run = build((0,), bad=(what, number))
    with np.errstate(invalid="ignore"):
        returns = run(points(1.0, 0.5, members=1), 0, 3)
    assert (returns[0, 0] == -np.inf).all() and np.isfinite(returns[0, 1]).all()
    assert [len(actions) for _, actions in Line.episodes[:3]] == [2, 2, 2]
    assert run.steps[0] == Line.steps


@pytest.mark.parametrize("env_id", ["Hopper-v5", "InvertedPendulum-v5"])
def test_the_physics_goes_on_for_others(build, env_id):
    run = build((0,), env=env_id)
    size = run.searched.stop
    sane = np.zeros((1, 1, size))
    broken = np.full((1, 1, size), np.nan)
    expected = run(sane, 0, 2)
    steps = run.steps.copy()
    returns = run(np.concatenate([broken, sane, broken], 1), 0, 2)
    np.testing.assert_array_equal(returns[:, 1], expected[:, 0])
    assert (run.steps == 2 * steps).all()
    assert (run(broken, 0, 2) == -np.inf).all()


# Ends that are not the episode's


@pytest.mark.parametrize("poll", [1, 2, 3])
def test_told_to_stop_it_stops_before_the_next_step(build, poll):
    asked = iter(range(1, 100))
    run = build((0,), stop=lambda: next(asked) == poll)
    with pytest.raises(Interrupted):
        run(points(0.1, members=1), 0, 2)
    assert Line.steps == 2 * (poll - 1)


def test_a_failing_environment_says_so_with_no_step_uncounted(build, monkeypatch):
    monkeypatch.setattr(Line, "explode_at", 7)
    run = build((0,))
    with pytest.raises(EnvironmentFailure, match="the rope"):
        run(points(0.1, members=1), 0, 3)
    assert Line.steps == 7
    assert run.steps.tolist() == [9]  # the whole third step of three
