"""N-PG-IGT and N-HARPG: their formulas, where samples are taken, and what a second rollout tells."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from rlsparse import loop
from rlsparse.advantage.estimators import GAE
from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.algorithms.variance_reduced import (
    NHARPG,
    NPGIGT,
    LogLikelihood,
    MomentumAdam,
    TwoBatches,
    falling,
    look_ahead,
    memory_of,
    running_mean,
    step_along,
)
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.layout import actor_critic_layout
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic, action_mean
from rlsparse.learner.records import Batch
from rlsparse.run import checkpoint
from rlsparse.run import session as sessions
from rlsparse.run.plan import predict
from rlsparse.run.recipe import Recipe, check, from_toml, to_toml
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import RigL

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "momentum.json").read_text())


def gradient(theta):
    """Of -(t0^2 + 0.25 t1^2)."""
    return theta * [[-2.0, -0.5]]


def start(vector):
    theta = np.array([vector["theta0"]])
    return theta, np.zeros_like(theta), np.zeros_like(theta), np.array([[1.0]]), np.array([[vector["step"]]])


def test_gradients_ahead_of_the_policy_give_the_worked_steps():
    vector = VECTORS["n_pg_igt"]
    theta, moved, direction, eta, length = start(vector)
    for expect in vector["expect"]:
        ahead = look_ahead(theta, moved, eta)
        direction = running_mean(direction, gradient(ahead), eta)
        moved = step_along(direction, length)
        theta = theta + moved
        for ours, name in ((ahead, "lookahead"), (direction, "d"), (theta, "theta")):
            np.testing.assert_allclose(ours[0], expect[name], atol=1e-9)
        np.testing.assert_allclose(direction, gradient(theta - moved), atol=1e-9)  # the mean does not lag behind
        eta = np.array([[vector["eta"]]])


def test_a_mean_corrected_by_the_hessian_gives_the_worked_steps():
    vector = VECTORS["n_harpg"]
    theta, moved, direction, eta, length = start(vector)
    for expect in vector["expect"]:
        direction = running_mean(direction + gradient(moved), gradient(theta), eta)  # the Hessian is constant
        moved = step_along(direction, length)
        theta = theta + moved
        np.testing.assert_allclose(direction[0], expect["d"], atol=1e-9)
        np.testing.assert_allclose(theta[0], expect["theta"], atol=1e-9)
        eta = np.array([[vector["eta"]]])


def test_the_first_gradient_counts_alone_and_later_ones_less_and_less():
    np.testing.assert_allclose(falling(np.array([[0.0], [2.0], [6.0]]), 0.5), [[1], [0.5**0.5], [0.5]])


def test_a_step_has_its_length_and_there_is_none_along_zero():
    direction = np.array([[3.0, 4.0], [0.0, 0.0], [-30.0, 40.0]])
    step = step_along(direction, np.array([[5.0], [5.0], [1.0]]))
    np.testing.assert_allclose(step, [[3, 4], [0, 0], [-0.6, 0.8]])


def remembering():
    layout = actor_critic_layout(2, 1, (), ())
    memory = MomentumAdam(np.ones((2, layout.size), np.float32), layout, False)
    for array in memory.state_dict().values():
        array[...] = 1.0
    return memory, layout


def test_parameters_that_come_or_go_have_no_mean_and_did_not_move():
    memory, layout = remembering()
    where = np.zeros((2, layout.size), bool)
    where[1, [0, layout.size - 1]] = True
    memory.restart(where)
    for array in (memory.direction, memory.moved):
        np.testing.assert_array_equal(array, ~where[:, layout.policy])
    np.testing.assert_array_equal(memory.first, ~where)
    assert (memory.count == 1).all()


@pytest.mark.parametrize("moments", ["keep", "reset", "transport"])
def test_after_a_probe_moved_a_policy_its_memory_is_kept_or_begun_anew(moments):
    memory, layout = remembering()
    actor = layout.group("actor")
    memory.forget(1, moments, actor)
    left = {"keep": 1, "reset": 0, "transport": 0}[moments]
    for array in (memory.direction, memory.moved):
        assert (array[0] == 1).all()
        assert (array[1, actor] == left).all()
        assert (array[1, actor.stop :] == (moments != "reset")).all()
    assert memory.count[:, 0].tolist() == [1, moments != "reset"]


def log_prob(layout, policy, obs, action):
    """Of one member's samples, [B], for its numbers [P]."""
    x, layers = obs, layout.layers(policy[None], "actor")
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight[0] + bias[0]
        x = torch.tanh(x) if i < len(layers) - 1 else x
    return torch.distributions.Normal(x, layout.log_std(policy).exp()).log_prob(action).sum(-1)


@pytest.mark.parametrize("hidden", [(), (7,), (8, 7)])
def test_first_and_second_derivatives(new_learner, new_batch, hidden):
    learner = new_learner(actor_hidden=hidden)
    layout, rng = learner.layout, np.random.default_rng(0)
    learner.params += rng.standard_normal(learner.params.shape).astype(np.float32) / 3
    policy = learner.params[:, layout.policy].astype(float)
    batch = new_batch(learner, dtype=float)
    coefficient, direction = rng.standard_normal((3, 24)), rng.standard_normal(policy.shape)
    likelihood = LogLikelihood(layout, policy, batch)
    gradient, slope = likelihood.gradient(coefficient), likelihood.slope(direction)
    product = likelihood.hessian_product(coefficient, direction)
    for s in range(3):
        obs, action, weight, at, along = (
            torch.tensor(x[s]) for x in (batch.obs, batch.action, coefficient, policy, direction)
        )

        def of(point, obs=obs, action=action):
            return log_prob(layout, point, obs, action)

        def total(point, of=of, weight=weight):
            return (weight * of(point)).sum()

        np.testing.assert_allclose(slope[s], torch.func.jvp(of, (at,), (along,))[1], atol=1e-10)
        np.testing.assert_allclose(gradient[s], torch.func.grad(total)(at), atol=1e-10)
        hessian = torch.func.jvp(torch.func.grad(total), (at,), (along,))[1]
        np.testing.assert_allclose(product[s], hessian, atol=1e-9)


IGT = NPGIGT(critic_epochs=1, critic_minibatches=4)
HARPG = NHARPG(critic_epochs=1, critic_minibatches=4, second_length=5)
KINDS = pytest.mark.parametrize("algorithm", [IGT, HARPG], ids=["n-pg-igt", "n-harpg"])


def learner_for(algorithm, seeds=(0, 1, 2)):
    policy = ActorCritic(actor_hidden=(8, 7), critic_hidden=(6,))
    return Learner(policy, 5, 3, seeds, new_optimiser=algorithm.new_optimiser)


def part_of(learner):
    return learner.params[:, learner.layout.policy]


def arguments(algorithm, learner, batch):
    return (TwoBatches(**vars(batch), second=batch),) if isinstance(algorithm, NHARPG) else (batch,)


@KINDS
def test_steps_have_the_length_of_the_schedule_and_lie_along_the_running_mean(new_batch, algorithm):
    algorithm = replace(algorithm, step_length=0.3, step_power=0.5)
    learner = learner_for(algorithm)
    for t in range(4):
        before, batch = part_of(learner).copy(), new_batch(learner, distance=0.0, seed=t)
        batch = replace(batch, episode=np.zeros(batch.advantage.shape, int))
        (stats,) = algorithm.update(learner, *arguments(algorithm, learner, batch))
        step, direction = part_of(learner) - before, memory_of(learner).direction
        np.testing.assert_allclose(np.linalg.norm(step, axis=1), 0.3 * (2 / (t + 2)) ** 0.5, rtol=1e-4)
        cosine = (step * direction).sum(1) / np.linalg.norm(step, axis=1) / np.linalg.norm(direction, axis=1)
        np.testing.assert_allclose(cosine, 1, rtol=1e-4)
        np.testing.assert_allclose(memory_of(learner).moved, step, atol=1e-6)
        assert np.isfinite(stats.approx_kl).all()
        assert (stats.approx_kl > 0).all()


def test_the_rollout_is_collected_ahead_of_the_policy_which_stays_as_it_is():
    recipe = replace(tiny.RECIPE, env="Pendulum-v1", algorithm=replace(IGT, step_length=1.0), num_seeds=2)
    learner, collector, explorer = sessions.begin(recipe)
    rollouts = []
    collect, part = collector.collect, learner.layout.policy

    def collected(*arguments):
        rollouts.append((collect(*arguments), learner.params.copy(), learner.obs_scale()))
        return rollouts[-1][0]

    collector.collect = collected
    points = [learner.params[:, part].copy()]
    for t in range(3):
        eta = (2 / (t + 2)) ** 0.8
        ahead = points[-1] + (1 - eta) / eta * (points[-1] - points[max(t - 1, 0)])
        loop.iterate(recipe, learner, collector, explorer)
        rollout, acting, scale = rollouts[-1]
        np.testing.assert_allclose(acting[:, part], ahead, atol=1e-5)
        log_std = learner.layout.log_std(acting)[:, None, :]
        obs, action = (np.moveaxis(x, 1, 0).reshape(2, 16, -1) for x in (rollout.obs, rollout.action))
        noise = (action - action_mean(learner.layout, acting, scale(obs))) / np.exp(log_std)
        expected = gaussian_log_prob(noise, log_std).reshape(2, 8, 2)
        np.testing.assert_allclose(np.moveaxis(rollout.log_prob, 1, 0), expected, atol=1e-4)
        points.append(learner.params[:, part].copy())
        np.testing.assert_allclose(np.linalg.norm(points[-1] - points[-2], axis=1), 2 / (t + 2), rtol=1e-4)
    assert np.abs(ahead - points[-2]).max() > 0.1


def test_policies_stand_elsewhere_only_for_a_while_even_if_that_fails():
    learner = learner_for(IGT)
    learner.params[0, 0] = -0.0
    before = learner.params.tobytes()
    with pytest.raises(ZeroDivisionError), learner.using(part_of(learner) + 1):
        assert (learner.params[:, 1] != np.frombuffer(before, np.float32).reshape(3, -1)[:, 1]).all()
        raise ZeroDivisionError
    assert learner.params.tobytes() == before


def test_the_second_rollout_lies_between_the_last_two_policies_and_is_counted():
    recipe = replace(tiny.RECIPE, algorithm=HARPG, num_seeds=2)
    learner, collector, explorer = sessions.begin(recipe)
    rollouts = []
    collect = collector.collect

    def collected(learner, length, *rest):
        rollouts.append((length, part_of(learner).copy()))
        return collect(learner, length, *rest)

    collector.collect = collected
    points = [part_of(learner).copy()]
    for _ in range(3):
        loop.iterate(recipe, learner, collector, explorer)
        points.append(part_of(learner).copy())
    assert [length for length, _ in rollouts] == [8, 5] * 3
    assert learner.counters.train.tolist() == [3 * 2 * (8 + 5)] * 2
    for t in (1, 2):
        np.testing.assert_array_equal(rollouts[2 * t][1], points[t])
        step, back = points[t] - points[t - 1], points[t] - rollouts[2 * t + 1][1]
        share = (back * step).sum(1) / (step * step).sum(1)
        assert (share > 0).all() and (share < 1).all() and share[0] != share[1]
        np.testing.assert_allclose(back, share[:, None] * step, atol=1e-6)


def test_a_run_plans_and_spends_the_steps_of_both_rollouts(tmp_path):
    recipe = replace(tiny.RECIPE, algorithm=HARPG)
    assert recipe.iteration_steps == 26
    assert recipe.iterations == 4  # 96 steps
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    plan = predict(recipe, 5)
    assert session.learner.counters.train.tolist() == [plan.train_steps] == [4 * 26]
    assert plan.rollouts == 4


def test_the_change_of_the_gradient_is_that_of_a_known_expectation():
    """One state, one action, reward a: J(mean, log-std) = mean, whose gradient is constant; of reward a^2 it is not.

    The estimate over many one-step trajectories is the Hessian of J times the step: of a^2, J = mean^2 + std^2.
    """
    algorithm = NHARPG(normalise_advantages=False)
    policy = ActorCritic(actor_hidden=(), critic_hidden=())
    learner = Learner(policy, 1, 1, (0,), new_optimiser=algorithm.new_optimiser)
    learner.params = learner.params.astype(float)
    step = np.array([[0.0, 0.3, -0.2]])  # weight, bias, log-std
    memory = memory_of(learner)
    memory.moved = step
    learner.params[0, :3] = [0.0, 0.4, -0.5]
    _, mean, log_std = algorithm.sampling_point(learner)[0]
    count = 400_000
    noise = np.random.default_rng(0).standard_normal((1, count, 1))
    action = mean + np.exp(log_std) * noise
    obs, none = np.zeros((1, count, 1)), np.zeros((1, count))
    baseline = mean**2 + np.exp(2 * log_std)
    batch = Batch(obs, action, none, action[..., 0] ** 2 - baseline, None, episode=np.arange(count)[None])
    expected = [0.0, 2 * step[0, 1], 4 * np.exp(2 * log_std) * step[0, 2]]
    np.testing.assert_allclose(algorithm.change(learner, batch)[0], expected, atol=0.01)


@KINDS
def test_absent_weights_stay_zero_and_are_not_remembered(algorithm):
    recipe = Recipe(
        "Hopper-v5",
        num_seeds=2,
        num_envs=3,
        rollout_length=20,
        advantage=GAE(),
        algorithm=algorithm,
        sparse=Sparse(0.5, rule=RigL(every=1)),
    )
    learner, collector, explorer = sessions.begin(recipe)
    begun, part = learner.sparsity.masks.active.copy(), learner.layout.policy
    for _ in range(4):
        loop.iterate(recipe, learner, collector, explorer)
        absent, memory = ~learner.sparsity.masks.active, memory_of(learner)
        for array in (learner.params[:, part], memory.direction, memory.moved):
            assert not array[absent[:, part]].any()
    assert (begun != learner.sparsity.masks.active)[:, learner.layout.group("actor")].any()
    assert memory.moved.any(1).all()


@KINDS
def test_on_tensors_an_update_is_that_of_numpy(new_batch, algorithm):
    results = []
    for device in ("cpu", "cpu:0"):
        recipe = replace(tiny.RECIPE, algorithm=algorithm, num_seeds=2)
        learner, collector, explorer = sessions.begin(recipe, device)
        for _ in range(3):
            loop.iterate(recipe, learner, collector, explorer)
        results.append(learner.state_dict())
    for name, x in results[0].items():
        np.testing.assert_allclose(x, results[1][name], atol=2e-3, err_msg=name)


@KINDS
def test_a_recipe_names_it_and_what_is_evaluated_and_saved_is_the_policy_itself(algorithm, tmp_path):
    recipe = replace(tiny.RECIPE, algorithm=algorithm)
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe
    run_dir = tiny.train(tmp_path / "run", recipe)
    saved = checkpoint.load_latest(run_dir / "checkpoint").arrays["learner"]
    session = tiny.begin(tmp_path / "again", recipe)
    tiny.go_on(session)
    np.testing.assert_array_equal(saved["params"], session.learner.params)
    np.testing.assert_array_equal(session.learner.actors().params, saved["params"])
    assert (saved["optimiser.count"] == recipe.iterations).all()


@KINDS
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"explore": ExploRLer(probe=InRollout())}, "--explore.probe in-rollout judges by the rollout"),
        ({"explore": ExploRLer(probe=Surrogate())}, "--explore.probe surrogate judges by the rollout"),
        (
            {"sparse": Sparse(rule=AST())},
            "--sparse ast works minibatch by minibatch, .* --algorithm n-.* does not give",
        ),
        (
            {"sparse": Sparse(rule=DCIL())},
            "--sparse dcil works minibatch by minibatch, .* --algorithm n-.* does not give",
        ),
    ],
)
def test_what_cannot_work_is_refused(algorithm, changes, message):
    with pytest.raises(UsageError, match=message):
        check(Recipe("Hopper-v5", algorithm=algorithm, **changes))


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("step_length", 0.0, "a positive number"),
        ("step_power", -1.0, "zero or a positive number"),
        ("eta_power", 1.5, "a number above 0, at most 1"),
        ("second_length", 0, "a positive whole number"),
    ],
)
def test_a_setting_out_of_range_is_told_with_its_flag_and_what_is_expected(name, value, expected):
    flag = f"--algorithm.{name.replace('_', '-')} is {value}"
    with pytest.raises(UsageError, match=f"{flag}: expected {expected}"):
        check(Recipe("Hopper-v5", algorithm=replace(HARPG, **{name: value})))


def test_the_second_derivative_is_that_of_tanh():
    with pytest.raises(UsageError, match="n-harpg knows the second derivative of tanh alone.*--policy.activation tanh"):
        check(Recipe("Hopper-v5", algorithm=HARPG, policy=ActorCritic(activation="silu")))
    check(Recipe("Hopper-v5", algorithm=IGT, policy=ActorCritic(activation="silu")))


def test_a_second_rollout_breaks_into_groups_and_one_sample_has_no_deviation():
    groups = GroupRelative(group_size=2)
    with pytest.raises(
        UsageError, match="--algorithm n-harpg collects a second rollout, and needs episodes that are not compared"
    ):
        check(Recipe("Hopper-v5", advantage=groups, algorithm=HARPG))
    check(Recipe("Hopper-v5", advantage=groups, algorithm=IGT))
    single = Recipe("Hopper-v5", num_envs=1, rollout_length=4, algorithm=replace(HARPG, second_length=1))
    with pytest.raises(UsageError, match="--algorithm.second-length 1 of one environment"):
        check(single)
