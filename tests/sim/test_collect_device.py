"""The population on a device: it collects and learns what the one on the CPU does, and no step waits for another."""

from dataclasses import replace

import numpy as np
import pytest
import tensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from tape import memory, tape
from tensors import DEVICE, NumpyDraws, TensorEnv, never_waiting

from rlsparse import loop, sim
from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.group_relative import GRPO, RLOO, GroupRelative, ReinforcePlusPlus
from rlsparse.advantage.set_functions import FacilityLocation, LogDet
from rlsparse.advantage.submodular import Submodular
from rlsparse.algorithms.objectives import GSPO
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.reuse import Reuse
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.errors import DivergenceError
from rlsparse.explore.choice import Choice
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.propose import Line
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.arrays import to_numpy
from rlsparse.learner.network import ActorCritic
from rlsparse.run import session as sessions
from rlsparse.run.recipe import Recipe
from rlsparse.sim.collect_device import newest
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import RigL

HOST = Recipe(
    env="Hopper-v5",
    num_seeds=2,
    num_envs=3,
    rollout_length=40,
    total_steps=10_000,
    policy=ActorCritic((8, 8), (8, 8)),
    algorithm=PPO(epochs=2, minibatches=4),
)
ALGORITHMS = {
    "ppo": HOST.algorithm,
    "ppo that stops early": PPO(epochs=3, minibatches=4, learning_rate=1e-2, target_kl=0.01),
    "gspo": PPO(epochs=2, minibatches=1, learning_rate=1e-2, objective=GSPO()),
    "trpo": TRPO(critic_epochs=2, critic_minibatches=4),
    "n-pg-igt": NPGIGT(critic_epochs=2, critic_minibatches=4),
    "n-harpg": NHARPG(critic_epochs=2, critic_minibatches=4, second_length=8),
}
AT_ONCE = [name for name in ALGORITHMS if name != "n-harpg"]
"""Those that read no number between the first step and the last gradient."""


@pytest.fixture
def begin(monkeypatch):
    """Build a recipe's learner and environments as a device has them, drawing what numpy draws for the CPU."""
    monkeypatch.setattr(sim, "make", TensorEnv)

    def begin(recipe):
        learner, collector, explorer = sessions.begin(replace(recipe, simulator="warp"), DEVICE)
        learner.noise, learner.orders = NumpyDraws(learner.seeds, "noise"), NumpyDraws(learner.seeds, "minibatch")
        return learner, collector, explorer

    return begin


def begin_on_host(recipe):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sim, "make", tensors.make_on_the_host)
        return sessions.begin(recipe)


def assert_near(ours, theirs, tolerance=2e-4):
    np.testing.assert_allclose(to_numpy(ours), theirs, rtol=tolerance, atol=tolerance)


def test_a_device_collects_what_the_cpu_does(begin):
    (learner, collector, _), (host, on_host, _) = begin(HOST), begin_on_host(HOST)
    for _ in range(2):
        rollout, expected = collector.collect(learner, 40, 0.99), on_host.collect(host, 40, 0.99)
        assert expected.terminated.any()
        for name, array in vars(expected).items():
            if array is not None:
                assert_near(getattr(rollout, name), array)
    np.testing.assert_array_equal(learner.counters.train, host.counters.train)
    assert_near(collector.recent_returns, on_host.recent_returns)
    assert_near(collector.recent_lengths, on_host.recent_lengths)
    for name, moment in host.return_moments.state_dict().items():
        assert_near(getattr(learner.return_moments, name), moment)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_an_iteration_on_a_device_learns_what_one_on_the_cpu_does(begin, algorithm):
    recipe = replace(HOST, algorithm=algorithm)
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    learner, host = on_device[0], on_host[0]
    before = host.params.copy()
    stats, expected = (loop.iterate(recipe, *each).stats for each in (on_device, on_host))
    assert np.abs(host.params - before).max() > 1e-3
    assert_near(learner.params, host.params, 5e-4)
    assert_near(learner.obs_moments.mean, host.obs_moments.mean)
    for name, numbers in vars(expected).items():
        assert_near(getattr(stats, name), numbers, 5e-3)


@pytest.mark.parametrize("resumed", [False, True])
def test_earlier_rollouts_are_learned_from_on_a_device_as_on_the_cpu(begin, resumed):
    recipe = replace(HOST, algorithm=PPO(epochs=2, minibatches=4, objective=Reuse(rollouts=3)))
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(4):
        for each in (on_device, on_host):
            loop.iterate(recipe, *each)
        learner, host = on_device[0], on_host[0]
        assert_near(learner.params, host.params, 2e-3)
        if resumed:
            kept = learner.archive.state_dict()
            assert all(type(x) is np.ndarray for x in kept.values())
            learner.archive.load_state_dict(kept)
    assert len(learner.archive.kept) == 2


PROBES = {"surrogate": Surrogate(level=0.5), "in-rollout": InRollout(move="evolution")}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_a_probe_without_steps_judges_on_a_device_as_on_the_cpu(begin, probe):
    recipe = replace(HOST, explore=ExploRLer(Line(), probe, num_anchors=2))
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(4):
        choice, expected = (loop.iterate(recipe, *each).choice for each in (on_device, on_host))
    np.testing.assert_allclose(choice.score, expected.score, rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(choice.accepted, expected.accepted)
    assert_near(on_device[0].params, on_host[0].params, 2e-3)


def test_a_deviation_that_depends_on_the_state_is_that_of_the_cpu(begin):
    recipe = replace(HOST, policy=ActorCritic((8, 8), (8, 8), state_dependent_std=True))
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(2):
        for each in (on_device, on_host):
            loop.iterate(recipe, *each)
    assert_near(on_device[0].params, on_host[0].params, 2e-3)


RULES = {"rigl": RigL(), "ast": AST(), "dcil": DCIL()}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_sparse_networks_learn_on_a_device_what_they_do_on_the_cpu(begin, rule):
    recipe = replace(HOST, sparse=Sparse(sparsity=0.5, rule=rule), total_steps=600)
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(3):
        for each in (on_device, on_host):
            loop.iterate(recipe, *each)
    learner, host = on_device[0], on_host[0]
    ours, theirs = learner.sparsity.masks, host.sparsity.masks
    assert ours.regrown.tolist() == theirs.regrown.tolist()
    np.testing.assert_array_equal(ours.active, theirs.active)
    assert_near(learner.params, host.params, 2e-3)


SPARSE = {"dense": None} | {name: Sparse(sparsity=0.5, rule=rule) for name, rule in RULES.items()}


@pytest.mark.parametrize(
    ("algorithm", "sparse"),
    [(algorithm, "dense") for algorithm in ALGORITHMS if algorithm != "n-harpg"]
    + [("ppo", rule) for rule in RULES]
    + [("trpo", "rigl")],
)
def test_the_host_waits_for_nothing_between_the_first_step_and_the_last_gradient(begin, algorithm, sparse):
    algorithm, sparse = ALGORITHMS[algorithm], SPARSE[sparse]
    recipe = replace(HOST, algorithm=algorithm, sparse=sparse)
    learner, collector, _ = begin(recipe)
    learner.begin_iteration(recipe.total_steps)
    with never_waiting():
        rollout = collector.collect(learner, 40, 0.99)
        batch = learner.batch(rollout, recipe.advantage(rollout))
        stats = list(learner.update(algorithm, batch))
    assert np.isfinite(stats[-1].on_host().grad_norm).all()


@pytest.mark.parametrize("algorithm", ["ppo", "trpo"])
def test_the_host_waits_for_nothing_that_is_replayed(begin, algorithm):
    recipe = replace(HOST, algorithm=ALGORITHMS[algorithm])
    learner, collector, explorer = begin(recipe)
    learner.record = tape
    loop.iterate(recipe, learner, collector, explorer)
    learner.begin_iteration(recipe.total_steps)
    with never_waiting():
        rollout = collector.collect(learner, 40, 0.99)
        list(learner.update(recipe.algorithm, learner.batch(rollout, recipe.advantage(rollout))))


@pytest.mark.parametrize("algorithm", ["ppo", "trpo"])
def test_what_a_recording_changes_stays_where_it_is_whatever_happens_between(begin, algorithm):
    recipe = replace(HOST, algorithm=ALGORITHMS[algorithm], explore=ExploRLer())
    learner, collector, explorer = begin(recipe)
    learner.record = tape

    def places():
        return [memory(x) for x in (learner.params, *learner.optimiser.state_dict().values())]

    before = places()
    for _ in range(3):
        loop.iterate(recipe, learner, collector, explorer)
        found = Choice.rejected(explorer._incumbent() + 0.01, np.zeros(2, np.int64), "")
        explorer._apply(np.arange(2), replace(found, accepted=np.ones(2, bool)))
        learner.load_state_dict({name: to_numpy(x).copy() for name, x in learner.state_dict().items()})
        with learner.using(learner.params[:, learner.layout.policy] * 1):
            learner.actors()
    assert places() == before


def test_waiting_is_noticed():
    x = torch.ones(3)
    for question in (
        lambda: bool(x.any()),
        lambda: x.tolist(),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: np.asarray(x),
    ):
        with never_waiting(), pytest.raises(AssertionError, match="the host waits"):
            question()


def test_a_run_on_a_device_goes_on_exactly_where_it_was(monkeypatch):
    monkeypatch.setattr(sim, "make", TensorEnv)
    recipe = replace(HOST, simulator="warp")
    learner, collector, explorer = sessions.begin(recipe, DEVICE)
    loop.iterate(recipe, learner, collector, explorer)
    arrays = {name: x.copy() for name, x in learner.state_dict().items()}
    random, steps = learner.random_state(), {name: x.copy() for name, x in collector.state_dict().items()}
    loop.iterate(recipe, learner, collector, explorer)

    resumed, its_collector, its_explorer = sessions.begin(recipe, DEVICE)
    resumed.load_state_dict(arrays)
    resumed.load_random_state(random)
    its_collector.load_state_dict(steps)
    loop.iterate(recipe, resumed, its_collector, its_explorer)
    for name, x in learner.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], x, err_msg=name)
    for name, x in collector.state_dict().items():
        np.testing.assert_array_equal(its_collector.state_dict()[name], x, err_msg=name)


GROUPS = {
    "group-relative": GroupRelative(0.9, 3),
    "every step of the batch": ReinforcePlusPlus(0.9, 3, count="episodes"),
    "outcomes": GRPO(group_size=3),
    "outcomes of the others": RLOO(group_size=3),
}


# members wait for their groups within a rollout, which whole episodes fit into
GROUPED = replace(HOST, num_envs=6, env_kwargs={"max_episode_steps": 30})


@pytest.mark.parametrize("estimator", GROUPS.values(), ids=GROUPS)
def test_groups_wait_and_are_compared_on_a_device_as_on_the_cpu(begin, estimator):
    recipe = replace(GROUPED, advantage=estimator)
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(3):
        metrics, expected = (loop.iterate(recipe, *each).metrics for each in (on_device, on_host))
    (learner, collector, _), (host, its_collector, _) = on_device, on_host
    np.testing.assert_array_equal(metrics["degenerate_groups"], expected["degenerate_groups"])
    np.testing.assert_array_equal(learner.counters.train, host.counters.train)
    assert (host.counters.train < 3 * 40 * 6).all()
    assert_near(learner.return_moments.var, host.return_moments.var)
    assert_near(learner.obs_moments.var, host.obs_moments.var)
    assert_near(collector.recent_returns, its_collector.recent_returns)
    assert_near(collector.recent_lengths, its_collector.recent_lengths)
    assert_near(learner.params, host.params, 2e-3)


@pytest.mark.parametrize("estimator", GROUPS.values(), ids=GROUPS)
def test_the_host_waits_for_no_group(begin, estimator):
    recipe = replace(GROUPED, advantage=estimator)
    learner, collector, _ = begin(recipe)
    learner.begin_iteration(recipe.total_steps)
    with never_waiting():
        collector.restart(learner)
        rollout = collector.collect(learner, 40, 0.9)
        list(learner.update(recipe.algorithm, learner.batch(rollout, estimator(rollout))))


GAINS = {
    "coverage of the card's projection": Submodular(inner=GAE(0.9)),
    "facilities of an observation": Submodular(
        FacilityLocation(5), projection="obs:0,1", low=(0.5, -0.5), high=(1.5, 0.5), reward_weight=0.5
    ),
    "log-det, modular": Submodular(LogDet(features=8), gain="modular"),
}


@pytest.mark.parametrize("estimator", GAINS.values(), ids=GAINS)
def test_gains_are_learned_from_on_a_device_as_on_the_cpu(begin, estimator):
    recipe = replace(GROUPED, advantage=estimator)
    on_device, on_host = begin(recipe), begin_on_host(recipe)
    for _ in range(3):
        for each in (on_device, on_host):
            loop.iterate(recipe, *each)
    (learner, collector, _), (host, its_collector, _) = on_device, on_host
    assert np.isfinite(its_collector.recent_lengths).any()
    assert_near(learner.return_moments.mean, host.return_moments.mean)
    assert_near(learner.params, host.params, 5e-3)
    kept = collector.state_dict()
    resumed = begin(recipe)[1]
    resumed.load_state_dict(kept)
    np.testing.assert_array_equal(resumed.state_dict()["env.collected"], kept["env.collected"])


@pytest.mark.parametrize("estimator", GAINS.values(), ids=GAINS)
def test_the_host_waits_for_no_gain(begin, estimator):
    learner, collector, _ = begin(replace(GROUPED, advantage=estimator))
    with never_waiting():
        estimator(collector.collect(learner, 40, 0.9))


def test_a_number_that_is_not_finite_is_told_after_the_rollout(begin):
    learner, collector, explorer = begin(HOST)
    step = collector.env.step

    def faulty(actions):
        obs, reward, *rest = step(actions)
        reward[4] = torch.nan
        return obs, reward, *rest

    collector.env.step = faulty
    with pytest.raises(DivergenceError, match=r"Hopper-v5 gave .* not finite: seed 1, the rollout before 120 training"):
        loop.iterate(HOST, learner, collector, explorer)


@given(
    kept=st.lists(st.none() | st.integers(-9, 9), min_size=4, max_size=4),
    new=st.lists(st.tuples(st.integers(-9, 9), st.booleans()), max_size=9),
)
def test_the_newest_that_are_marked_push_out_the_oldest(kept, new):
    kept = [np.nan if x is None else x for x in kept]
    values = torch.tensor([[float(x) for x, _ in new]])
    marked = torch.tensor([[mark for _, mark in new]], dtype=torch.bool)
    expected = (kept + [x for x, mark in new if mark])[-4:]
    np.testing.assert_array_equal(
        newest(torch.tensor([kept]), values, marked).numpy(), np.array([expected], np.float32)
    )
