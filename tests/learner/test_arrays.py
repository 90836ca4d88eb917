"""The same formulas on numpy arrays and on torch tensors, as they run on a GPU; here the tensors lie on the CPU."""

import numpy as np
import pytest
import torch

from rlsparse import loop, sim
from rlsparse.advantage.environments import WrappedEnvs
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.algorithms.natural_gradient import CG, MFAC
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.explore.no_probing import NoProbing
from rlsparse.learner.arrays import (
    PART,
    in_groups,
    mean_by_group,
    namespace,
    product_over_samples,
    sum_by_group,
    sum_over_samples,
    to_device,
    to_members,
    to_numpy,
)
from rlsparse.learner.network import action_mean, value
from rlsparse.run import session as sessions
from rlsparse.run.recipe import Recipe
from rlsparse.sim.collect import Collector
from rlsparse.sim.episodes import evaluate

# "cpu" means numpy; torch takes this for its CPU
TORCH = "cpu:0"


def test_the_namespace_is_the_arrays_own():
    assert namespace(np.zeros(2)) is np
    assert namespace(torch.zeros(2)) is torch


def test_on_the_cpu_arrays_stay_what_they_are():
    x = np.arange(3.0)
    assert to_device(x, "cpu") is x
    assert to_numpy(x) is x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_there_and_back(dtype):
    x = np.array([0, 1, 2], dtype)
    there = to_device(x, TORCH)
    assert isinstance(there, torch.Tensor)
    assert to_numpy(there).dtype == dtype
    np.testing.assert_array_equal(to_numpy(there), x)


def test_tensors_that_know_their_gradient_come_back_too():
    np.testing.assert_array_equal(to_numpy(torch.ones(2, requires_grad=True)), [1, 1])


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_groups_have_their_own_sums_and_means(to):
    x, group = to(np.array([[1.0, 2, 3, 4], [1, 2, 3, 4]])), to(np.array([[0, 7, 0, 7], [1, 1, 1, 0]]))
    np.testing.assert_array_equal(sum_by_group(x, group), [[4, 6, 4, 6], [6, 6, 6, 4]])
    np.testing.assert_array_equal(mean_by_group(x, group), [[2, 3, 2, 3], [2, 2, 2, 4]])


@pytest.mark.parametrize("to", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_neighbours_are_a_group(to):
    x = to(np.arange(12).reshape(2, 6))
    np.testing.assert_array_equal(in_groups(x, 3), [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]])
    np.testing.assert_array_equal(to_members(in_groups(x, 3)[..., 0], 3), [[0, 0, 0, 3, 3, 3], [6, 6, 6, 9, 9, 9]])


@pytest.mark.parametrize("samples", [2 * PART, PART + 1])
def test_a_device_sums_samples_in_parts(samples):
    x, y = (np.random.default_rng(i).standard_normal((3, samples, width)) for i, width in enumerate((5, 2)))
    np.testing.assert_allclose(
        product_over_samples(torch.tensor(x), torch.tensor(y)), np.einsum("sbi,sbo->sio", x, y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(sum_over_samples(torch.tensor(x)), x.sum(1), rtol=1e-9, atol=1e-9)


@pytest.fixture
def pair(new_learner):
    """The same learner twice: in numpy and in torch."""
    return new_learner(log_std_init=-0.3), new_learner(log_std_init=-0.3, device=TORCH)


def on_torch(batch):
    return batch.map(torch.tensor)


def assert_close(ours, theirs, names=None):
    for name in names or ours:
        np.testing.assert_allclose(to_numpy(theirs[name]), ours[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_policy_and_critic(pair, new_batch):
    numpy, tensors = pair
    obs = new_batch(numpy).obs
    for function in (action_mean, value):
        expected = function(numpy.layout, numpy.params, obs)
        got = function(tensors.layout, tensors.params, torch.tensor(obs))
        assert isinstance(got, torch.Tensor)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_loss_and_gradient(pair, new_batch):
    numpy, tensors = pair
    batch, ppo = new_batch(numpy), PPO(entropy_coef=0.01)
    gradient, torch_gradient = np.empty_like(numpy.params), torch.empty_like(tensors.params)
    views = numpy.layout.views
    stats = ppo.loss_gradient(views(numpy.params), batch, views(gradient))
    torch_stats = ppo.loss_gradient(views(tensors.params), on_torch(batch), views(torch_gradient))
    assert all(isinstance(x, torch.Tensor) for x in torch_stats.values())
    np.testing.assert_allclose(torch_gradient, gradient, rtol=1e-5, atol=1e-5)
    assert_close(stats, torch_stats)


@pytest.mark.parametrize("target_kl", [None, 0.01])
def test_a_whole_update(pair, new_batch, target_kl):
    numpy, tensors = pair
    batch = new_batch(numpy, distance=0.0)
    batch.log_prob[1] += 0.3  # with a target, this member stops before its first step
    ppo = PPO(epochs=3, minibatches=4, target_kl=target_kl)
    for stats, torch_stats in zip(ppo.update(numpy, batch), ppo.update(tensors, on_torch(batch)), strict=True):
        assert_close(vars(stats), vars(torch_stats))
    assert isinstance(tensors.params, torch.Tensor)
    assert_close(numpy.state_dict(), tensors.state_dict())
    assert (numpy.optimiser.steps[:, 0] == 0).tolist() == [False, target_kl is not None, False]
    if target_kl is None:  # on a device a member that has stopped goes on drawing, for nobody waits to hear of it
        assert numpy.random_state() == tensors.random_state()


@pytest.mark.parametrize("solver", [CG(), MFAC(8)])
def test_a_whole_update_of_trpo(pair, new_batch, solver):
    numpy, tensors = pair
    batch = new_batch(numpy, distance=0.0)
    trpo = TRPO(critic_minibatches=4, fisher_subsample=2, solver=solver)
    (stats,), (torch_stats,) = trpo.update(numpy, batch), trpo.update(tensors, on_torch(batch))
    for name, x in vars(stats).items():
        np.testing.assert_allclose(getattr(torch_stats, name), x, rtol=1e-3, atol=1e-5, err_msg=name)
    assert isinstance(tensors.params, torch.Tensor)
    np.testing.assert_allclose(numpy.params, tensors.params, atol=1e-4)
    assert numpy.random_state() == tensors.random_state()


def test_training_and_evaluation(new_learner):
    recipe = Recipe("Pendulum-v1", num_seeds=2, num_envs=2, rollout_length=205, algorithm=PPO(epochs=2, minibatches=5))
    states, returns = [], []
    for device in ("cpu", TORCH):
        learner = new_learner(recipe.seeds, obs_size=3, action_size=1, device=device)
        collector = Collector(WrappedEnvs(sim.make(recipe.env, 4)), 2, [1, 2, 3, 4])
        loop.iterate(recipe, learner, collector, NoProbing())
        states.append(learner.state_dict())
        returns.append(evaluate(sim.make(recipe.env, 2, autoreset=False), learner.actors(), [5, 6]).returns)
    assert_close(*states, ["params", "obs_moments.mean", "counters.train"])
    np.testing.assert_allclose(*returns, rtol=1e-3)


@pytest.mark.parametrize("algorithm", [PPO(epochs=1, minibatches=4, normalise_advantages=False), TRPO()])
def test_training_without_a_critic_on_samples_of_unequal_weight(algorithm):
    groups = GroupRelative(gamma=0.9, group_size=2)
    recipe = Recipe("Hopper-v5", num_seeds=2, num_envs=4, rollout_length=40, advantage=groups, algorithm=algorithm)
    learners = []
    for device in ("cpu", TORCH):
        learner, collector, explorer = sessions.begin(recipe, device)
        stats = loop.iterate(recipe, learner, collector, explorer).stats
        assert np.isnan(stats.value_loss).all()
        assert np.isfinite(stats.grad_norm).all()
        learners.append(learner)
    assert_close(learners[0].state_dict(), learners[1].state_dict(), ["params", "counters.train"])
    assert (learners[0].counters.train < 160).all()


def test_state_of_one_is_loaded_by_the_other(pair, new_batch):
    numpy, tensors = pair
    list(PPO(epochs=1, minibatches=4).update(tensors, on_torch(new_batch(numpy))))
    numpy.load_state_dict({name: x.copy() for name, x in tensors.state_dict().items()})
    assert all(isinstance(x, np.ndarray) for x in (numpy.params, *numpy.optimiser.state_dict().values()))
    for name, x in tensors.state_dict().items():
        np.testing.assert_array_equal(numpy.state_dict()[name], x, name)
    tensors.load_state_dict(numpy.state_dict())
    assert isinstance(tensors.params, torch.Tensor)


def test_a_loaded_state_is_the_learners_own(pair):
    for learner in pair:
        state = {name: x.copy() for name, x in learner.state_dict().items()}
        learner.load_state_dict(state)
        learner.counters.train += 5
        learner.params += 1
        learner.optimiser.steps += 1
        assert not state["counters.train"].any()
        assert (to_numpy(learner.params) == state["params"] + 1).all()
        assert not state["optimiser.steps"].any()
