"""Environments in groups: equal starts, waiting for each other, every real step counted and no other."""

from contextlib import closing
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.spaces import Box
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import loop, sim
from rlsparse.advantage.group_relative import GRPO, RLOO, DrGRPO, GroupRelative, ReinforcePlusPlus
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.run import directory as runs
from rlsparse.run import policy_file
from rlsparse.run import session as sessions
from rlsparse.run.recipe import Recipe
from rlsparse.run.tensorboard import TensorBoard
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import RigL
from rlsparse.train import run_command

POINT = tiny.recipe(num_envs=4, advantage=GroupRelative(gamma=0.9, group_size=2))
HOPPER = replace(POINT, env="Hopper-v5", rollout_length=64, total_steps=700, eval_every=10**6)


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


class Lives(gymnasium.Env):
    """Observes (a number drawn at the start, step, action before); the number of steps is also drawn by actions."""

    steps = 0
    observation_space, action_space = Box(-9, 9, (3,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.step_count, self.last = self.np_random.uniform(-1, 1), 0, 0.0
        return self.observe(), {}

    def observe(self):
        return np.array([self.start, self.step_count, self.last], np.float32)

    def step(self, action):
        Lives.steps += 1
        self.step_count, self.last = self.step_count + 1, float(action[0])
        fell, late = self.last > 0.9, self.step_count >= 6
        return self.observe(), 1.0 + self.last, fell, late and not fell, {}


@pytest.fixture
def rollouts(register):
    """Four rollouts of two members with two groups of three, one after the other, and the counters after each."""
    Lives.steps = 0
    recipe = Recipe(
        register(Lives), seed=3, num_seeds=2, num_envs=6, rollout_length=20, advantage=GroupRelative(group_size=3)
    )
    learner, collector, _ = sessions.begin(recipe)
    found = []
    for _ in range(4):
        found.append(collector.collect(learner, 20, 0.9))
        assert learner.counters.train.sum() == Lives.steps
    return recipe, learner, found


def in_groups(x):
    return x.reshape(*x.shape[:3][:2], 2, 3, *x.shape[3:])


def test_a_group_begins_together_in_one_state_and_others_in_another(rollouts):
    recipe, _, found = rollouts
    obs, valid = (np.concatenate([getattr(r, name) for r in found]) for name in ("obs", "valid"))
    first = in_groups(obs[..., 1] == 0)
    assert (first.all(-1) == first.any(-1)).all()
    assert first.all(-1).sum(0).min() > 8
    starts = in_groups(obs[..., 0])
    assert (starts == starts[..., :1]).all()  # all along: nobody begins before the others
    assert len(np.unique(starts[first.all(-1)][:, 0])) == first.all(-1).sum()
    assert (in_groups(valid).any(-1)).all()  # somebody always acts


def test_who_is_done_stands_still_unpaid_until_the_group_begins_again(rollouts):
    _, learner, found = rollouts
    for rollout in found:
        ended, idle = rollout.terminated | rollout.truncated, ~rollout.valid
        assert idle.any()
        assert (ended[idle]).all()
        assert (rollout.reward[idle] == 0).all()
        over = in_groups(ended).all(-1).repeat(3, -1)
        assert (rollout.valid[1:] == ~(ended & ~over)[:-1]).all()
        same = ~rollout.valid[1:]
        assert (rollout.obs[1:][same][:, 0] == rollout.obs[:-1][same][:, 0]).all()
    assert rollout.value is rollout.next_value is None
    assert learner.return_moments.count.tolist() == learner.counters.train.tolist()


def test_the_return_of_an_episode_is_reported_once_with_its_length(register):
    Lives.steps = 0
    recipe = Recipe(register(Lives), num_envs=3, rollout_length=40, advantage=GroupRelative(group_size=3))
    learner, collector, _ = sessions.begin(recipe)
    rollout = collector.collect(learner, 40, 0.9)
    ends = (rollout.terminated | rollout.truncated) & rollout.valid
    lengths = collector.recent_lengths[np.isfinite(collector.recent_lengths)]
    assert len(lengths) == ends.sum()
    assert lengths.sum() + collector.episode_length.sum() == learner.counters.train[0] == Lives.steps


@pytest.mark.parametrize("env_id", ["Hopper-v5", "fake_envs:Point-v0"])
def test_equal_actions_from_an_equal_start_lead_the_same_way_bit_for_bit(env_id):
    env = sim.make(env_id, 4, autoreset=False)
    obs, _ = env.reset(seed=[5, 5, 8, 8])
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 2, *env.single_action_space.shape))
    for action in actions:
        np.testing.assert_array_equal(obs[[0, 2]], obs[[1, 3]])
        obs, _, term, trunc, _ = env.step(np.repeat(action, 2, 0))
        over = (term | trunc).reshape(2, 2).all(1).repeat(2)
        if over.any():
            obs, _ = env.reset(options={"reset_mask": over})
    assert (obs[0] != obs[2]).any()


def test_an_outcome_is_of_whole_episodes_so_that_every_rollout_begins_new_ones(tmp_path):
    session = tiny.begin(tmp_path / "run", replace(POINT, advantage=RLOO(group_size=2)))
    firsts = []
    collect = session.collector.collect
    session.collector.collect = lambda *x: firsts.append(session.collector.obs.copy()) or collect(*x)
    tiny.go_on(session)
    assert all((obs[0::2] == obs[1::2]).all() for obs in firsts)
    assert len({obs.tobytes() for obs in firsts}) == len(firsts) >= 3


# Without a critic


def test_there_is_no_critic_anywhere(tmp_path):
    session = tiny.begin(tmp_path / "run", POINT)
    learner = session.learner
    assert {slot.group for slot in learner.layout.slots} == {"actor", "log_std"}
    assert learner.layout.group("critic") == slice(learner.layout.size, learner.layout.size)
    before = learner.params.copy()
    tiny.go_on(session)
    assert (learner.params != before).any(0).all()
    assert np.isnan(session.last.stats.value_loss).all()
    assert np.isfinite([session.last.stats.policy_loss, session.last.stats.grad_norm]).all()
    policy = policy_file.load(tmp_path / "run" / "policy.safetensors")
    assert policy.actors.layout == learner.layout


def test_the_share_of_degenerate_groups_is_told_where_there_are_groups(tmp_path):
    session = tiny.begin(tmp_path / "run", POINT)
    with closing(TensorBoard(tmp_path / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.release()
    rows = runs.read_progress(tmp_path / "run" / "progress.csv")
    assert np.isnan(rows[0]["degenerate_groups"])
    assert all(0 <= row["degenerate_groups"] <= 1 for row in rows[1:])
    told = EventAccumulator(str(tmp_path / "tb" / "seed-0")).Reload().Scalars("train/degenerate_groups")
    assert told[-1].value == np.float32(rows[-1]["degenerate_groups"])
    alone = tiny.train(tmp_path / "alone", tiny.recipe(total_steps=16))
    assert "degenerate_groups" not in runs.read_progress(alone / "progress.csv")[0]


def test_groups_that_are_paid_alike_are_degenerate(register):
    class Paid(Lives):
        def step(self, action):
            obs, _, _, _, info = super().step(action)
            return obs, 1.0, False, self.step_count >= 6, info

    recipe = Recipe(register(Paid), num_envs=4, rollout_length=12, advantage=RLOO(group_size=2))
    recipe = replace(recipe, algorithm=PPO(epochs=1, minibatches=2))
    assert loop.iterate(recipe, *sessions.begin(recipe)).metrics["degenerate_groups"] == 1


ESTIMATORS = {
    "groups": POINT.advantage,
    "scaled": GroupRelative(gamma=0.9, group_size=4, scale="batch"),
    "grpo": GRPO(group_size=2),
    "dr-grpo": DrGRPO(group_size=4),
    "reinforce": ReinforcePlusPlus(group_size=2),
}
SPARSE = Sparse(0.5, rule=RigL(every=1, end=1.0), max_kl=1e-2)
PROBING = ExploRLer(Line((0.0, 2.0)), Episodes(2, "always"), num_anchors=2, budget_fraction=0.5)
CASES = {
    **{name: replace(POINT, advantage=x) for name, x in ESTIMATORS.items()},
    "trpo": POINT,
    "sparse": replace(POINT, sparse=SPARSE),
    "probing": replace(POINT, explore=PROBING, total_steps=300),
    "Hopper": HOPPER,
    "Hopper, sparse": replace(HOPPER, sparse=SPARSE),
}
CASES = {
    name: replace(
        recipe, algorithm=TRPO() if name == "trpo" else PPO(epochs=2, minibatches=4, normalise_advantages=False)
    )
    for name, recipe in CASES.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(case, tmp_path):
    """Members wait in different steps, so they spend their budgets apart."""
    recipe = CASES[case]
    together = tiny.begin(tmp_path / "together", replace(recipe, num_seeds=2))
    tiny.go_on(together)
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(recipe, seed=member))
        tiny.go_on(alone)
        for name, x in alone.learner.state_dict().items():
            if name in ("params", "counters.train", "obs_moments.mean", "sparsity.active"):
                np.testing.assert_array_equal(together.learner.state_dict()[name][member], x[0], name)
        assert alone.learner.counters.total[0] >= recipe.total_steps


@pytest.mark.parametrize("case", ["groups", "grpo", "Hopper"])
def test_a_resumed_run_equals_the_uninterrupted_one(case, tmp_path):
    expected = tiny.outcome(tiny.train(tmp_path / "whole", CASES[case]))
    asked = iter([False] * 9)
    with pytest.raises(loop.Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run", CASES[case]), lambda: next(asked, True))
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == expected


# What does not go together

NO_REUSE = ("--algorithm.objective", "clip")
GROUPS = "--advantage group-relative --advantage.group-size 2"
REFUSED = {
    "--advantage group-relative": "--advantage.group-size 8 does not divide --num-envs 2 into groups: use a multiple",
    "--advantage group-relative --advantage.group-size 1": "--advantage.group-size is 1: expected 2 or more, for one",
    f"{GROUPS} --advantage.scale group --algorithm.normalise-advantages": '--advantage.scale "group" and --algorithm',
    f"{GROUPS} --explore explorler-ppo-in-rollout": "--explore.probe in-rollout judges candidates by a",
    f"{GROUPS} --explore explorler-ppo-surrogate": "--explore.probe surrogate judges candidates by a c",
    f"{GROUPS} --explore explorler": "--explore.anchor-span 0.33 spreads anchors by steps",
    "--advantage rloo --advantage.group-size 2 --rollout-length 4": "--rollout-length 4 is shorter than an episode m",
    f"{GROUPS} --advantage.baseline median": "--advantage.baseline median: expected one of others, mean, batch",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_cannot_work_is_refused_before_anything_runs(flags, tmp_path):
    with pytest.raises(UsageError) as error:
        run_command([*tiny.FLAGS, *NO_REUSE, *flags.split(), "--run-dir", str(tmp_path / "run")])
    assert str(error.value).startswith(REFUSED[flags])
    assert not (tmp_path / "run").exists()


def test_the_plan_says_that_waiting_makes_more_rollouts(capsys):
    run_command([*tiny.FLAGS, *NO_REUSE, *GROUPS.split(), "--dry-run"])
    assert "6 per seed, 2 x 8 steps each, or more: environments wait for their group\n" in capsys.readouterr().out
