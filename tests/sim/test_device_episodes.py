"""Episodes on a device: evaluation and probing give what they give on the CPU, and cost as many steps."""

import numpy as np
import pytest
import torch
from tensors import DEVICE, TensorEnv, make_on_the_host

from rlsparse.advantage.submodular import Submodular
from rlsparse.errors import DivergenceError, Interrupted
from rlsparse.explore.explorer import searched_slice
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe
from rlsparse.sim.episodes import MemberPolicies, ProbeEpisodes, evaluate

ENV, SEEDS = "Hopper-v5", (3, 4)
PLENTY = 10**9
EPISODES = [[11, 12, 13], [21, 22, 23]]


@pytest.fixture(scope="module")
def learners():
    """The same two members on the CPU and on a device, having seen a little."""
    policy = ActorCritic((8,), (8,))
    host, device = Learner(policy, 11, 3, SEEDS), Learner(policy, 11, 3, SEEDS, DEVICE, simulated_on=DEVICE)
    obs = np.random.default_rng(0).standard_normal((2, 50, 11))
    host.obs_moments.update(obs)
    device.obs_moments.update(torch.tensor(obs))
    return host, device


@pytest.fixture(scope="module")
def points(learners):
    """Four candidates around each member; parameters of one are not finite, and one acts beyond all measure."""
    part = searched_slice(learners[0].layout, log_std=False)
    noise = np.random.default_rng(1).standard_normal((2, 4, part.stop)) * 0.3
    points = learners[0].params[:, None, part] + noise
    points[0, 3, 5] = np.nan
    points[1, 2] = 3e38
    return points


def probes(learners, allowance=(PLENTY, PLENTY), noise=None, stop=lambda: False):
    """Probe episodes on the CPU and on the device."""
    members, part = np.arange(2), searched_slice(learners[0].layout, log_std=False)
    for learner, make in zip(learners, (make_on_the_host, TensorEnv), strict=True):
        envs = lambda n, make=make: make(ENV, n, autoreset=False)  # noqa: E731
        policies = MemberPolicies(learner, members, part, noise)
        yield ProbeEpisodes(policies, envs, EPISODES, np.array(allowance), stop, learner.simulated_on)


def test_evaluation_gives_what_it_gives_on_the_cpu(learners):
    host, device = learners
    seeds = [1, 2, 3, 4, 5, 6]
    expected = evaluate(make_on_the_host(ENV, 6, autoreset=False), host.actors(), seeds)
    scores = evaluate(TensorEnv(ENV, 6, autoreset=False), device.actors(), seeds, device=DEVICE)
    np.testing.assert_array_equal(scores.lengths, expected.lengths)
    np.testing.assert_allclose(scores.returns, expected.returns, rtol=1e-3)
    assert len(np.unique(scores.lengths)) > 2


def test_a_set_function_of_evaluation_episodes_is_that_on_the_cpu(learners):
    about = cards.about(Recipe(ENV))
    found = []
    for learner, make in zip(learners, (make_on_the_host, TensorEnv), strict=True):
        env = make(ENV, 6, autoreset=False)
        watch = Submodular().watch(env, about)
        scores = evaluate(env, learner.actors(), range(6), watch=watch, device=learner.simulated_on)
        found.append(watch.metrics(scores.lengths)["coverage"])
    assert (found[0] > 1).all()
    np.testing.assert_array_equal(*found)


def test_a_policy_that_is_not_finite_is_no_score(learners):
    _, device = learners
    actors = device.actors()
    actors.params[1, 0] = torch.nan
    with pytest.raises(DivergenceError, match="not finite: seed 4, an evaluation episode"):
        evaluate(TensorEnv(ENV, 4, autoreset=False), actors, [1, 2, 3, 4], device=DEVICE)
    actors.params[1, 0] = float(learners[0].params[1, 0])


@pytest.mark.parametrize("allowance", [(PLENTY, PLENTY), (60, PLENTY), (0, 5)])
@pytest.mark.parametrize("wanted", [None, [False, True]])
def test_candidates_score_what_they_score_on_the_cpu(learners, points, allowance, wanted):
    host, device = probes(learners, allowance)
    wanted = None if wanted is None else np.array(wanted)
    for first, count in ((0, 2), (2, 1)):
        with np.errstate(all="ignore"):
            expected = host(points, first, count, wanted)
        np.testing.assert_allclose(device(points, first, count, wanted), expected, rtol=1e-3)
        for name in ("steps", "longest", "exhausted"):
            np.testing.assert_array_equal(getattr(device, name), getattr(host, name), err_msg=name)


def test_noise_is_alike_for_all_candidates_of_a_member_and_follows_the_seeds(learners, points):
    same = np.repeat(points[:, :1], 3, 1)

    def scores(noise):
        return list(probes(learners, noise=noise))[1](same, 0, 3)

    first, again, other = scores([[1, 2, 3], [4, 5, 6]]), scores([[1, 2, 3], [4, 5, 6]]), scores([[7, 2, 3], [8, 5, 6]])
    np.testing.assert_array_equal(first, again)
    assert (first == first[:, :1]).all()
    assert (first != other).all()
    assert (first[0, 0] != list(probes(learners))[1](same, 0, 3)[0, 0]).all()


def test_probing_stops_when_it_is_told_to(learners, points):
    _, device = probes(learners, stop=lambda: True)
    with pytest.raises(Interrupted):
        device(points, 0, 2)
