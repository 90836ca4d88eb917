"""Networks of several densities that learn in turns: which weights each has, what each may change, what is kept."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import UsageError
from rlsparse.learner.arrays import to_device, to_numpy
from rlsparse.learner.learner import Learner
from rlsparse.learner.minibatch import shuffled_minibatches
from rlsparse.learner.network import ActorCritic, action_mean
from rlsparse.run import policy_file
from rlsparse.run.plan import describe
from rlsparse.sparse.ast import AST, SubNetworks, nested_levels, without_conflict
from rlsparse.sparse.budgets import weight_slots
from rlsparse.sparse.config import Sparse
from rlsparse.trained import export, play
from rlsparse.trained.policy import of_density

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "sparse.json").read_text())
POLICY = ActorCritic((16, 12), (16, 12))
NESTED = Sparse(0.5, rule=AST(0.1, 0.6, sparser=(0.7, 0.9)))
LAYOUT = POLICY.layout(5, 3)
TORCH = "cpu:0"


def learner_of(spent=None, sparse=NESTED, device="cpu"):
    """Two members with this share of their budget spent, whose networks were chosen then."""
    learner = Learner(POLICY, 5, 3, (0, 1), device, sparse)
    return learner if spent is None else advanced(learner, spent)


def advanced(learner, spent):
    learner.counters.train[:] = round(spent * 1000)
    learner.begin_iteration(1000)
    obs = np.random.default_rng(0).normal(size=(2, 20, 5)).astype(np.float32)
    learner.sparsity.evolve(learner, to_device(obs, learner.device))
    learner.begin_iteration(1000)
    return learner


def counts(networks, k):
    return [networks.mask(k)[:, slot.start : slot.stop].sum(1) for slot in weight_slots(LAYOUT, "actor")]


# Which weights a network has


def test_levels_are_how_many_networks_a_weight_is_in():
    weight, active = np.array([[5.0, -4, 3, 2, 1, 9]]), np.array([[True] * 5 + [False]])
    levels = nested_levels(weight, active, [np.array([3]), np.array([1])])
    assert levels.tolist() == [[3, 2, 2, 1, 1, 0]]


def test_networks_lie_inside_one_another_with_the_largest_weights_of_each():
    learner = learner_of(0.6)
    networks, params = learner.sparsity.networks, learner.params
    assert networks.densities == pytest.approx((0.5, 0.3, 0.1))
    np.testing.assert_array_equal(networks.mask(0), learner.sparsity.masks.active)
    for k in (1, 2):
        outer, inner = networks.mask(k - 1), networks.mask(k)
        assert (outer[inner]).all() and (outer != inner).any(1).all()
        for slot, expected in zip(weight_slots(LAYOUT, "actor"), counts(networks, k), strict=True):
            (kept,) = {
                n for s, n in replace(NESTED, actor_sparsity=NESTED.rule.sparser[k - 1]).budgets(LAYOUT) if s == slot
            }
            assert expected.tolist() == [kept, kept]
            part = slice(slot.start, slot.stop)
            for m in range(2):
                size = np.abs(params[m, part])
                assert size[inner[m, part]].min() >= size[outer[m, part] & ~inner[m, part]].max(initial=0)
    shared = ~learner.sparsity.masks.weights
    assert networks.mask(2)[:, shared].all()
    critic = LAYOUT.group("critic")
    np.testing.assert_array_equal(networks.mask(2)[:, critic], networks.mask(0)[:, critic])


def test_all_networks_shrink_together_and_stay_from_the_end_on():
    learner, seen = learner_of(), []
    for spent in (0.05, 0.2, 0.4, 0.6):
        advanced(learner, spent)
        seen.append([sum(c[0] for c in counts(learner.sparsity.networks, k)) for k in range(3)])
    assert len(set(seen[0])) == 1
    assert (np.diff(seen, axis=0) < 0).all()
    levels = learner.sparsity.networks.levels.copy()
    learner.params *= np.random.default_rng(0).random(learner.params.shape, np.float32)
    advanced(learner, 0.7)
    np.testing.assert_array_equal(learner.sparsity.networks.levels, levels)


# What they learn


@pytest.mark.parametrize("device", ["cpu", TORCH])
def test_the_gradient_correction(device):
    vector = VECTORS["ast_gradient_correction"]
    rows = [(vector["g_k"], vector["g_prev"], vector["expected"])]
    easy = vector["non_conflict"]
    rows.append((easy["g_k"] + [0, 0], easy["g_prev"] + [0, 0], easy["expected"] + [0, 0]))
    rows.append((vector["g_k"], vector["g_prev"], vector["g_k"]))  # a member that is not meant
    gradient, before, expected = (np.array(x, float) for x in zip(*rows, strict=True))
    on_device = (to_device(x, device) for x in (gradient, before, np.array([True, True, False])))
    found = to_numpy(without_conflict(*on_device))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert found[0] @ before[0] == pytest.approx(vector["post_dot"], abs=1e-12)


def test_networks_take_turns_through_a_whole_update(new_batch, monkeypatch):
    learner, turns, real = learner_of(0.6), [], SubNetworks.next

    def noted(networks, params):
        views = real(networks, params)
        turns.append(networks._turn)
        np.testing.assert_array_equal(views.flat, np.where(networks.mask(turns[-1]), params, 0))
        return views

    monkeypatch.setattr(SubNetworks, "next", noted)
    for _ in range(2):
        learner.begin_iteration(1000)
        list(PPO(epochs=2, minibatches=4).update(learner, new_batch(learner)))
    whole = (VECTORS["ast_alternation"]["subnet"] * 2)[:8]
    assert turns == whole * 2


def test_each_gradient_is_freed_from_what_opposes_that_of_the_network_before(new_batch):
    """By the definition, layer by layer; against the one before, never its own; the first of a round is left alone."""
    learner = learner_of(0.6)
    networks, batch = learner.sparsity.networks, new_batch(learner, size=32)
    algorithm, views = PPO(), LAYOUT.views
    raw, found, turned = [], [], 0
    for minibatch in [*shuffled_minibatches(learner, batch, 8)][:6]:
        gradient = np.zeros_like(learner.params)
        stats = learner.gradient(algorithm.loss_gradient, views(learner.params), minibatch, views(gradient))
        found.append(gradient)
        k = networks._turn
        plain = np.zeros_like(learner.params)
        algorithm.loss_gradient(views(np.where(networks.mask(k), learner.params, 0)), minibatch, views(plain))
        raw.append(np.where(networks.mask(k), plain, 0).astype(float))
        np.testing.assert_allclose(stats["grad_norm"], np.linalg.norm(gradient, axis=1), rtol=1e-6)
        assert not gradient[~networks.mask(k)].any()
    for i, k in enumerate((0, 1, 2, 0, 1, 2)):
        for slot in LAYOUT.slots:
            part = slice(slot.start, slot.stop)
            for m in range(2):
                expected = raw[i][m, part].copy()
                if k and slot.group != "critic":
                    before = raw[i - 1][m, part] * networks.mask(k)[m, part]
                    if expected @ before < 0:
                        turned += 1
                        expected -= expected @ before / (before @ before) * before
                        assert found[i][m, part] @ before == pytest.approx(0, abs=1e-5)
                np.testing.assert_allclose(found[i][m, part], expected, atol=1e-6)
    assert turned > 10


def test_without_correction_each_network_has_its_own_gradient(new_batch):
    learner = learner_of(0.6, replace(NESTED, rule=replace(NESTED.rule, correct=False)))
    networks, batch = learner.sparsity.networks, new_batch(learner)
    for _ in range(3):
        gradient, plain = np.zeros((2, *learner.params.shape), np.float32)
        learner.gradient(PPO().loss_gradient, LAYOUT.views(learner.params), batch, LAYOUT.views(gradient))
        own = np.where(networks.mask(networks._turn), learner.params, 0)
        PPO().loss_gradient(LAYOUT.views(own), batch, LAYOUT.views(plain))
        np.testing.assert_array_equal(gradient, np.where(networks.mask(networks._turn), plain, 0))


def test_networks_that_are_still_the_same_learn_bit_for_bit_as_a_dense_one(new_batch):
    ours, dense = learner_of(0.0), Learner(POLICY, 5, 3, (0, 1))
    batch = new_batch(dense)
    for learner in (ours, dense):
        list(PPO(epochs=2, minibatches=4).update(learner, batch))
    np.testing.assert_array_equal(ours.params, dense.params)
    np.testing.assert_array_equal(ours.optimiser.second, dense.optimiser.second)


@pytest.mark.parametrize("device", ["cpu", TORCH])
def test_an_update_leaves_the_densest_network_masked(device, new_batch):
    learner = learner_of(0.6, device=device)
    batch = new_batch(learner_of())
    on_device = batch.map(lambda x: to_device(x, device))
    before = to_numpy(learner.params).copy()
    list(PPO(epochs=3, minibatches=4).update(learner, on_device))
    moved = to_numpy(learner.params) != before
    assert not to_numpy(learner.params)[~learner.sparsity.masks.active].any()
    for k in range(3):
        assert moved[learner.sparsity.networks.levels == k + 1].any()


def test_only_the_network_that_acted_ends_an_update_early(new_batch):
    """The sparser ones are far from it from the first minibatch on."""
    learner = learner_of(0.6)
    learner.params[:, LAYOUT.group("actor")] *= 3
    batch = new_batch(learner, distance=0.0)
    far = PPO(epochs=2, minibatches=3, learning_rate=1e-9, target_kl=1e-3)
    epochs = list(far.update(learner, batch))
    assert len(epochs) == 2
    assert (epochs[-1].approx_kl < 1e-6).all()
    learner.begin_iteration(1000)
    assert len(list(replace(far, learning_rate=0.1, epochs=8).update(learner, batch))) < 8


def test_how_far_each_network_is_from_the_one_that_acts(new_batch):
    learner = learner_of(0.6)
    obs = new_batch(learner).obs
    learner.sparsity.evolve(learner, obs)
    networks = learner.sparsity.networks
    mean = action_mean(LAYOUT, learner.params, obs)
    for k in range(3):
        other = action_mean(LAYOUT, np.where(networks.mask(k), learner.params, 0), obs)
        expected = 0.5 * (((mean - other) / np.exp(LAYOUT.log_std(learner.params))[:, None]) ** 2).sum(-1).mean(-1)
        np.testing.assert_allclose(networks.divergence[:, k], expected, rtol=1e-5)
    assert not networks.divergence[:, 0].any() and networks.divergence[:, 2].all()


def test_a_minibatch_is_counted_with_the_weights_of_its_network():
    learner = learner_of(0.6)
    masks, networks = learner.sparsity.masks, learner.sparsity.networks
    critic = masks.active[:, masks.weights].sum(1) - sum(counts(networks, 0))
    mean = np.mean([sum(counts(networks, k)) for k in range(3)], 0) + critic
    before = masks._flops.copy()
    learner.begin_iteration(1000)
    np.testing.assert_allclose(masks._flops - before, 6 * mean)


# What is told before


def test_the_plan_says_what_each_network_keeps():
    sparse = Sparse(0.8, rule=AST(sparser=(0.9,)))
    lines = sparse.describe(ActorCritic().layout(17, 6)).splitlines()
    assert lines[2] == "actor inside     558 weights, density 0.1; by layer 162, 256, 140"
    evaluations = describe(tiny.recipe(sparse=sparse), ActorCritic().layout(17, 6), 5).splitlines()[3]
    assert evaluations == (
        "evaluations      4, every 32 steps (--eval-every), of 2 episodes per seed and each of 2 densities, at most 5 "
        "steps each, not part of the budget"
    )


def test_dead_units_of_the_sparsest_are_warned_of():
    sparse = Sparse(0.5, rule=AST(sparser=(0.9, 0.99)))
    assert sparse.dead_units(ActorCritic().layout(17, 6)).startswith(
        "the sparse networks have dead units: actor.0.weight keeps 17"
    )


# Runs, files and commands


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    recipe = tiny.recipe(num_seeds=2, policy=POLICY, sparse=replace(NESTED, rule=replace(NESTED.rule, start=0.0)))
    return tiny.train(tmp_path_factory.mktemp("ast") / "run", recipe)


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_density_is_evaluated_and_every_step_counted(run_dir):
    rows, progress = read(run_dir / "density.csv"), read(run_dir / "progress.csv")
    assert [(row["seed"], row["density"]) for row in rows[:6]] == [(s, d) for s in "01" for d in ("0.5", "0.3", "0.1")]
    assert len(rows) == 3 * len(progress)
    for row in progress:
        at = [x for x in rows if (x["seed"], x["total_steps"]) == (row["seed"], row["total_steps"])]
        assert at[0]["return_mean"] == row["return_mean"]
        assert int(at[0]["actor_weights"]) == int(row["actor_weights"])
    for seed in "01":
        steps = np.cumsum([float(x["length_mean"]) * int(x["episodes"]) for x in rows if x["seed"] == seed])[2::3]
        np.testing.assert_allclose(steps, [int(x["eval_steps"]) for x in progress if x["seed"] == seed])
        last = [x for x in rows if x["seed"] == seed][-3:]
        assert [int(a["actor_weights"]) > int(b["actor_weights"]) for a, b in zip(last, last[1:], strict=False)] == [
            True
        ] * 2
        assert float(last[0]["kl"]) == 0 < float(last[2]["kl"])


def test_a_policy_file_holds_every_network(run_dir):
    policy = policy_file.load(run_dir / "policy.safetensors")
    last = read(run_dir / "density.csv")[-3:]
    for k, density in enumerate((0.5, 0.3, 0.1)):
        params = of_density(policy, density).params
        weights = [LAYOUT.view(params, slot)[1] for slot in weight_slots(policy.actors.layout, "actor")]
        assert abs(sum((w != 0).sum() for w in weights) - int(last[k]["actor_weights"])) <= 12  # one may be just zero
    np.testing.assert_array_equal(of_density(policy, 0.5).params, policy.actors.params)
    with pytest.raises(UsageError, match=r"^--density 0.2: the policy holds networks of density 0.5, 0.3, 0.1$"):
        of_density(policy, 0.2)


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(main, *arguments):
        try:
            main([*map(str, arguments)])
        except SystemExit as stop:
            assert stop.code == 2
        return capsys.readouterr()

    return call


def test_any_of_them_plays(run_dir, command):
    returns = [
        json.loads(command(play.main, run_dir, "--env", tiny.RECIPE.env, "--json", *flags).out)["return_mean"]
        for flags in ((), ("--density", "0.5"), ("--density", "0.1"))
    ]
    assert returns[0] == returns[1] != returns[2]


def test_any_of_them_is_exported(run_dir, command):
    sizes = [
        json.loads(
            command(
                export.main, run_dir, "--env", tiny.RECIPE.env, "--json", "--out", density, "--density", density
            ).out
        )["weights"]
        for density in ("0.5", "0.1")
    ]
    assert sizes[0] > 3 * sizes[1] > 0


@pytest.mark.parametrize("main", [play.main, export.main])
def test_a_density_that_there_is_not_is_refused_in_one_line(main, run_dir, command, tmp_path):
    err = command(main, run_dir, "--density", "0.2").err
    assert err == "rlsparse: --density 0.2: the policy holds networks of density 0.5, 0.3, 0.1\n"
    dense = tiny.train(tmp_path / "dense")
    err = command(main, dense, "--density", "0.2").err
    assert err == "rlsparse: --density 0.2: the policy holds one network only (--sparse ast trains several)\n"
