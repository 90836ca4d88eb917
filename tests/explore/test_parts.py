"""Episodes of a probe cut into parts: whoever runs them, scores, steps and failures are those of one process."""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from rlsparse import sim
from rlsparse.errors import EnvironmentFailure, Interrupted
from rlsparse.explore.explorer import searched_slice
from rlsparse.explore.parts import NEVER, PartedEpisodes, cut, first_unpaid, pieces, run_part
from rlsparse.sim.episodes import MemberPolicies, ProbeEpisodes

PLENTY = 10**9
MEMBERS = np.array([2, 0, 1])
SEEDS = [[1000 * m + e for e in range(10)] for m in MEMBERS]


class Rope(gymnasium.Env):
    """Episodes of three to nine steps, by the seed; it breaks in the step and the episodes that `breaks` names."""

    observation_space, action_space = Box(-np.inf, np.inf, (3,), np.float64), Box(-1.0, 1.0, (2,), np.float32)
    breaks: dict = {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.left = self.np_random.standard_normal(3), int(self.np_random.integers(3, 10))
        self.step_number, self.length = 0, self.left
        if Rope.breaks.get(self.left) == 0:
            raise RuntimeError(f"no rope of {self.left}")
        return self.start.copy(), {}

    def step(self, action):
        self.step_number += 1
        if Rope.breaks.get(self.length) == self.step_number:
            raise RuntimeError(f"a rope of {self.length}\nbroke")
        self.left -= 1
        self.start = 0.9 * self.start + float(action[0])
        return self.start.copy(), float(action.sum() + self.start[0]), self.left == 0, False, {}


@pytest.fixture(autouse=True)
def whole_ropes(monkeypatch):
    monkeypatch.setattr(Rope, "breaks", {})


@pytest.fixture
def build(register, new_learner):
    """Builds what runs episodes of three members here, or in parts for so many workers, and three points of each."""
    rope, here = register(Rope), {}

    def build(workers=None, allowance=PLENTY, noisy=False, env=rope, stop=lambda: False):
        if env not in here:
            probe = sim.make(env, 1)
            here[env] = probe.single_observation_space.shape[0], probe.single_action_space.shape[0]
        learner = new_learner((5, 6, 7), *here[env])
        learner.obs_moments.update(np.random.default_rng(0).normal(1, 2, (3, 50, here[env][0])))
        noise = [[s + 7 for s in own] for own in SEEDS] if noisy else None
        policies = MemberPolicies(learner, MEMBERS, searched_slice(learner.layout, noisy), noise)
        make = partial(sim.make, env, autoreset=False)
        rest = policies, make, SEEDS, np.broadcast_to(allowance, 3), stop, "cpu"
        return ProbeEpisodes(*rest) if workers is None else PartedEpisodes(executor(make), lambda: workers, *rest)

    return build


def executor(make):
    """Runs parts one after the other, the last first: as other processes may."""

    def execute(parts, stop):
        if stop():
            raise Interrupted
        return [run_part(make, part) for part in parts[::-1]][::-1]

    return execute


def points(run, candidates=3, seed=0):
    size = run._policies.searched.stop - run._policies.searched.start
    return np.random.default_rng(seed).normal(0, 0.3, (3, candidates, size))


def calls(run):
    """A race: all candidates, then some of them, then a duel that one member does not want."""
    asked = [
        (points(run, 4), 0, 2, None),
        (points(run, 2, seed=1), 2, 3, None),
        (points(run, 2, seed=2), 5, 4, np.array([True, False, True])),
    ]
    return [run(*call) for call in asked]


def account(run):
    return run.steps.tolist(), run.exhausted.tolist(), run.longest.tolist()


# Bit for bit what one process gives


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("noisy", [False, True])
def test_scores_and_steps_are_those_of_one_process(build, workers, noisy):
    here, parted = build(noisy=noisy), build(workers, noisy=noisy)
    for ours, theirs in zip(calls(parted), calls(here), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert account(parted) == account(here)


@pytest.mark.parametrize("env", ["Hopper-v5", "InvertedPendulum-v5", "Pendulum-v1"])
def test_so_they_are_in_environments_of_others(build, env):
    here, parted = build(env=env, noisy=True), build(4, env=env, noisy=True)
    some = points(here)
    np.testing.assert_array_equal(parted(some, 0, 2), here(some, 0, 2))
    assert account(parted) == account(here)


@pytest.mark.parametrize("workers", [1, 2, 5, 64])
@pytest.mark.parametrize("left", range(0, 160, 13))
def test_an_allowance_ends_where_it_would_in_one_process(build, workers, left):
    """Each member has another one; who cannot pay a step of all its episodes stops, whoever runs them."""
    allowance = np.array([left, 2 * left, 3 * left])
    here, parted = build(allowance=allowance), build(workers, allowance)
    for ours, theirs in zip(calls(parted), calls(here), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert account(parted) == account(here)


@pytest.mark.parametrize("workers", [1, 5, 64])
@pytest.mark.parametrize("left", [0, 20, 45, PLENTY])
def test_candidates_that_fail_fail_alike(build, workers, left):
    """One is not finite, and one has actions that are not."""
    here, parted = build(allowance=left), build(workers, left)
    some = points(here)
    some[1, 0, 0], some[0, 2] = np.nan, 3e38
    with np.errstate(over="ignore", invalid="ignore"):
        ours, theirs = parted(some, 0, 3), here(some, 0, 3)
    np.testing.assert_array_equal(ours, theirs)
    assert (ours[1, 0] == -np.inf).all() and (ours[0, 2] == -np.inf).all()
    assert account(parted) == account(here)


@pytest.mark.parametrize("workers", [1, 2, 5, 64])
@pytest.mark.parametrize("breaks", [{5: 2}, {9: 9, 8: 1}, {7: 0}, {6: 4, 4: 4}])
@pytest.mark.parametrize("left", [PLENTY, 25, 12, 4])
def test_an_environment_that_fails_ends_the_call_in_the_same_step(build, monkeypatch, workers, breaks, left):
    """Or not at all, if the allowance ends before. Its message names the same environment."""
    monkeypatch.setattr(Rope, "breaks", breaks)
    here, parted = build(allowance=left), build(workers, left)
    some = points(here)

    def told(run):
        try:
            return run(some, 0, 3).tobytes()
        except EnvironmentFailure as error:
            return str(error)

    assert told(parted) == told(here)
    assert parted.steps.tolist() == here.steps.tolist() and parted.exhausted.tolist() == here.exhausted.tolist()


def test_told_to_stop_nothing_is_counted(build):
    run = build(2, stop=lambda: True)
    with pytest.raises(Interrupted):
        run(points(run), 0, 2)
    assert run.steps.tolist() == [0, 0, 0]


# Cutting


@pytest.mark.parametrize(
    "episodes, members, workers, expected",
    [
        (21, 1, 1, 1),
        (21, 1, 4, 4),
        (8, 1, 64, 8),  # no worker gets less than one episode
        (8, 10, 4, 2),  # 20 parts in 5 turns of 4 episodes; a part of each would take 3 turns of 8
        (60, 3, 2, 2),  # 6 parts in 3 turns of 30
        (60, 4, 8, 2),
        (60, 0, 8, 1),
    ],
)
def test_the_largest_share_of_a_worker_is_as_small_as_can_be(episodes, members, workers, expected):
    assert pieces(episodes, members, workers) == expected


@pytest.mark.parametrize("workers", [1, 3, 7, 100])
def test_every_wanted_episode_is_in_one_part_and_no_other(new_learner, workers):
    learner = new_learner((5, 6, 7))
    runs = np.array([[True, True, False, True], [False] * 4, [True] * 4])
    searched = searched_slice(learner.layout, False)
    actors = learner.actors_at(np.zeros((3, 4, searched.stop)), searched, MEMBERS)
    seeds = [own[:3] for own in SEEDS]
    parts = cut(actors, runs, seeds, None, np.array([1, 2, 3]), workers)
    numbers = np.concatenate([part.first + np.flatnonzero(part.runs) for part in parts])
    assert sorted(numbers) == np.flatnonzero(np.repeat(runs.ravel(), 3)).tolist()
    for part in parts:
        assert part.seeds == seeds[part.member] and part.left == part.member + 1
        first = part.first // 3
        np.testing.assert_array_equal(
            part.policies, actors.params[first : first + len(part.policies), learner.layout.policy]
        )
        np.testing.assert_array_equal(part.scale.mean, actors.scale.mean[[first]])
        assert len(part.runs) == 3 * len(part.policies)


def test_the_first_step_that_cannot_be_paid():
    lengths = np.array([2, 4, 0])  # 2, 2, 1 and 1 episodes run in steps 0 to 3
    assert [first_unpaid(lengths, left) for left in range(7)] == [0, 0, 1, 1, 2, 3, NEVER]
