"""Sparse networks under Stable-Baselines3: what is absent, beside what else, what is told and refused."""

import copy
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
from sparse_models import (
    ALGORITHMS,
    OFTEN,
    POINT,
    ROLLOUT,
    VECTORS,
    AfterEveryStep,
    AtEveryRollout,
    absent,
    dense,
    everything,
    layers,
    sparse,
)
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian
from rlsparse.sb3 import ExploRLerCallback, load_sparse, sparsify
from rlsparse.sparse.ast import AST
from rlsparse.sparse.budgets import densities, kept
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

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
    *progress, weights_line, returns_line = capsys.readouterr().out.splitlines()
    assert any("total_timesteps" in line for line in progress)
    assert weights_line.startswith("10.0% of ")
    assert returns_line.startswith("return ")
    assert not absent(load_sparse(PPO, tmp_path / "model", device="cpu")).any()
