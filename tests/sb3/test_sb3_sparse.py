"""Sparse networks under Stable-Baselines3: on its own algorithms, against its own optimisers and solvers."""

import copy
import json
import pickle
import runpy
import sys
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.utils import conjugate_gradient_solver
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian
from rlsparse.sb3 import ExploRLerCallback, load_sparse, moments, sparsify, weights
from rlsparse.sparse.ast import AST
from rlsparse.sparse.budgets import densities, kept
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "sparse.json").read_text())

POINT = "fake_envs:Point-v0"
ROLLOUT = 32
OPTIONS = {
    PPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "n_epochs": 3},
    TRPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "cg_max_steps": 5, "n_critic_updates": 3},
    A2C: {"n_steps": ROLLOUT // 2},
}
ALGORITHMS = [PPO, A2C, TRPO]
OFTEN = RigL(every=2)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def dense(algorithm=PPO, env=None, policy="MlpPolicy", **options):
    small = {} if policy != "MlpPolicy" or "policy_kwargs" in options else {"policy_kwargs": {"net_arch": [16, 16]}}
    env = env or make_vec_env(POINT, 2, seed=3)
    return algorithm(policy, env, seed=3, device="cpu", **OPTIONS.get(algorithm, {}) | small | options)


def sparse(algorithm=PPO, sparsity=0.8, rule=OFTEN, max_kl=None, rate_power=0.5, **options):
    return sparsify(dense(algorithm, **options), sparsity, rule, max_kl=max_kl, rate_power=rate_power)


def layers(model):
    """Weight and mask [out, in] of every layer that may be sparse."""
    layout = model.sparsity.masks.layout
    own = weights.tensors(model.policy, layout)
    return list(zip(own, weights.split(model.sparsity.masks.active[0], layout, own), strict=True))


def absent(model):
    """The weights that are not there, all of them."""
    return torch.cat([weight.detach()[~mask] for weight, mask in layers(model)])


def everything(model):
    """All that training goes on from."""
    return {
        "policy": {name: x.numpy() for name, x in model.policy.state_dict().items()},
        "moments": [x.numpy() for s in model.policy.optimizer.state.values() for x in s.values()],
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state()[1:3],  # noqa: NPY002
        "last": [model._last_obs, model._last_episode_starts],
        "steps": model.num_timesteps,
    }


def restarted(model, seed=7):
    """The model with its random streams and its environments as anew."""
    model.set_random_seed(seed)
    model._last_obs = model.env.reset()
    model._last_episode_starts = np.ones(model.n_envs, bool)
    return model


class AfterEveryStep(BaseCallback):
    """Calls `look` after every step of the optimiser."""

    def __init__(self, look):
        super().__init__()
        self.look, self.steps = look, 0

    def _on_training_start(self):
        self.hook = self.model.policy.optimizer.register_step_post_hook(self._step)

    def _step(self, *_):
        self.steps += 1
        self.look(self.model)

    def _on_step(self):
        return True

    def _on_training_end(self):
        self.hook.remove()


class AtEveryRollout(BaseCallback):
    """Calls `look` when a rollout begins, and when it has ended."""

    def __init__(self, start=None, end=None):
        super().__init__()
        self.start, self.end = start, end

    def _on_rollout_start(self):
        if self.start:
            self.start(self.model)

    def _on_rollout_end(self):
        if self.end:
            self.end(self.model)

    def _on_step(self):
        return True


# What is absent


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [*((algorithm, OFTEN) for algorithm in ALGORITHMS), *((PPO, r) for r in (SET(every=1), Static(), Magnitude(0.0)))],
    ids=lambda x: getattr(x, "__name__", type(x).__name__),
)
def test_absent_weights_are_zero_after_every_step_and_have_no_gradient(algorithm, rule):
    vector = VECTORS["trpo_cg_leak" if algorithm is TRPO else "sb3_ppo_hook"]
    expected = vector.get("expected_max_inactive", vector.get("expected_after_fix"))

    def look(model):
        assert (absent(model) == expected).all()

    def look_at_gradients_too(model):
        look(model)
        for weight, mask in layers(model):
            assert weight.grad is None or not weight.grad[~mask].any()

    iterations = {PPO: 34, A2C: 200, TRPO: 34}[algorithm]
    shorter = {"n_steps": 4} if algorithm is A2C else {}
    model, watch = sparse(algorithm, rule=rule, **shorter), AfterEveryStep(look_at_gradients_too)
    model.learn(iterations * model.n_steps * 2, callback=[watch, AtEveryRollout(look)])
    assert watch.steps >= 200
    look(model)
    assert model.sparsity.metrics()["regrown"] > 0 or not rule.grows


@pytest.mark.parametrize("rule", ["rigl", "set", "static", "magnitude"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_at_sparsity_zero_training_is_bit_for_bit_dense(algorithm, rule):
    ends = [make(algorithm).learn(5 * ROLLOUT) for make in (dense, partial(sparse, sparsity=0.0, rule=rule))]
    np.testing.assert_equal(*map(everything, ends))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_masks_change_only_where_no_rollout_knows_the_policy(algorithm):
    model = sparse(algorithm, rule=RigL(every=1))
    seen, ratios = [], []

    def end(model):
        seen[-1].append(model.sparsity.masks.active.copy())
        buffer = model.rollout_buffer
        obs, action = (torch.as_tensor(x.reshape(-1, x.shape[-1])) for x in (buffer.observations, buffer.actions))
        with torch.no_grad():
            values, log_prob, _ = model.policy.evaluate_actions(obs, action)
        ratios.append(np.exp(log_prob.numpy() - buffer.log_probs.reshape(-1)))
        ratios.append(1 + values.numpy().reshape(-1) - buffer.values.reshape(-1))

    start = AtEveryRollout(lambda model: seen.append([model.sparsity.masks.active.copy()]), end)
    step = AfterEveryStep(lambda model: seen[-1].append(model.sparsity.masks.active.copy()))
    model.learn(4 * ROLLOUT, callback=[start, step])
    for one in seen:
        assert all((mask == one[0]).all() for mask in one)
    for one, following in zip(seen, seen[1:], strict=False):
        assert (one[0] != following[0]).any()
        assert one[0].sum() == following[0].sum()
    np.testing.assert_allclose(ratios, 1, atol=1e-5)


def test_the_norm_that_is_clipped_is_of_present_weights():
    norms = []

    def look(model):
        gradients = [p.grad for p in model.policy.parameters()]
        norms.append(torch.sqrt(sum(g.square().sum() for g in gradients)).item())

    model = sparse(max_grad_norm=1e-3, rule=Static())
    model.learn(ROLLOUT, callback=AfterEveryStep(look))
    np.testing.assert_allclose(norms, 1e-3, rtol=1e-2)


# How much is there


def test_layers_keep_what_the_budget_gives_them():
    model = sparsify(dense(), 0.9, "static", actor_sparsity=0.8, critic_sparsity=0.6)
    for group, sparsity, first in (("actor", 0.8, 0), ("critic", 0.6, 3)):
        own = layers(model)[first : first + 3]
        shapes = [tuple(weight.shape) for weight, _ in own]
        assert shapes == [(16, 2), (16, 16), (1, 16)]
        expected = [kept(s, share) for s, share in zip(shapes, densities(shapes, sparsity, "erk"), strict=True)]
        assert [int(mask.sum()) for _, mask in own] == expected
        assert model.sparsity.metrics()[f"{group}_weights"] == sum(expected)


def test_units_begin_with_the_norms_of_the_dense_initialisation():
    plain, model = dense(), sparsify(dense(), 0.5, "static")
    kinds = zip(plain.policy.named_parameters(), model.policy.parameters(), strict=True)
    masks = {id(weight): mask for weight, mask in layers(model)}
    for (name, before), after in kinds:
        if id(after) not in masks:
            assert name.endswith("bias") or name == "log_std"
            torch.testing.assert_close(after, before, rtol=0, atol=0)
        else:
            fed = masks[id(after)].any(1)
            torch.testing.assert_close(after.norm(dim=1)[fed], before.norm(dim=1)[fed])


def test_masks_follow_the_seed():
    def mask(seed, model_seed=3):
        model = dense()
        model.seed = model_seed
        return sparsify(model, seed=seed).sparsity.masks.active

    np.testing.assert_array_equal(mask(1), mask(1))
    np.testing.assert_array_equal(mask(None, 1), mask(1))
    assert (mask(1) != mask(2)).any()
    assert (mask(None, None) != mask(None, None)).any()


# Exchanges


def exchanged(weight, mask, score, count):
    """Drop the smallest and grow the best-scored: one weight after the other, as the paper says."""
    mask = mask.clone()
    for _ in range(count):
        mask.view(-1)[torch.where(mask, weight.abs(), torch.inf).argmin()] = False
    for _ in range(count):
        mask.view(-1)[torch.where(mask, -torch.inf, score).argmax()] = True
    return mask


class DenseGradients:
    """Sums of the gradients of a model's loss as they are without masks, by hooks set before those of masks."""

    def __init__(self, model):
        self.sums = [torch.zeros_like(weight) for weight, _ in layers(model)]
        for i, (weight, _) in enumerate(layers(model)):
            weight.register_hook(partial(self._add, i))

    def _add(self, i, gradient):
        self.sums[i] += gradient


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_weights_grow_where_the_gradient_of_the_whole_update_is_largest(algorithm):
    model = sparse(algorithm, rule=RigL(every=1, drop=0.3, schedule="constant"))
    gradients, before, state = DenseGradients(model), [mask for _, mask in layers(model)], []
    end = {PPO: 6, A2C: 1}[algorithm]
    steps = iter(range(1, 100))

    def look(model):
        if next(steps) == end:
            state.extend(weight.detach().clone() for weight, _ in layers(model))

    model.learn(ROLLOUT, callback=AfterEveryStep(look))
    for weight, mask, score, (after, now) in zip(state, before, gradients.sums, layers(model), strict=True):
        expected = exchanged(weight, mask, score.abs(), int(0.3 * int(mask.sum())))
        assert torch.equal(now, expected)
        torch.testing.assert_close(after.detach(), torch.where(expected & mask, weight, 0.0), rtol=0, atol=0)


def test_under_trpo_weights_of_the_actor_grow_by_the_gradient_of_its_objective():
    model = sparse(TRPO, rule=RigL(every=1, drop=0.5, schedule="constant"))
    before, scores = layers(model)[:3], []

    def end(model):
        buffer = model.rollout_buffer
        advantages = torch.as_tensor(buffer.swap_and_flatten(buffer.advantages)).flatten()
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        obs, action = (torch.as_tensor(buffer.swap_and_flatten(x)) for x in (buffer.observations, buffer.actions))
        policy = copy.deepcopy(model.policy)
        own = weights.tensors(policy, model.sparsity.masks.layout)[:3]
        objective = (advantages * policy.evaluate_actions(obs, action)[1]).mean()  # at ratios of 1
        scores.extend(torch.autograd.grad(objective, own))

    model.learn(ROLLOUT, callback=AtEveryRollout(end=end))
    for (weight, mask), (_, now), score in zip(before, layers(model), scores, strict=False):
        grown, count = now & ~mask, int(0.5 * int(mask.sum()))
        stays = exchanged(weight.detach(), mask, torch.zeros_like(score), 0)
        assert int(now.sum()) == int(stays.sum())
        # what was dropped may grow again; whatever was absent and grew beats whatever was absent and did not
        if grown.any():
            assert score.abs()[grown].min() >= score.abs()[~mask & ~now].max() * (1 - 1e-3)
        assert int(grown.sum()) <= count
    assert sum(int((now & ~mask).sum()) for (_, mask), (_, now) in zip(before, layers(model), strict=False)) > 0


@pytest.mark.parametrize("limit", [None, 1e-4])
def test_an_exchange_moves_the_policy_no_further_than_allowed(limit):
    model = sparse(rule=RigL(every=1, drop=0.5), max_kl=limit)
    with torch.no_grad():
        model.policy.action_net.weight *= 100
    before, moved = [], []

    def mean_action(model):
        with torch.no_grad():
            obs = torch.as_tensor(model.rollout_buffer.observations).reshape(-1, 2)
            return model.policy.get_distribution(obs).distribution.mean

    def compare():
        distance = (mean_action(model) - before[-1]) / model.policy.log_std.detach().exp()
        moved.append(0.5 * distance.square().sum(1).mean().item())

    train = model.train
    model.train = lambda: (train(), compare())
    model.learn(6 * ROLLOUT, callback=AfterEveryStep(lambda model: before.append(mean_action(model))))
    assert len(moved) == 6
    assert max(moved) > (0 if limit else 1e-4)
    assert limit is None or max(moved) <= limit * 1.001
    assert model.sparsity.metrics()["regrown"] > 0


def test_the_kl_divergence_is_that_of_gaussians():
    model = sparse(rule=RigL(every=1), max_kl=0.1)
    model.learn(ROLLOUT)
    movement = model._movement()
    with torch.no_grad():
        obs = torch.as_tensor(model.rollout_buffer.observations)
        before = model.policy.get_distribution(obs).distribution.mean.clone()
        model.policy.action_net.weight += 0.1
        after = model.policy.get_distribution(obs).distribution.mean
        expected = 0.5 * ((after - before) / model.policy.log_std.exp()).square().sum(1).mean()
        torch.testing.assert_close(movement(), expected)


def test_gradual_pruning_begins_dense_and_ends_sparse():
    model = sparse(rule=Magnitude(start=0.0, end=0.5))
    assert model.sparsity.metrics()["density"] == 1
    model.learn(10 * ROLLOUT)
    assert model.sparsity.metrics()["density"] == sparse(rule=Static()).sparsity.metrics()["density"] < 0.22


@pytest.mark.parametrize(("algorithm", "every"), [(PPO, 256), (A2C, 256)])
def test_a_rule_that_is_named_waits_for_four_rollouts_of_2048_steps(algorithm, every):
    assert sparsify(dense(algorithm)).sparsity.config.rule == RigL(every=every)
    assert sparsify(dense(PPO, n_steps=2048), rule="set").sparsity.config.rule == SET(every=4)


# What the optimiser remembers


def test_adam_forgets_exactly_what_was_exchanged():
    model = sparse(rule=RigL(every=4, end=1.0, schedule="constant"))
    model.learn(3 * ROLLOUT)
    before = [mask for _, mask in layers(model)]
    kept_moments = []

    def look(model):
        kept_moments[:] = [copy.deepcopy(model.policy.optimizer.state[weight]) for weight, _ in layers(model)]

    model.learn(ROLLOUT, callback=AfterEveryStep(look), reset_num_timesteps=False)
    changes = 0
    for (weight, mask), old, then in zip(layers(model), before, kept_moments, strict=True):
        changed = mask ^ old
        changes += int(changed.sum())
        for name in ("exp_avg", "exp_avg_sq"):
            expected = torch.where(changed, 0.0, then[name])
            torch.testing.assert_close(model.policy.optimizer.state[weight][name], expected, rtol=0, atol=0)
            assert not expected[~mask].any()
    assert changes > 0


def test_rmsprop_begins_new_weights_with_the_median_of_the_others():
    weight = nn.Parameter(torch.zeros(2, 3))
    optimiser = torch.optim.RMSprop([weight], momentum=0.9)
    weight.grad = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    optimiser.step()
    square = optimiser.state[weight]["square_avg"].clone()
    changed = torch.tensor([[True, False, False], [False, False, True]])
    active = torch.tensor([[True, True, True], [True, True, False]])
    moments.restart(optimiser, weight, changed, active)
    state = optimiser.state[weight]
    expected = square.clone()
    expected[0, 0], expected[1, 2] = square.view(-1)[1:5].median(), 0
    torch.testing.assert_close(state["square_avg"], expected, rtol=0, atol=0)
    assert (state["momentum_buffer"] == 0).tolist() == changed.tolist()


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, partial(torch.optim.AdamW, weight_decay=0.1)])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_weight_that_comes_steps_as_under_an_optimiser_of_its_own(optimiser, amsgrad):
    rng = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(4, generator=rng))
    adam = optimiser([ours], lr=0.01, amsgrad=amsgrad)

    def step(parameter, its_optimiser, gradient):
        parameter.grad = gradient.clone()
        its_optimiser.step()

    for _ in range(100):
        step(ours, adam, torch.randn(4, generator=rng))
    changed = torch.tensor([False, True, False, True])
    moments.restart(adam, ours, changed, torch.ones(4, dtype=torch.bool))
    with torch.no_grad():
        ours[changed] = 0
    fresh, old = nn.Parameter(torch.zeros(2)), nn.Parameter(ours[~changed].detach().clone())
    its_own = optimiser([fresh], lr=0.01, amsgrad=amsgrad)
    as_ever = optimiser([old], lr=0.01, amsgrad=amsgrad)
    as_ever.state[old] = {name: x[~changed].clone() if x.ndim else x.clone() for name, x in adam.state[ours].items()}
    young = moments.young(adam, [ours], [torch.tensor([moments.GROWN_UP, 0, moments.GROWN_UP, 0])])
    for _ in range(300):
        gradient = torch.randn(4, generator=rng)
        step(ours, adam, gradient)
        young.after_step(adam)
        step(fresh, its_own, gradient[changed])
        step(old, as_ever, gradient[~changed])
    torch.testing.assert_close(ours[changed], fresh, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[~changed], old, rtol=0, atol=0)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_steps_in_sparse_layers_are_longer(algorithm):
    """Two runs from the same point, one step each."""
    once = {"n_steps": 16, **({"batch_size": 2 * 16, "n_epochs": 1} if algorithm is PPO else {})}
    steps = []
    for power in (0.0, 0.5, 1.0):
        model = sparse(algorithm, rule=Static(), rate_power=power, max_grad_norm=1e9, **once)
        before = [weight.detach().clone() for weight, _ in layers(model)]
        bias = model.policy.action_net.bias.detach().clone()
        model.learn(ROLLOUT)
        moved = [weight.detach() - then for (weight, _), then in zip(layers(model), before, strict=True)]
        steps.append([*moved, model.policy.action_net.bias.detach() - bias])
    densities = [mask.float().mean().item() for _, mask in layers(model)] + [1.0]
    for plain, half, whole, density in zip(*steps, densities, strict=True):
        torch.testing.assert_close(half, plain / density**0.5, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(whole, plain / density, rtol=1e-3, atol=1e-7)


def test_without_its_own_age_a_new_weight_would_run_away():
    steps = [(1 - 0.9**k) / (1 - 0.999**k) ** 0.5 for k in range(1, 201)]
    assert (np.argmax(steps), round(max(steps), 2), round(steps[0], 2)) == (11, 6.57, 3.16)
    for young in (False, True):
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        adam = torch.optim.Adam([weight], lr=1.0, eps=0.0)
        weight.grad = torch.ones_like(weight)
        adam.step()
        adam.state[weight]["step"] += 10**6
        moments.restart(adam, weight, torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool))
        own = moments.young(adam, [weight], [torch.tensor([0])])
        for expected in steps:
            before = weight.item()
            adam.step()
            if young:
                own.after_step(adam)
            assert before - weight.item() == pytest.approx(1.0 if young else expected, rel=1e-6)


# TRPO


@pytest.fixture
def fisher():
    """The vector's Fisher matrix as curvature of four weights of a TRPO's actor, one of which is absent."""
    vector = VECTORS["masked_fvp"]
    model = sparse(TRPO, rule=Static(), policy_kwargs={"net_arch": [4]}, cg_damping=vector["damping"])
    masks, weight = model.sparsity.masks, model.policy.action_net.weight
    (slot,) = (slot for slot in masks.layout.slots if slot.name == "action_net.weight")
    masks.active[0, slot.start : slot.stop] = np.array(vector["mask"]) == 1
    jacobian = torch.tensor(vector["J"])
    with model.sparsity.attached(model.policy, model.policy.optimizer):
        theta = weight.reshape(-1)
        quadratic = (jacobian @ theta).square().sum() / 6
        (gradient,) = torch.autograd.grad(quadratic, weight, create_graph=True)
        yield vector, partial(model.hessian_vector_product, [weight], gradient.reshape(-1))


def test_the_fisher_matrix_is_that_of_present_weights(fisher):
    vector, product = fisher
    v = torch.tensor(vector["v"])
    expected = torch.tensor(vector["expected"]["MFMv"])
    got = product(v)
    assert (v == torch.tensor(vector["v"]) * torch.tensor(vector["mask"])).all()
    torch.testing.assert_close(got - vector["damping"] * v, expected)


def test_the_step_is_solved_for_among_present_weights(fisher):
    vector, product = fisher
    expected = torch.tensor(vector["expected"]["natgrad_subspace"])
    torch.manual_seed(0)
    step = conjugate_gradient_solver(product, torch.tensor(vector["expected"]["g"]), max_iter=20)
    assert step[1] == 0
    torch.testing.assert_close(step, expected, atol=1e-3, rtol=1e-3)
    assert (step - torch.tensor(vector["expected"]["full_then_mask"])).abs().max() > 0.1


# Going on


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_loaded_model_goes_on_as_if_it_had_never_been_saved(algorithm, tmp_path):
    model = sparse(algorithm)
    model.learn(5 * ROLLOUT)
    model.save(tmp_path / "model")
    loaded = load_sparse(algorithm, tmp_path / "model", env=make_vec_env(POINT, 2, seed=3), device="cpu")
    assert set(loaded.policy.state_dict()) == set(dense(algorithm).policy.state_dict())
    ends = []
    for one in (model, loaded):
        restarted(one).learn(5 * ROLLOUT, reset_num_timesteps=False)
        assert not absent(one).any()
        ends.append(everything(one) | {"sparsity": one.sparsity.metrics(), "ages": one.sparsity._ages})
    np.testing.assert_equal(*ends)
    assert ends[0]["sparsity"]["regrown"] > 0
    np.testing.assert_array_equal(model.sparsity.masks.explored, loaded.sparsity.masks.explored)


def test_a_checkpoint_within_learning_knows_how_old_weights_are(tmp_path):
    model, paths = sparse(rule=RigL(every=3, drop=0.9)), []

    def save(model):
        if model.num_timesteps == 5 * ROLLOUT:
            model.save(tmp_path / "model")
            paths.append(model.sparsity._hooks.young.age.tolist())

    model.learn(6 * ROLLOUT, callback=AtEveryRollout(start=save))
    loaded = load_sparse(PPO, tmp_path / "model", env=make_vec_env(POINT, 2), device="cpu")
    ages = loaded.sparsity._ages
    assert sorted(ages[ages >= 0].tolist()) == sorted(paths[0])
    assert set(ages[ages >= 0].tolist()) == {12}  # two updates of six steps since the exchange


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_dense_algorithm_loads_it_to_predict(algorithm, tmp_path):
    model = sparse(algorithm)
    model.learn(3 * ROLLOUT).save(tmp_path / "model")
    plain = algorithm.load(tmp_path / "model", device="cpu")
    obs = np.linspace(-1, 1, 10).reshape(5, 2)
    np.testing.assert_array_equal(plain.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    with pytest.raises(UsageError, match=rf"load it by load_sparse\({algorithm.__name__}, path\)"):
        sparsify(plain)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_copy_learns_as_its_original_does(algorithm, duplicate):
    model = sparse(algorithm)
    model.learn(3 * ROLLOUT)
    model.predict(np.zeros((1, 2)))  # Stable-Baselines3 can copy no model that holds the graph of its last update
    copied = duplicate(model)
    assert type(copied) is type(model)
    ends = []
    for one in (model, copied):
        one.set_env(make_vec_env(POINT, 2, seed=3))
        restarted(one).learn(4 * ROLLOUT)
        assert not absent(one).any()
        ends.append(everything(one) | {"active": one.sparsity.masks.active})
    np.testing.assert_equal(*ends)
    assert copied.sparsity is not model.sparsity


def test_learning_twice_begins_its_schedule_anew_or_goes_on_with_it():
    model = sparse(rule=SET(every=1, end=0.5))
    seen = []
    watch = AtEveryRollout(start=lambda model: seen.append(model.sparsity.metrics()["regrown"]))
    model.learn(4 * ROLLOUT, callback=watch)
    model.learn(4 * ROLLOUT, callback=watch)
    model.learn(8 * ROLLOUT, callback=watch, reset_num_timesteps=False)
    grew = np.diff(seen[:4]), np.diff(seen[4:8])
    for one in grew:
        assert (one[:2] > 0).all()
        assert one[2] == 0
    assert model.num_timesteps == 12 * ROLLOUT
    assert not absent(model).any()


def test_an_optimiser_that_forgets_everything_forgets_how_old_weights_are():
    model = sparse(rule=RigL(every=2, drop=0.9))
    model.learn(2 * ROLLOUT)
    assert (model.sparsity._ages == 0).any()
    model.policy.optimizer.state.clear()
    model.learn(ROLLOUT)
    assert (model.sparsity._ages == moments.GROWN_UP).all()


def test_weights_put_in_from_elsewhere_are_masked_before_learning():
    model = sparse()
    model.set_parameters(dense().get_parameters())
    assert absent(model).any()
    seen = []
    model.learn(ROLLOUT, callback=AtEveryRollout(start=lambda model: seen.append(absent(model).any())))
    assert seen == [False]


def test_after_an_exception_no_hook_is_left():
    def fail(model):
        raise RuntimeError("stop")

    model = sparse()
    with pytest.raises(RuntimeError, match="stop"):
        model.learn(10 * ROLLOUT, callback=AtEveryRollout(end=fail))
    assert not model.policy.optimizer._optimizer_step_post_hooks
    assert not any(weight._backward_hooks for weight, _ in layers(model))
    model.learn(2 * ROLLOUT)
    assert not absent(model).any()


# Together with others


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_candidates_of_explorler_keep_the_mask(algorithm):
    probing = ExploRLer(
        proposal=Gaussian(candidates=3),
        probe=Episodes(2, accept="always"),
        num_anchors=2,
        budget_fraction=0.5,
    )
    model, callback = sparse(algorithm, rule=RigL(every=1)), ExploRLerCallback(probing, seed=0)

    def look(model):
        assert not absent(model).any()
        present = callback._actor.project(np.ones(len(callback._actor.read()))) != 0
        assert all(not anchor[~present].any() for anchor in callback._anchors)
        assert not present.all()

    model.learn(20 * ROLLOUT, callback=[callback, AtEveryRollout(look, look)])
    assert callback.report().accepted >= 2
    assert callback.report().failed == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gsde_and_normalisation_stay_what_they_are(algorithm):
    env = VecNormalize(make_vec_env(POINT, 2, seed=3))
    model = sparse(algorithm, env=env, use_sde=True, sde_sample_freq=4)
    model.learn(5 * ROLLOUT)
    assert not absent(model).any()
    assert model.policy.log_std.shape == (16, 1)


class Pictures(gymnasium.Env):
    """Small pictures and numbers; two actions."""

    observation_space = Dict({"image": Box(0, 255, (1, 36, 36), np.uint8), "speed": Box(-1, 1, (3,), np.float32)})
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), float(action), self.np_random.random() < 0.1, False, {}

    def action_masks(self):
        return np.ones(2, bool)


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO, MaskablePPO])
def test_linear_layers_of_a_shared_features_extractor_count_once_with_the_actor(algorithm, register):
    options = {"n_steps": 16, "batch_size": 16} if algorithm is MaskablePPO else {}
    env = make_vec_env(register(Pictures), 2, seed=3)
    model = sparse(algorithm, env=env, policy="MultiInputPolicy", rule=RigL(every=1), **options)
    slots = model.sparsity.masks.layout.slots
    shared = [slot for slot in slots if slot.name.startswith("features_extractor")]
    assert [slot.group for slot in shared] == ["actor"]
    assert {slot.group for slot in slots if "value_net" in slot.name} == {"critic"}
    assert not any("cnn.0" in slot.name for slot in slots)
    model.learn(3 * ROLLOUT)
    assert not absent(model).any()
    assert model.sparsity.metrics()["regrown"] > 0
    assert "dead_units" not in model.sparsity.metrics()


class Normalised(BaseFeaturesExtractor):
    """Normalises by its batches."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 8)
        self.net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 8), nn.Tanh())

    def forward(self, obs):
        return self.net(obs)


def test_looking_at_a_network_leaves_its_statistics_alone():
    kwargs = {"features_extractor_class": Normalised, "share_features_extractor": False}
    plain, model = dense(policy_kwargs=kwargs), sparse(policy_kwargs=kwargs)
    assert model.policy.training == plain.policy.training
    for (name, before), after in zip(plain.policy.named_buffers(), model.policy.buffers(), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0, msg=name)
    groups = {slot.name.partition(".")[0]: slot.group for slot in model.sparsity.masks.layout.slots}
    assert groups["features_extractor"] == "actor"
    assert groups["vf_features_extractor"] == "critic"


def test_what_is_told():
    model, rows = sparse(rule=RigL(every=1)), []
    model.learn(3 * ROLLOUT, callback=AtEveryRollout(end=lambda model: rows.append(dict(model.logger.name_to_value))))
    logged = model.logger.name_to_value
    metrics = model.sparsity.metrics()
    assert {"density", "regrown", "explored", "dead_units", "actor_weights", "critic_weights"} == set(metrics)
    for name, value in metrics.items():
        assert logged[f"sparse/{name}"] == value
    masks = [mask for _, mask in layers(model)]
    assert metrics["density"] == sum(int(x.sum()) for x in masks) / sum(x.numel() for x in masks)
    dead = sum(
        int((~(before.any(1) & after.any(0))).sum())
        for network in (masks[:3], masks[3:])
        for before, after in zip(network, network[1:], strict=False)
    )
    assert metrics["dead_units"] == dead
    assert metrics["explored"] > metrics["density"]
    assert repr(model.sparsity).startswith(f"{metrics['density']:.1%} of ")


# Refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0: expected a number from 0 on, below 1"),
        ({"sparsity": "rigl"}, "sparsity is 'rigl': expected a number"),
        ({"actor_sparsity": -0.1}, "actor_sparsity is -0.1: expected a number from 0 on, below 1"),
        ({"critic_sparsity": 90}, "critic_sparsity is 90: expected"),
        ({"max_kl": 0.0}, "max_kl is 0.0: expected a positive number"),
        ({"rule": "rgl"}, "rule is 'rgl': expected one of rigl, set, static, magnitude; did you mean rigl?"),
        ({"rule": "RigL"}, "rule is 'RigL': expected one of rigl, set, static, magnitude; did you mean rigl?"),
        ({"rule": RigL}, "rule is <class 'rlsparse.sparse.rules.RigL'>: expected one of"),
        ({"rule": RigL(drop=2)}, "rule.drop is 2: expected a number above 0, at most 1"),
        ({"rule": Magnitude(start=0.9)}, "rule.start is 0.9: expected less than rule.end, 0.8"),
        ({"rule": AST()}, "the rule AST needs our own training loop: use rigl, set or magnitude"),
        ({"rule": DCIL()}, "the rule DCIL needs our own training loop: use rigl, set or magnitude"),
        ({"rule": "dcil"}, "rule is 'dcil': expected one of rigl, set, static, magnitude"),
        ({"rule": "ast"}, "rule is 'ast': expected one of rigl, set, static, magnitude"),
        ({"rate_power": 2}, "rate_power is 2: expected a number from 0 to 1"),
        ({"budget": "uniforn"}, "budget is 'uniforn': expected one of erk, uniform; did you mean uniform?"),
        ({"init": "scaled"}, "init is 'scaled': expected one of rescaled, masked; did you mean rescaled?"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, message):
    model = dense()
    before = copy.deepcopy(everything(model))
    with pytest.raises(UsageError) as error:
        sparsify(model, **arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert type(model) is PPO
    np.testing.assert_equal(everything(model), before)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(UsageError, match="^SAC is no on-policy algorithm: only PPO, A2C and TRPO can be made sparse$"):
        sparsify(SAC("MlpPolicy", "Pendulum-v1", device="cpu", buffer_size=10))
    with pytest.raises(UsageError, match="is recurrent, so it cannot be made sparse$"):
        sparsify(RecurrentPPO("MlpLstmPolicy", make_vec_env(POINT, 1), n_steps=8, batch_size=8, device="cpu"))
    with pytest.raises(UsageError, match="^'PPO' is no model of Stable-Baselines3, so it cannot be made sparse$"):
        sparsify("PPO")
    with pytest.raises(UsageError, match="^this PPO is sparse already"):
        sparsify(sparse())
    model = dense()
    model.policy.value_net.requires_grad_(False)
    model.policy.mlp_extractor.value_net.requires_grad_(False)
    with pytest.raises(UsageError, match="^the critic of this ActorCriticPolicy has no linear layer of its own"):
        sparsify(model)
    dense().save(tmp_path / "dense")
    with pytest.raises(UsageError, match="dense was saved without masks: PPO.load reads it$"):
        load_sparse(PPO, tmp_path / "dense")
    with pytest.raises(UsageError, match="^SAC is no on-policy algorithm"):
        load_sparse(SAC, tmp_path / "dense")


def test_what_is_unwise_is_warned_of(caplog):
    model = dense()
    model.learn(ROLLOUT)
    sparsify(model, 0.99, "static")
    told = [record.getMessage() for record in caplog.records]
    assert any("keeps" in line and "so some are dead" in line for line in told)
    assert told[-1].startswith("this PPO has learned for 32 steps, and most of its weights are gone")


def test_the_example_runs(monkeypatch, tmp_path, capsys):
    example = Path(__file__).parent.parent.parent / "examples" / "sb3_sparse.py"
    arguments = "--env Reacher --total-steps 128 --num-envs 2 --rollout-length 64 --save"
    monkeypatch.setattr(sys, "argv", [str(example), *arguments.split(), str(tmp_path / "model")])
    runpy.run_path(str(example), run_name="__main__")
    weights_line, returns_line = capsys.readouterr().out.splitlines()
    assert weights_line.startswith("10.0% of ")
    assert returns_line.startswith("return ")
    assert not absent(load_sparse(PPO, tmp_path / "model", device="cpu")).any()
