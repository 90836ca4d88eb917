"""Sparse networks while they learn: what is absent is zero after every operation, and dense ones learn as before."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse.algorithms.ppo import PPO, clip_by_norm
from rlsparse.explore.controls import RandomWalk
from rlsparse.explore.evolution import GuidedEvolution
from rlsparse.explore.explorer import MemberExplorer
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.learner.adam import Adam
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic, action_mean
from rlsparse.run import checkpoint, policy_file
from rlsparse.sparse.ast import AST, NestedNetworks
from rlsparse.sparse.budgets import NETWORKS, weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL, DualPath
from rlsparse.sparse.masks import METRICS
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

TORCH = "cpu:0"
POLICY = ActorCritic((16, 12), (16, 12))
RULES = {
    "rigl": RigL(every=1, end=1.0),
    "set": SET(every=2, schedule="constant"),
    "static": Static(),
    "magnitude": Magnitude(start=0.1, end=0.7),
    "dcil": DCIL(start=0.1, end=0.8),
    "ast": AST(start=0.1, end=0.7, sparser=(0.9, 0.95)),
    "dcil of constant size": DCIL(every=2, schedule="constant"),
}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def learner_of(rule, seeds=(0, 1), device="cpu", **settings):
    return Learner(POLICY, 5, 3, seeds, device, Sparse(**{"sparsity": 0.8, "rule": rule} | settings))


def assert_sound(learner):
    """What always holds."""
    masks = learner.sparsity.masks
    absent = ~masks.active
    for x in (learner.params, learner.optimiser.first, learner.optimiser.second):
        assert not to_numpy(x)[absent].any()
    if isinstance(learner.sparsity, NestedNetworks):
        levels = learner.sparsity.networks.levels
        np.testing.assert_array_equal(levels > 0, masks.active)
        shared = [not (name.startswith("actor") and name.endswith("weight")) for name in names(learner.layout)]
        assert np.isin(levels[:, shared], (0, len(learner.sparsity.networks.densities))).all()
    if isinstance(learner.sparsity, DualPath):
        for x in learner.sparsity.path.state_dict().values():
            assert not to_numpy(x)[masks.active].any()
    assert masks.active[:, [not name.endswith("weight") for name in names(learner.layout)]].all()
    for slot, final in masks.config.budgets(learner.layout):
        count = learner.layout.view(masks.active, slot).sum((1, 2))
        assert (count >= final if masks.config.rule.starts_dense else count == final).all()
        assert (count > 0).all()


def names(layout):
    return [slot.name for slot in layout.slots for _ in range(slot.start, slot.stop)]


def after_every(monkeypatch, owner, name, examine):
    """Examine after every call of a method; returns a list that grows with the calls."""
    calls, real = [], getattr(owner, name)

    def examined(*arguments, **keywords):
        result = real(*arguments, **keywords)
        calls.append(1)
        examine(arguments)
        return result

    monkeypatch.setattr(owner, name, examined)
    return calls


@pytest.mark.parametrize("rule", RULES)
def test_what_is_absent_is_zero_after_every_operation(rule, tmp_path, monkeypatch):
    """Steps, exchanges, probes, saves; anchors and candidates too, of proposals that go in any direction."""
    proposal = RandomWalk(agents=2, moves=2, span="out") if rule == "set" else GuidedEvolution(pairs=2)
    explore = ExploRLer(proposal, Episodes(1, "always"), num_anchors=3, budget_fraction=0.3)
    recipe = tiny.recipe(total_steps=640, num_seeds=2, policy=POLICY, explore=explore, eval_every=200)
    session = tiny.begin(tmp_path / "run", replace(recipe, sparse=Sparse(sparsity=0.8, rule=RULES[rule])))
    learner, explorer, searched = session.learner, session.explorer, session.learner.layout.group("actor")

    def anchors_are_sound(_):
        assert_sound(learner)
        assert not explorer.anchors.any(1)[~learner.sparsity.masks.active[:, searched]].any()

    def candidates_are_sound(arguments):
        _, points, part, members = arguments
        assert not points.any(1)[~learner.sparsity.masks.active[members, part]].any()

    assert_sound(learner)
    steps = after_every(monkeypatch, Adam, "step", lambda _: assert_sound(learner))
    after_every(monkeypatch, type(learner.sparsity), "evolve", lambda _: assert_sound(learner))
    after_every(monkeypatch, MemberExplorer, "after_iteration", anchors_are_sound)
    probes = after_every(monkeypatch, MemberExplorer, "probe", lambda _: assert_sound(learner))
    candidates = after_every(monkeypatch, Learner, "actors_at", candidates_are_sound)
    tiny.go_on(session)
    assert len(steps) > 200 and len(probes) > 3 and len(candidates) > 3
    saved = checkpoint.load_latest(tmp_path / "run" / "checkpoint").arrays["learner"]
    assert (learner.sparsity.masks.regrown > 0).all() == (rule not in ("static", "magnitude", "ast"))
    policy = policy_file.load(tmp_path / "run" / "policy.safetensors").actors
    assert (policy.params[saved["sparsity.active"]] != 0).mean() > 0.8  # all but new ones and those of dead units
    assert not policy.params[~saved["sparsity.active"]].any()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "ast"])  # of which the densest is not alone
def test_at_sparsity_zero_training_is_bit_for_bit_that_of_dense_networks(rule, tmp_path):
    recipe = tiny.recipe(policy=POLICY, num_seeds=2)
    dense = tiny.outcome(tiny.train(tmp_path / "dense", recipe))
    full = tiny.outcome(tiny.train(tmp_path / "full", replace(recipe, sparse=Sparse(0.0, rule=RULES[rule]))))
    for name in ("learner/params", "learner/optimiser.first", "learner/optimiser.steps", "learner/obs_moments.var"):
        assert full[name] == dense[name]
    for ours, theirs in zip(full["progress"], dense["progress"], strict=True):
        assert {name: ours[name] for name in theirs} == theirs
        assert float(ours["density"]) == float(ours["explored"]) == 1


def test_a_dense_layer_begins_as_in_dense_networks_and_the_policy_head_stays_small():
    dense = Learner(POLICY, 5, 3, [0])
    sparse = learner_of(Static(), [0], actor_densities=(0.5, 1.0, 0.5))
    first, second, head = weight_slots(dense.layout, "actor")
    view = dense.layout.view
    np.testing.assert_array_equal(view(sparse.params, second), view(dense.params, second))
    for slot in (first, head):
        ours, theirs = (np.linalg.norm(view(learner.params, slot), axis=1) for learner in (sparse, dense))
        np.testing.assert_allclose(ours[ours > 0], theirs[ours > 0], rtol=1e-5)
    masked = learner_of(Static(), [0], actor_densities=(0.5, 1.0, 0.5), init="masked")
    there = masked.sparsity.masks.active
    np.testing.assert_array_equal(masked.sparsity.masks.active, sparse.sparsity.masks.active)
    np.testing.assert_array_equal(masked.params[there], dense.params[there])


def test_gradients_are_masked_before_they_are_clipped(new_batch):
    learner = learner_of(Static())
    batch, gradient = new_batch(learner), np.empty_like(learner.params)
    views = learner.layout.views
    stats = learner.gradient(PPO().loss_gradient, views(learner.params), batch, views(gradient))
    assert not gradient[~learner.sparsity.masks.active].any()
    np.testing.assert_allclose(stats["grad_norm"], np.linalg.norm(gradient, axis=1), rtol=1e-6)
    clip_by_norm(gradient, stats["grad_norm"], 1e-3)
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), 1e-3, rtol=1e-2)


def begun(learner, iterations=1):
    for _ in range(iterations):
        learner.begin_iteration(10**6)
    return learner


def test_growth_sees_the_whole_gradients_of_one_update(new_batch):
    learner = begun(learner_of(RigL(every=1)))
    batch, views, whole = new_batch(learner), learner.layout.views, np.zeros_like(learner.params)
    for _ in range(3):
        gradient = np.empty_like(learner.params)
        PPO().loss_gradient(views(learner.params), batch, views(gradient))
        whole += gradient
        learner.gradient(PPO().loss_gradient, views(learner.params), batch, views(gradient))
    np.testing.assert_array_equal(learner.sparsity.masks.growth, whole)
    learner.begin_iteration(10**6)
    assert not learner.sparsity.masks.growth.any()
    assert begun(learner_of(RigL(every=2))).sparsity.masks.growth is None
    assert begun(learner_of(SET(every=1))).sparsity.masks.growth is None


def first_steps(sparsity, power, gradient):
    """What Adam's first step does to every weight, layer by layer; 2 members."""
    learner = learner_of(Static(), sparsity=sparsity, rate_power=power)
    before = learner.params.copy()
    rate = learner.sparsity.masks.learning_rate(np.full((2, 1), 1e-3, np.float32))
    gradient = gradient * learner.sparsity.masks.active
    learner.optimiser.step(learner.params, gradient.astype(np.float32), rate, 1e-12)
    step = learner.params - before
    return [learner.layout.view(step, slot) for group in NETWORKS for slot in weight_slots(learner.layout, group)]


def test_inputs_that_agree_move_a_layer_as_in_dense_networks_with_power_one():
    gradient = np.ones((2, learner_of(Static()).layout.size))
    for sparse, dense in zip(first_steps(0.8, 1.0, gradient), first_steps(0.0, 1.0, gradient), strict=True):
        np.testing.assert_allclose(sparse.sum((1, 2)), dense.sum((1, 2)), rtol=1e-3)


def test_inputs_that_disagree_move_a_layer_as_in_dense_networks_with_power_one_half():
    gradient = np.random.default_rng(0).choice([-1.0, 1.0], (2, learner_of(Static()).layout.size))
    for sparse, dense in zip(first_steps(0.8, 0.5, gradient), first_steps(0.0, 0.5, gradient), strict=True):
        # the variance of a sum of independent terms is the sum of their squares
        np.testing.assert_allclose(np.square(sparse).sum((1, 2)), np.square(dense).sum((1, 2)), rtol=1e-3)


def test_with_power_zero_every_step_is_that_of_dense_networks():
    masks = learner_of(Static(), rate_power=0.0).sparsity.masks
    np.testing.assert_array_equal(masks.learning_rate(np.full((2, 1), 3e-4, np.float32)), np.float32(3e-4))


def test_biases_and_action_noise_step_as_in_dense_networks():
    masks = learner_of(Static()).sparsity.masks
    rate = masks.learning_rate(np.full((2, 1), 1.0, np.float32))
    weights = np.array([name.endswith("weight") for name in names(masks.layout)])
    assert (rate[:, ~weights] == 1).all()
    assert (rate[:, weights] >= 1).all()
    assert (rate[:, weights] > 1).any()


@pytest.mark.parametrize("device", ["cpu", TORCH])
def test_an_exchange_moves_only_what_it_should(device, new_batch):
    learner = learner_of(RigL(every=1), device=device)
    batch = new_batch(learner_of(Static())).map(lambda x: to_device(x, device))
    begun(learner)
    list(PPO(epochs=2, minibatches=4, learning_rate=1e-2).update(learner, batch))
    before = {name: x.copy() for name, x in learner.state_dict().items()}
    learner.sparsity.evolve(learner, batch.obs)
    after = learner.state_dict()
    assert_sound(learner)
    old, new = before["sparsity.active"], after["sparsity.active"]
    changed = old != new
    assert changed.any(1).all()
    for name in ("params", "optimiser.first", "optimiser.second", "optimiser.age1", "optimiser.age2"):
        assert not after[name][changed].any()
        np.testing.assert_array_equal(after[name][~changed], before[name][~changed])
    # what grew has the steepest loss of what could
    for slot, _ in learner.sparsity.masks.config.budgets(learner.layout):
        gradient = np.abs(to_numpy(learner.sparsity.masks.growth)[:, slot.start : slot.stop])
        came, out = (new & ~old)[:, slot.start : slot.stop], ~new[:, slot.start : slot.stop]
        for member in range(2):
            if came[member].any() and out[member].any():
                assert gradient[member][came[member]].min() >= gradient[member][out[member]].max()


def test_a_new_weight_is_stepped_like_the_first_step_of_a_fresh_adam():
    params, gradient = np.zeros((1, 2)), np.array([[0.3, 0.3]])
    adam = Adam(params, own_steps=True)
    for _ in range(500):
        adam.step(params, gradient.copy(), 0.01, 1e-8)
    adam.restart(np.array([[False, True]]))
    before = params.copy()
    adam.step(params, gradient.copy(), 0.01, 1e-8)
    np.testing.assert_allclose(params - before, [[-0.01, -0.01]], rtol=1e-5)  # without it the second would be 3.2 times


def test_own_steps_are_as_exact_as_common_ones():
    rng = np.random.default_rng(0)
    common, own = np.zeros((2, 9), np.float32), np.zeros((2, 9), np.float32)
    one, other = Adam(common), Adam(own, own_steps=True)
    for _ in range(300):
        gradient = rng.normal(size=(2, 9)).astype(np.float32)
        one.step(common, gradient.copy(), 0.01, 1e-5)
        other.step(own, gradient.copy(), 0.01, 1e-5)
    np.testing.assert_allclose(own, common, rtol=1e-3, atol=1e-6)


# The guard


def moved(before, learner, obs):
    """KL divergence of the policies from those of other parameters, by the formula for Gaussians of equal deviation."""
    mean, other = (action_mean(learner.layout, x, obs).astype(float) for x in (before, learner.params))
    variance = np.exp(2 * learner.layout.log_std(before).astype(float))[:, None]
    return ((mean - other) ** 2 / variance / 2).sum(2).mean(1)


@pytest.mark.parametrize("rule", [SET(0.5, every=1), Magnitude(0.0, 0.001)])
def test_an_exchange_may_not_move_a_policy_further_than_its_limit(rule, new_batch):
    def exchanged(max_kl):
        learner = learner_of(rule, max_kl=max_kl)
        learner.params *= [[1.0], [3.0]]
        learner.counters.train[:] = 500
        start, obs = learner.params.copy(), new_batch(learner).obs
        begun(learner).sparsity.evolve(learner, obs)
        assert_sound(learner)
        return moved(start, learner, obs), (learner.params != start).sum(1)

    free, dropped = exchanged(None)
    assert (free > 0).all()
    for limit in (free.max(), free.min() / 2, free.min() / 10):
        kl, fewer = exchanged(float(limit) * 1.0001)
        assert (kl <= limit * 1.001).all()
        assert (fewer <= dropped).all()
    kl, none = exchanged(1e-30)
    assert not kl.any() and not none.any()


# What is told


def test_the_metrics_count_what_is_there():
    learner = learner_of(SET(every=1), sparsity=0.8)
    metrics = learner.metrics()
    assert tuple(metrics) == METRICS
    budgets = learner.sparsity.masks.config.budgets(learner.layout)
    sizes = {group: sum(slot.stop - slot.start for slot, _ in budgets if slot.group == group) for group in NETWORKS}
    kept = {group: sum(count for slot, count in budgets if slot.group == group) for group in NETWORKS}
    assert metrics["actor_weights"].tolist() == [kept["actor"]] * 2
    assert metrics["critic_weights"].tolist() == [kept["critic"]] * 2
    np.testing.assert_allclose(metrics["density"], sum(kept.values()) / sum(sizes.values()))
    assert metrics["inference_flops"].tolist() == [2 * kept["actor"]] * 2
    assert metrics["train_flops"].tolist() == [6 * sum(kept.values())] * 2
    assert metrics["regrown"].tolist() == [0, 0]
    begun(learner).sparsity.evolve(learner, np.zeros((2, 1, 5), np.float32))
    after = learner.metrics()
    assert (after["explored"] > metrics["explored"]).all()
    assert (after["density"] == metrics["density"]).all()
    assert (after["regrown"] > 0).all()
    assert Learner(POLICY, 5, 3, [0]).metrics() == {}
