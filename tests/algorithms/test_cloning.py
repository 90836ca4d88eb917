"""Cloning of the best episodes after failure: which are kept, what is learned from, members alone and together."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tape import tape
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import loop
from rlsparse.advantage.estimators import MonteCarlo
from rlsparse.advantage.group_relative import RLOO, GroupRelative
from rlsparse.algorithms import cloning
from rlsparse.algorithms.cloning import HPT, BestEpisodes, replace_by_stored_steps
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.surrogate import Clip
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.learner.network import action_mean
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions
from rlsparse.run.device import prepare
from rlsparse.run.recipe import from_toml, to_toml
from rlsparse.run.tensorboard import TensorBoard
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import RigL
from rlsparse.train import run_command

STEPS, MEMBERS, ENVS = 24, 2, 3


def new(episodes=4, success_return=0.0, gate=0.0, members=MEMBERS, num_envs=ENVS):
    return BestEpisodes(HPT(success_return=success_return, gate=gate, episodes=episodes), members, num_envs, 2, 1)


def numbered(shape=(STEPS, MEMBERS, ENVS)):
    """Observations (step, environment) and actions that no two steps share."""
    step, env = np.indices((shape[0], shape[1] * shape[2]))
    obs = np.stack([step, env], -1).reshape(*shape, 2).astype(np.float32)
    return obs, obs[..., :1] + 100 * obs[..., 1:]


def see(best, reward, ended, valid=None, part=slice(None)):
    obs, action = numbered(reward.shape)
    best.add_rollout(*(x if x is None else x[part] for x in (obs, action, reward, ended, valid)))


@st.composite
def lives(draw):
    """Rewards, ends and steps that are real, [T, S, N], of environments that may wait after an end."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = STEPS, MEMBERS, ENVS
    ended = rng.random(shape) < draw(st.floats(0, 0.5))
    reward = rng.integers(-2, 3, shape).astype(float)
    valid = np.ones(shape, bool)
    if draw(st.booleans()):
        for t in range(1, STEPS):
            over = ended[t - 1]
            valid[t] = ~(over & (rng.random(over.shape) < 0.5))
            ended[t] |= ~valid[t]
        reward[~valid] = 0
    cuts = sorted(draw(st.sets(st.integers(1, STEPS - 1), max_size=4)))
    return reward, ended, valid, [slice(*edge) for edge in zip([0, *cuts], [*cuts, STEPS], strict=True)]


def episodes_of(member, reward, ended, valid):
    """All whole episodes by the definition: (return, step of the end, environment, the steps)."""
    for n in range(ENVS):
        steps = []
        for t in np.flatnonzero(valid[:, member, n]):
            steps.append(t)
            if ended[t, member, n]:
                yield reward[steps, member, n].sum(), t, n, steps
                steps = []


@given(lives(), st.integers(1, 5), st.integers(-3, 3))
def test_the_best_whole_episodes_are_kept_wherever_rollouts_cut_them(life, episodes, success_return):
    reward, ended, valid, parts = life
    best = new(episodes, success_return)
    for part in parts:
        see(best, reward, ended, valid, part)
    for member in range(MEMBERS):
        whole = [x for x in episodes_of(member, reward, ended, valid) if x[0] > success_return]
        expected = sorted(whole, key=lambda x: (-x[0], -x[1], -x[2]))[:episodes]
        assert [x.total for x in best.kept[member]] == [x[0] for x in expected]
        for kept, (_, _, n, steps) in zip(best.kept[member], expected, strict=True):
            env = member * ENVS + n
            assert kept.obs.tolist() == [[t, env] for t in steps]
            assert kept.action[:, 0].tolist() == [t + 100 * env for t in steps]


@given(lives(), st.integers(-3, 3))
def test_the_share_of_successes_is_of_the_episodes_that_ended_in_the_last_rollout(life, success_return):
    reward, ended, valid, parts = life
    best = new(success_return=success_return)
    for part in parts:
        see(best, reward, ended, valid, part)
    for member in range(MEMBERS):
        returns = [x[0] for x in episodes_of(member, reward, ended, valid) if x[1] >= parts[-1].start]
        expected = np.mean([x > success_return for x in returns]) if returns else np.nan
        np.testing.assert_equal(best.success[member], expected)


@given(lives())
def test_put_back_from_its_state_it_goes_on_the_same_way(life):
    reward, ended, valid, parts = life
    best = new()
    for part in parts:
        resumed = new()
        resumed.load_state_dict(best.state_dict())
        for each in (best, resumed):
            see(each, reward, ended, valid, part)
            each.decide()
        assert {name: x.tobytes() for name, x in best.state_dict().items()} == {
            name: x.tobytes() for name, x in resumed.state_dict().items()
        }
        best = resumed


@given(lives())
def test_a_member_knows_nothing_of_the_others(life):
    reward, ended, valid, parts = life
    together, alone = new(), new(members=1)
    for part in parts:
        see(together, reward, ended, valid, part)
        obs, action = numbered()
        alone.add_rollout(*(x[part, 1:] for x in (obs, action, reward, ended, valid)))
    np.testing.assert_equal(together.kept[1], alone.kept[0])
    np.testing.assert_equal(together.success[1:], alone.success)


def test_of_equally_good_episodes_the_later_ones_are_kept():
    best = new(episodes=2, members=1, num_envs=1)
    reward = np.ones((4, 1, 1))
    see(best, reward, reward > 0)
    assert [x.obs[0, 0] for x in best.kept[0]] == [3, 2]


def test_what_was_broken_off_is_not_gone_on_with():
    best = new(members=1, num_envs=1)
    reward, ended = np.ones((2, 1, 1)), np.array([[[False]], [[True]]])
    see(best, reward[:1], ended[:1])
    best.restart()
    see(best, reward, ended)
    assert [x.total for x in best.kept[0]] == [2.0]


def test_an_episode_without_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(cloning, "LONGEST", 5)
    best = new(members=1, num_envs=1)
    reward, ended = np.ones((4, 1, 1)), np.zeros((4, 1, 1), bool)
    for _ in range(3):
        see(best, reward, ended)
        assert len(best.running[0][0].obs) <= 5
    ended[-1] = True
    see(best, reward, ended)
    assert best.success == 0
    assert best.kept == [[]]
    see(best, reward, ended)
    assert [x.total for x in best.kept[0]] == [4.0]


# When to clone


@pytest.mark.parametrize(
    ("paid", "gate", "expected"), [(0, 0.0, True), (1, 0.0, False), (1, 0.5, True), (2, 0.5, False), (2, 1.0, True)]
)
def test_a_member_clones_when_too_few_episodes_succeed(paid, gate, expected):
    best = new(gate=gate, members=1, num_envs=2)
    ended = np.ones((1, 1, 2), bool)
    see(best, np.ones((1, 1, 2)), ended)
    see(best, (np.arange(2) < paid).astype(float)[None, None], ended)
    assert best.decide().tolist() == [expected]
    assert best.clonings.tolist() == [expected]


def test_a_member_does_not_clone_without_a_stored_success_nor_when_no_episode_has_ended():
    best = new(members=2, num_envs=1)
    ended = np.ones((1, 2, 1), bool)
    see(best, np.array([[[0.0], [1.0]]]), ended)
    assert best.decide().tolist() == [False, False]
    see(best, np.zeros((1, 2, 1)), ended)
    assert best.decide().tolist() == [False, True]
    see(best, np.zeros((1, 2, 1)), ~ended)
    assert np.isnan(best.success).all()
    assert best.decide().tolist() == [False, False]


def test_the_share_of_updates_that_cloned_is_told_from_one_time_to_the_next():
    best = new(members=2, num_envs=1)
    ended = np.ones((1, 2, 1), bool)
    assert np.isnan(best.metrics()["cloned"]).all()
    for reward in ([1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]):
        see(best, np.reshape(reward, (1, 2, 1)), ended)
        best.decide()
    assert best.metrics()["cloned"].tolist() == [0.75, 0.25]
    best.reset_counts(np.array([True, False]))
    np.testing.assert_equal(best.metrics()["cloned"], [np.nan, 0.25])


def test_steps_are_drawn_from_all_kept_episodes_alike():
    best = new(episodes=2, members=1, num_envs=1)
    ended = np.zeros((6, 1, 1), bool)
    ended[[1, 5]] = True
    see(best, np.ones((6, 1, 1)), ended)
    obs, action = best.sample(0, 6000, np.random.default_rng(0))
    assert obs.dtype == action.dtype == np.float32
    assert (obs[:, 0] == action[:, 0]).all()
    np.testing.assert_allclose(np.bincount(obs[:, 0].astype(int)) / 1000, 1.0, atol=0.12)


HOPPER = tiny.recipe(
    env="Hopper-v5",
    num_seeds=2,
    num_envs=4,
    rollout_length=32,
    total_steps=512,
    eval_every=256,
    algorithm=PPO(1e-3, epochs=2, minibatches=4, objective=HPT(success_return=10.0, gate=0.5, episodes=3)),
)
"""Episodes end in every rollout and span others; now the one member clones, now the other, both or none."""

GROUPS = replace(HOPPER, advantage=GroupRelative(gamma=0.9, group_size=2))
PROBING = ExploRLer(Line((0.0, 2.0)), Episodes(2, "always"), num_anchors=2, budget_fraction=0.6)
CASES = {
    "gae": HOPPER,
    "monte-carlo": replace(HOPPER, advantage=MonteCarlo(gamma=0.9)),
    "early stops": replace(HOPPER, algorithm=replace(HOPPER.algorithm, target_kl=0.004)),
    "groups": GROUPS,
    "sparse": replace(HOPPER, sparse=Sparse(0.5, rule=RigL(every=1, end=1.0))),
    "dual path": replace(HOPPER, sparse=Sparse(0.5, rule=DCIL(start=0.0, end=1.0))),
    "in turns": replace(HOPPER, sparse=Sparse(0.5, rule=AST(start=0.0, end=1.0))),
    "probing": replace(HOPPER, explore=PROBING),
    "in the rollout": replace(HOPPER, explore=replace(PROBING, probe=InRollout(share=1.0, move="evolution"))),
}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def batches(monkeypatch):
    """Of every update, the batch of the rollout and the one that is learned from."""
    seen = []

    def record(batch, best, learner):
        result = replace_by_stored_steps(batch, best, learner)
        seen.append((batch, result))
        return result

    monkeypatch.setattr(cloning, "replace_by_stored_steps", record)
    return seen


def after(recipe, iterations, device="cpu"):
    learner, collector, explorer = sessions.begin(recipe, device)
    for _ in range(iterations):
        loop.iterate(recipe, learner, collector, explorer)
    return learner, collector, explorer


# What is learned from


@pytest.mark.parametrize("case", ["gae", "monte-carlo", "groups"])
def test_who_clones_sees_stored_steps_as_the_policy_stands_and_who_does_not_sees_the_rollout(case):
    recipe = CASES[case]
    learner, collector, explorer = after(recipe, 3)
    cloned = set()
    for _ in range(4):
        rollout = collector.collect(learner, recipe.rollout_length, 0.99)
        batch, best = learner.batch(rollout, recipe.advantage(rollout)), learner.archive
        result = replace_by_stored_steps(batch, best, learner)
        for member in range(2):
            cloned.add(bool(best.cloning[member]))
            assert (result.cloned[member] == best.cloning[member]).all()
            if best.cloning[member]:
                of_stored_steps(result, learner, best, member)
            else:
                for name in ("obs", "action", "log_prob", "advantage"):
                    np.testing.assert_array_equal(getattr(result, name)[member], getattr(batch, name)[member])
        obs, weight = result.for_critic
        assert obs is batch.obs
        assert weight is batch.weight
        assert result.value_target is batch.value_target
        loop.iterate(recipe, learner, collector, explorer)
    assert cloned == {False, True}


def of_stored_steps(batch, learner, best, member):
    obs, action = (np.concatenate(x) for x in list(zip(*best.kept[member], strict=True))[:2])
    seen = learner.obs_scale().only(member)(obs[None])[0]
    stored = {(*o.tolist(), *a.tolist()) for o, a in zip(seen, action, strict=True)}
    drawn = [(*o.tolist(), *a.tolist()) for o, a in zip(batch.obs[member], batch.action[member], strict=True)]
    assert set(drawn) <= stored
    assert len(set(drawn)) > min(len(stored), len(drawn)) / 2
    mean = learner.actors().only(member)(obs[None])[0]
    rows = [next(i for i, s in enumerate(seen) if (s == o).all()) for o in batch.obs[member]]
    std = torch.tensor(np.exp(learner.layout.log_std(learner.params)[member]))
    policy = torch.distributions.Normal(torch.tensor(mean[rows]), std)
    expected = policy.log_prob(torch.tensor(batch.action[member])).sum(-1)
    np.testing.assert_allclose(batch.log_prob[member], expected, rtol=1e-4, atol=1e-4)
    assert (batch.weight is None) or (batch.weight[member] == 1).all()


def test_steps_are_drawn_anew_for_every_update_that_clones(batches):
    recipe = replace(HOPPER, num_seeds=1, algorithm=replace(HOPPER.algorithm, objective=HPT(10.0, gate=1.0)))
    learner, *_ = after(recipe, 2)
    (one, batch), (_, other) = batches[-1], (None, replace_by_stored_steps(batches[-1][0], learner.archive, learner))
    assert batch.cloned.all()
    assert other.cloned.all()
    assert one.obs.shape == batch.obs.shape
    assert (batch.action != other.action).any()


def test_the_critic_learns_the_same_as_without_the_switch():
    """With a norm that is never clipped nothing of the policy's gradient reaches it; the first rollouts are equal."""
    critics = []
    for objective in (HPT(10.0, gate=1.0), Clip()):
        recipe = replace(HOPPER, algorithm=replace(HOPPER.algorithm, objective=objective, max_grad_norm=1e9))
        learner, *_ = after(recipe, 1)
        critics.append(learner.params[:, learner.layout.group("critic")])
    assert (critics[0] == critics[1]).all()


def test_cloning_makes_the_stored_actions_likelier(batches):
    recipe = replace(HOPPER, algorithm=replace(HOPPER.algorithm, epochs=20))
    learner, *_ = after(recipe, 1)
    (_, batch), cloned = batches[0], learner.archive.cloning
    assert cloned.any()
    for member in np.flatnonzero(cloned):
        # the batch was seen through the normaliser as it was before the rollout
        params = learner.params[member : member + 1]
        mean = action_mean(learner.layout, params, batch.obs[member : member + 1])
        std = torch.tensor(np.exp(learner.layout.log_std(params)))
        now = torch.distributions.Normal(torch.tensor(mean[0]), std).log_prob(torch.tensor(batch.action[member]))
        assert now.sum(-1).mean() > batch.log_prob[member].mean() + 0.01


def test_a_run_that_never_clones_is_that_of_the_clipped_surrogate_bit_for_bit():
    runs = [
        after(replace(HOPPER, algorithm=replace(HOPPER.algorithm, objective=objective)), 3)[0].state_dict()
        for objective in (HPT(success_return=1e9), Clip())
    ]
    for name, x in runs[1].items():
        np.testing.assert_array_equal(runs[0][name], x, name)


# Members, streams, checkpoints


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(case, tmp_path):
    together = tiny.begin(tmp_path / "together", CASES[case])
    tiny.go_on(together)
    clonings = together.learner.archive.clonings
    assert ((clonings > 0) & (clonings < together.learner.optimiser.steps.max() / 8)).all()
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(CASES[case], seed=member, num_seeds=1))
        tiny.go_on(alone)
        for name, x in alone.learner.state_dict().items():
            if name in ("params", "counters.train", "obs_moments.mean", "sparsity.active"):
                np.testing.assert_array_equal(together.learner.state_dict()[name][member], x[0], name)


@pytest.mark.parametrize("case", ["gae", "groups"])
def test_resumed_at_any_checkpoint_the_run_ends_as_the_uninterrupted_one(case, tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    expected = tiny.outcome(tiny.train_and_copy(tmp_path / "run", CASES[case], copies, monkeypatch))
    names = {name for name in expected if name.startswith("learner/archive.")}
    assert {"learner/archive.kept.obs", "learner/archive.running.total", "learner/archive.clonings"} <= names
    assert len(list(copies.iterdir())) > 5
    for copy in copies.iterdir():
        assert tiny.outcome(tiny.resume(copy)) == expected


def test_episodes_that_a_new_rollout_breaks_off_are_not_kept(tmp_path):
    """Outcomes are compared of whole episodes, so that every rollout begins new ones."""
    recipe = tiny.recipe(num_envs=4, rollout_length=8, advantage=RLOO(group_size=2))
    algorithm = PPO(epochs=2, minibatches=4, objective=HPT(success_return=-1e9, gate=1.0, episodes=1000))
    session = tiny.begin(tmp_path / "run", replace(recipe, algorithm=algorithm))
    tiny.go_on(session)
    kept = session.learner.archive.kept[0]
    assert max(len(episode.obs) for episode in kept) == 5  # the time limit
    assert len(kept) > 10


# On tensors, as on a GPU


@pytest.mark.parametrize("case", ["gae", "groups"])
def test_on_tensors_it_is_what_it_is_on_arrays(case):
    learners = [after(CASES[case], 2, device)[0] for device in ("cpu", "cpu:0")]
    assert learners[0].archive.clonings.any()
    np.testing.assert_array_equal(*(learner.archive.clonings for learner in learners))
    np.testing.assert_allclose(learners[0].params, learners[1].params, atol=1e-4)


def test_recorded_steps_are_those_of_plain_ones(caplog):
    recipe = replace(HOPPER, algorithm=replace(HOPPER.algorithm, epochs=1, minibatches=2))
    prepare()
    plain, recorded = (sessions.begin(recipe, "cpu:0") for _ in range(2))
    recorded[0].record = tape
    for _ in range(3):
        for each in (plain, recorded):
            loop.iterate(recipe, *each)
        torch.testing.assert_close(recorded[0].params, plain[0].params, rtol=0, atol=0)
    assert len(recorded[0].recordings) == 1
    assert not caplog.messages  # of recordings that failed
    assert 0 < recorded[0].archive.clonings.sum() < 6


# What is told, and what does not go together


def test_progress_tells_the_share_of_updates_that_cloned_and_tensorboard_which(tmp_path):
    session = tiny.begin(tmp_path / "run", HOPPER)
    with closing(TensorBoard(tmp_path / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.release()
    rows = runs.read_progress(tmp_path / "run" / "progress.csv")
    for member in range(2):
        which = EventAccumulator(str(tmp_path / "tb" / f"seed-{member}")).Reload().Scalars("train/cloned")
        shares = {row["total_steps"]: row["cloned"] for row in rows if row["seed"] == member}
        assert np.isnan(shares.pop(0))
        assert sum(x.value for x in which) == session.learner.archive.clonings[member]
        before = 0
        for steps, share in shares.items():
            assert share == np.mean([x.value for x in which if before < x.step <= steps])
            before = steps
    assert {row["cloned"] for row in rows if row["total_steps"]} - {0.0, 1.0}


def test_other_runs_have_no_such_column(tmp_path):
    alone = tiny.train(tmp_path / "alone", tiny.recipe(total_steps=16))
    assert "cloned" not in runs.read_progress(alone / "progress.csv")[0]


def test_a_recipe_says_it():
    recipe = from_toml(to_toml(HOPPER), "recipe")
    assert recipe == HOPPER
    assert recipe.algorithm.objective == HPT(success_return=10.0, gate=0.5, episodes=3)


HPT_FLAGS = "--algorithm.objective hpt"
REFUSED = {
    f"{HPT_FLAGS} --algorithm.objective.gate 1.5": "--algorithm.objective.gate is 1.5: expected a number from 0 to 1",
    f"{HPT_FLAGS} --algorithm.objective.episodes 0": "--algorithm.objective.episodes is 0: expected a positive whole",
    f"{HPT_FLAGS} --algorithm.objective.success-return inf": "--algorithm.objective.success-return is inf: expected a",
    f"--algorithm trpo {HPT_FLAGS}": "unknown flag --algorithm.objective: --algorithm trpo has none, use ppo",
    "--algorithm.objective clip --algorithm.objective.gate 0.5": "unknown flag --algorithm.objective.gate: --algo",
    f"{HPT_FLAGS} --advantage group-relative --advantage.scaffold.after 2": (
        "--algorithm.objective hpt clones the best episodes, and needs episodes that had no help, which "
        "--advantage.scaffold.a"
    ),
    f"--env Hopper {HPT_FLAGS} --simulator warp": (
        "--algorithm.objective hpt keeps episodes to clone them, and needs environments on the CPU, which "
        "--simulator warp does"
    ),
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_cannot_work_is_refused_before_anything_runs(flags, tmp_path):
    env = [] if "--env" in flags else ["--env", "fake_envs:Point-v0"]
    with pytest.raises(UsageError) as error:
        run_command([*env, *flags.split(), "--run-dir", str(tmp_path / "run")])
    assert str(error.value).startswith(REFUSED[flags])
    assert not (tmp_path / "run").exists()
