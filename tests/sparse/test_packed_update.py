"""Updates of what is there alone, against those that carry all absent weights along."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse.algorithms.natural_gradient import MFAC
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.sparse import packed_update
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.packed_update import DENSEST_PACKED, Packing, pack, packed_layout
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

POLICY = ActorCritic((16, 12), (16, 12))
STATIC = Static()
ALGORITHMS = {
    "ppo": PPO(epochs=2, minibatches=3),
    "ppo that stops": PPO(epochs=3, minibatches=3, learning_rate=1e-2, target_kl=0.01),
    "trpo": TRPO(critic_epochs=2, critic_minibatches=3),
    "trpo by m-fac": TRPO(solver=MFAC(samples=8), critic_epochs=1, critic_minibatches=2),
    "trpo on fewer samples": TRPO(fisher_subsample=2, critic_epochs=1, critic_minibatches=2),
}


def learner_of(rule=STATIC, seeds=(0, 1), sparsity=0.8, policy=POLICY):
    learner = Learner(policy, 5, 3, seeds, sparse=Sparse(sparsity, rule=rule))
    learner.begin_iteration(1000)
    return learner


def arrays(learner):
    return {"params": learner.params, **learner.optimiser.state_dict()}


OTHERS = [
    ("ppo", {"activation": "elu"}),
    ("ppo", {"activation": "relu"}),
    ("ppo", {"activation": "silu"}),
    ("ppo", {"layer_normalisation": True}),
    ("trpo", {"activation": "elu"}),
    ("trpo", {"layer_normalisation": True}),
]


@pytest.mark.parametrize("rule", [SET(every=1), RigL(every=1)], ids=["set", "rigl"])
@pytest.mark.parametrize(("name", "hidden"), [*((name, {}) for name in ALGORITHMS), *OTHERS])
def test_an_update_is_that_of_masked_networks(name, hidden, rule, new_batch):
    algorithm, policy = ALGORITHMS[name], replace(POLICY, **hidden)
    masked, packed = learner_of(rule, policy=policy), learner_of(rule, policy=policy)
    for i in range(4):
        for learner in (masked, packed):
            learner.begin_iteration(1000)
        batch = new_batch(masked, 24, seed=i)
        theirs = [*algorithm.update(masked, batch)]
        ours = [*packed.update(algorithm, batch)]
        for stats, expected in zip(ours, theirs, strict=True):
            for name in (name for name, value in vars(expected).items() if value is not None):
                value = getattr(expected, name)
                np.testing.assert_allclose(getattr(stats, name), value, rtol=2e-3, atol=1e-5, err_msg=name)
        for name, value in arrays(masked).items():
            # an absent weight's age is of no account: it begins anew when it comes back
            there = masked.sparsity.masks.active | (value.shape[1] == 1)
            theirs, ours = (np.where(there, x, 0) for x in (value, arrays(packed)[name]))
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-5, err_msg=name)
        if rule.by_gradient:
            weights = masked.sparsity.masks.weights  # of biases nothing is asked
            ours, theirs = (learner.sparsity.masks.growth[:, weights] for learner in (packed, masked))
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-4)
        for learner in (masked, packed):
            learner.sparsity.evolve(learner, batch.obs)
        np.testing.assert_array_equal(packed.sparsity.masks.active, masked.sparsity.masks.active)
        packed.params[...] = masked.params  # rounding must not add up
        packed.optimiser.load_state_dict(masked.optimiser.state_dict())


@pytest.mark.parametrize("algorithm", [ALGORITHMS["ppo"], ALGORITHMS["trpo"]], ids=["ppo", "trpo"])
def test_absent_weights_stay_zero_and_nothing_is_known_of_them(algorithm, new_batch):
    learner = learner_of()
    for _ in learner.update(algorithm, new_batch(learner)):
        for name in ("params", "first", "second"):
            assert not arrays(learner)[name][~learner.sparsity.masks.active].any()
    assert learner.layout == POLICY.layout(5, 3)


@pytest.mark.parametrize("rule", [STATIC, RigL(every=1)], ids=["static", "rigl"])
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_a_member_is_bitwise_as_if_it_were_alone(algorithm, rule, new_batch):
    together, alone = learner_of(rule, seeds=(3, 4, 5)), learner_of(rule, seeds=(4,))
    batch = new_batch(together)
    [*together.update(algorithm, batch)]
    [*alone.update(algorithm, batch.map(lambda x: x[1:2]))]
    for learner, x in ((together, batch), (alone, batch.map(lambda x: x[1:2]))):
        learner.sparsity.evolve(learner, x.obs)
    np.testing.assert_array_equal(together.params[1:2], alone.params)
    np.testing.assert_array_equal(together.sparsity.masks.active[1:2], alone.sparsity.masks.active)


def test_every_epoch_is_written_back_before_it_is_told_of(new_batch):
    learner = learner_of()
    seen = [learner.params + 0 for _ in learner.update(PPO(epochs=3, minibatches=2), new_batch(learner))]
    assert len(seen) == 3
    assert all((a != b).any() for a, b in zip(seen, seen[1:], strict=False))
    np.testing.assert_array_equal(learner.params, seen[-1])


def test_a_packed_learner_has_what_is_there_and_shares_random_streams():
    learner = learner_of()
    layout = Packing(learner.sparsity.masks).layout(learner)
    packed = pack(learner.sparsity.masks, learner, layout)
    assert packed.params.shape == (2, learner.sparsity.masks.active[0].sum())
    assert packed.orders is learner.orders
    assert packed.counters is learner.counters
    whole = np.zeros_like(learner.params)
    layout.unpack(packed.params, whole)
    np.testing.assert_array_equal(whole, learner.params)


def test_packed_networks_compute_what_the_whole_ones_do(new_batch):
    from rlsparse.learner.network import action_mean, value

    learner = learner_of()
    layout, obs = Packing(learner.sparsity.masks).layout(learner), new_batch(learner).obs
    packed = pack(learner.sparsity.masks, learner, layout)
    for network in (action_mean, value):
        np.testing.assert_allclose(
            network(layout, packed.params, obs), network(learner.layout, learner.params, obs), atol=1e-6
        )


def packs(learner, batch, monkeypatch):
    """Whether an update packs the learner."""
    packed, real = [], packed_update.pack
    with monkeypatch.context() as patch:
        patch.setattr(packed_update, "pack", lambda *arguments: packed.append(1) or real(*arguments))
        list(learner.update(ALGORITHMS["ppo"], batch))
    return packed == [1]


@pytest.mark.parametrize(
    "rule", [DCIL(start=0.0), AST(sparser=(0.9,)), Magnitude()], ids=lambda rule: type(rule).__name__
)
def test_updates_that_use_absent_weights_are_not_packed(rule, new_batch, monkeypatch):
    learner = learner_of(rule)
    assert not packs(learner, new_batch(learner), monkeypatch)


def test_dense_networks_and_those_that_are_nearly_so_are_not_packed(new_batch, monkeypatch):
    batch = new_batch(learner_of())
    assert not packs(Learner(POLICY, 5, 3, (0, 1)), batch, monkeypatch)
    assert not packs(learner_of(sparsity=1 - 1.1 * DENSEST_PACKED), batch, monkeypatch)
    assert packs(learner_of(sparsity=1 - 0.9 * DENSEST_PACKED), batch, monkeypatch)


def test_without_the_compiler_nothing_is_packed_and_training_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(packed_update, "can_multiply", lambda: False)
    learner = learner_of()
    assert Packing(learner.sparsity.masks).layout(learner) is None
    tiny.train(tmp_path / "run", replace(tiny.RECIPE, policy=POLICY, sparse=Sparse(0.8)))


def test_members_of_different_sizes_are_not_packed():
    learner = learner_of()
    active = learner.sparsity.masks.active.copy()
    active[1, np.flatnonzero(active[1])[0]] = False
    assert packed_layout(learner.layout, active) is None


def test_the_layout_is_kept_until_the_masks_change():
    learner = learner_of(SET(every=1))
    packing = Packing(learner.sparsity.masks)
    before = packing.layout(learner)
    assert packing.layout(learner) is before
    learner.sparsity.evolve(learner, np.zeros((2, 4, 5), np.float32))
    after = packing.layout(learner)
    assert after is not before
    whole = np.zeros_like(learner.params)
    after.unpack(after.pack(learner.sparsity.masks.active.astype(np.float32)), whole)
    np.testing.assert_array_equal(whole > 0, learner.sparsity.masks.active)
