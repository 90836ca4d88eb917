"""PPO's loss, gradients and updates, against autograd and Stable-Baselines3."""

from dataclasses import fields, replace

import numpy as np
import peers
import pytest
import stable_baselines3
import torch

from rlsparse.algorithms.ppo import PPO, clip_by_norm
from rlsparse.learner.minibatch import shuffled_minibatches
from rlsparse.learner.network import action_mean
from rlsparse.learner.records import EpochStats


def torch_network(params, layout, group, x):
    """Run a tanh network on torch tensors that know their gradient; params [S, D], x [S, B, in]."""
    layers = layout.layers(params, group)
    for i, (weight, bias) in enumerate(layers):
        x = torch.einsum("sbi,sio->sbo", x, weight) + bias[:, None]
        x = torch.tanh(x) if i < len(layers) - 1 else x
    return x


def torch_loss(ppo, layout, params, batch):
    """The loss of every member as the paper writes it, with torch's distributions, in float64."""
    samples = (batch.obs, batch.action, batch.log_prob, batch.advantage, batch.value_target)
    obs, action, log_prob, advantage, target = map(torch.tensor, samples)
    share = torch.ones_like(advantage) if batch.weight is None else torch.tensor(batch.weight)
    share = share / share.sum(1, keepdim=True)
    mean, *shift = torch_network(params, layout, "actor", obs).split(layout.action_size, -1)
    log_std = layout.log_std(params)[:, None] + sum(torch.tanh(x) for x in shift)
    policy = torch.distributions.Normal(mean, log_std.exp())
    ratio = (policy.log_prob(action).sum(-1) - log_prob).exp()
    clipped = ratio.clamp(1 - ppo.clip_range, 1 + ppo.clip_range)
    value = torch_network(params, layout, "critic", obs)[..., 0]
    terms = {
        "policy_loss": -(share * torch.min(ratio * advantage, clipped * advantage)).sum(1),
        "value_loss": (share * (value - target) ** 2).sum(1),
        "entropy": policy.entropy().sum(-1).mean(1),
        "approx_kl": (share * (ratio - 1 - ratio.log())).sum(1),
        "clip_fraction": (share * ((ratio - 1).abs() > ppo.clip_range)).sum(1),
    }
    loss = terms["policy_loss"] + ppo.value_coef * terms["value_loss"] - ppo.entropy_coef * terms["entropy"]
    return loss, terms


@pytest.mark.parametrize("state_dependent", [False, True])
@pytest.mark.parametrize("entropy_coef", [0.0, 0.03])
@pytest.mark.parametrize(("distance", "weighted"), [(0.0, False), (0.3, False), (0.3, True)])
def test_loss_and_gradient_against_autograd(new_learner, new_batch, distance, weighted, entropy_coef, state_dependent):
    ppo = PPO(value_coef=0.7, entropy_coef=entropy_coef)
    learner = new_learner(log_std_init=-0.3, state_dependent_std=state_dependent)
    learner.params *= 2.0  # deviations that differ from state to state
    batch = new_batch(learner, distance=distance, dtype=np.float64)
    if weighted:
        drawn = np.random.default_rng(1).uniform(0, 2, batch.advantage.shape)
        batch = replace(batch, weight=np.where(drawn < 1, 0.0, drawn))
    params = learner.params.astype(float)
    gradient, views = np.full_like(params, np.nan), learner.layout.views
    stats = learner.gradient(ppo.loss_gradient, views(params), batch, views(gradient))

    leaf = torch.tensor(params, requires_grad=True)
    loss, terms = torch_loss(ppo, learner.layout, leaf, batch)
    loss.sum().backward()
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-9, atol=1e-12)
    for name, expected in terms.items():
        np.testing.assert_allclose(stats[name], expected.detach(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(stats["grad_norm"], leaf.grad.norm(dim=1), rtol=1e-9)
    if distance:
        assert (stats["clip_fraction"] > 0).all()
        assert (stats["clip_fraction"] < 1).all()


@pytest.mark.parametrize("max_norm", [0.01, 1e3])
def test_gradients_are_clipped_member_by_member_as_in_torch(max_norm):
    gradient = np.random.default_rng(0).normal(size=(3, 8)) * [[1e-3], [1], [10]]
    expected = torch.tensor(gradient)
    for row in expected:
        row.grad = row.clone()
        torch.nn.utils.clip_grad_norm_([row], max_norm)
        row.copy_(row.grad)
    clip_by_norm(gradient, np.linalg.norm(gradient, axis=1), max_norm)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@pytest.mark.parametrize("normalise_advantages", [False, True])
def test_one_minibatch_is_that_of_sb3(new_learner, new_batch, normalise_advantages):
    size, rate = 64, 1e-3
    learner = new_learner(seeds=[0], actor_hidden=(64, 64), critic_hidden=(64, 64), log_std_init=-0.2)
    layout, batch = learner.layout, new_batch(learner, size)
    ppo = PPO(
        learning_rate=rate,
        epochs=1,
        minibatches=1,
        entropy_coef=0.02,
        value_coef=0.7,
        normalise_advantages=normalise_advantages,
    )

    model = stable_baselines3.PPO(
        "MlpPolicy",
        peers.Still(),
        learning_rate=rate,
        n_steps=size,
        batch_size=size,
        n_epochs=1,
        ent_coef=0.02,
        vf_coef=0.7,
        normalize_advantage=normalise_advantages,
        device="cpu",
    )
    peers.take_over(model, learner, batch)
    theirs, gradients = peers.parameters(model), {}
    model.policy.optimizer.register_step_pre_hook(lambda *_: gradients.update(peers.parameters(model, "grad")))
    model.train()

    gradient = np.empty_like(learner.params)
    (part,) = shuffled_minibatches(learner, batch, 1, normalise_advantages)
    stats = learner.gradient(ppo.loss_gradient, layout.views(learner.params), part, layout.views(gradient))
    assert stats["grad_norm"] > ppo.max_grad_norm
    clip_by_norm(gradient, stats["grad_norm"], ppo.max_grad_norm)
    list(ppo.update(learner, batch))
    logged = model.logger.name_to_value
    for ours, name in (
        (stats["policy_loss"], "policy_gradient_loss"),
        (stats["value_loss"], "value_loss"),
        (-stats["entropy"], "entropy_loss"),
        (stats["approx_kl"], "approx_kl"),
        (stats["clip_fraction"], "clip_fraction"),
    ):
        assert ours == pytest.approx(logged[f"train/{name}"], rel=1e-4, abs=1e-6)
    for slot in layout.slots:
        np.testing.assert_allclose(
            layout.view(gradient[0], slot), gradients[slot.name], rtol=1e-3, atol=1e-6, err_msg=slot.name
        )
        np.testing.assert_allclose(
            layout.view(learner.params[0], slot), theirs[slot.name], atol=0.01 * rate, err_msg=slot.name
        )


def test_an_update_takes_a_step_per_minibatch(new_learner, new_batch):
    learner = new_learner()
    history = list(PPO(epochs=3, minibatches=4).update(learner, new_batch(learner)))
    assert len(history) == 3
    assert (learner.optimiser.steps == 12).all()


def test_epoch_statistics_are_means_over_the_minibatches(new_learner, new_batch):
    learner, seen = new_learner(), []
    gradient = learner.gradient

    def observed(*arguments):
        seen.append(gradient(*arguments))
        return seen[-1]

    learner.gradient = observed
    for stats in PPO(epochs=2, minibatches=4).update(learner, new_batch(learner)):
        for name in seen[0]:
            expected = np.mean([terms[name] for terms in seen[-4:]], 0)
            np.testing.assert_allclose(getattr(stats, name), expected, rtol=1e-5)
        assert {f.name for f in fields(EpochStats)} - seen[0].keys() == {"step_fraction"}
        assert np.isnan(stats.step_fraction).all()
    assert len(seen) == 8


def change(new_learner, new_batch, progress, **ppo):
    learner = new_learner()
    learner.progress = np.full(learner.members, progress)
    start = learner.params.copy()
    list(PPO(epochs=1, minibatches=1, **ppo).update(learner, new_batch(learner)))
    return learner.params - start


def test_the_learning_rate_decays_with_the_spent_budget(new_learner, new_batch):
    whole = change(new_learner, new_batch, 0.0, learning_rate_decay=True)
    quarter = change(new_learner, new_batch, 0.75, learning_rate_decay=True)
    np.testing.assert_array_equal(whole, change(new_learner, new_batch, 0.75, learning_rate_decay=False))
    np.testing.assert_allclose(quarter, whole / 4, atol=1e-7)


def test_the_learning_rate_decays_for_each_member_by_its_own_budget(new_learner, new_batch):
    spent = [0.0, 0.75, 0.5]
    together = change(new_learner, new_batch, spent, learning_rate_decay=True)
    for member, progress in enumerate(spent):
        alike = change(new_learner, new_batch, progress, learning_rate_decay=True)
        np.testing.assert_array_equal(together[member], alike[member])


def stopping_batch(learner, new_batch):
    """Member 1 is far from the policy that acted, the others are that policy."""
    batch = new_batch(learner, distance=0.0)
    batch.log_prob[1] += 2.0
    return batch


def test_a_member_beyond_the_kl_target_stays_bitwise_as_it_was(new_learner, new_batch):
    learner = new_learner()
    before = {name: x.copy() for name, x in learner.state_dict().items()}
    epochs = list(PPO(epochs=3, minibatches=4, target_kl=0.1).update(learner, stopping_batch(learner, new_batch)))
    assert len(epochs) == 3
    assert learner.optimiser.steps[:, 0].tolist() == [12, 0, 12]
    for name in ("params", "optimiser.first", "optimiser.second"):
        after = learner.state_dict()[name]
        np.testing.assert_array_equal(after[1], before[name][1])
        assert (after[[0, 2]] != before[name][[0, 2]]).any()


def test_the_update_ends_once_all_members_have_stopped(new_learner, new_batch):
    learner = new_learner(seeds=[0])
    batch = new_batch(learner, distance=1.0)
    assert len(list(PPO(epochs=5, minibatches=4, target_kl=0.01).update(learner, batch))) == 1
    assert learner.optimiser.steps == 0


def test_a_member_stops_at_one_and_a_half_times_the_kl_target_as_in_sb3(new_learner, new_batch):
    learner = new_learner(seeds=[0])
    batch = new_batch(learner, distance=0.3)
    views = learner.layout.views
    kl = PPO().loss_gradient(views(learner.params), batch, views(np.empty_like(learner.params)))["approx_kl"][0]
    for ratio, steps in ((1.6, 0), (1.4, 1)):
        list(PPO(epochs=1, minibatches=1, target_kl=float(kl) / ratio).update(learner, batch))
        assert learner.optimiser.steps == steps


@pytest.mark.parametrize("target_kl", [0.003, 0.01])
def test_a_member_that_stops_early_ends_as_if_it_were_alone(new_learner, new_batch, target_kl):
    ppo = PPO(learning_rate=3e-3, epochs=5, minibatches=4, target_kl=target_kl)
    together, alone = new_learner(), [new_learner(seeds=[seed]) for seed in range(3)]
    batch = new_batch(together, distance=0.0)
    stats = list(ppo.update(together, batch))[-1]
    single_stats = []
    for member, learner in enumerate(alone):
        own = batch.map(lambda x, member=member: x[member : member + 1])
        single_stats.append(list(ppo.update(learner, own))[-1])
    assert len({int(learner.optimiser.steps[0, 0]) for learner in alone}) > 1  # they stop at different moments
    for name, x in together.state_dict().items():
        np.testing.assert_array_equal(x, np.concatenate([learner.state_dict()[name] for learner in alone]), name)
    streams = [learner.random_state()["minibatch"][0] for learner in alone]
    assert together.random_state()["minibatch"] == streams
    for name, x in vars(stats).items():
        np.testing.assert_array_equal(x, np.concatenate([getattr(s, name) for s in single_stats]), name)


def test_the_policy_moves_towards_the_better_actions(new_learner, new_batch):
    learner = new_learner(log_std_init=-0.5)
    batch = new_batch(learner, 256, distance=0.0)
    goal = np.array([0.3, -0.2, 0.1], np.float32)
    batch = replace(batch, advantage=-((batch.action - goal) ** 2).sum(-1))
    before = action_mean(learner.layout, learner.params, batch.obs)
    list(PPO(learning_rate=1e-3, epochs=10, minibatches=4).update(learner, batch))
    after = action_mean(learner.layout, learner.params, batch.obs)
    assert (np.abs(after - goal).mean((1, 2)) < np.abs(before - goal).mean((1, 2))).all()
