"""Groups that are helped: who takes which actions, what is counted, and what does not change."""

import csv
from contextlib import closing
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.spaces import Box
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlsparse import loop
from rlsparse.advantage.group_relative import GRPO, GroupRelative
from rlsparse.advantage.scaffold import ArchivedEpisode, Help, Scaffold, ScaffoldedEnvs
from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import UsageError
from rlsparse.run import directory as runs
from rlsparse.run import session as sessions
from rlsparse.run.tensorboard import TensorBoard
from rlsparse.train import run_command

ALWAYS = Scaffold(after=1, exempt=0.0)


class Ladder(gymnasium.Env):
    """Observes (a number drawn at the start, steps, action before); three rungs up pay 1 and end it, or seven steps."""

    steps = 0
    observation_space, action_space = Box(-99, 99, (3,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.height, self.step_count, self.last = self.np_random.uniform(-1, 1), 0.0, 0, 0.0
        return self.observe(), {}

    def observe(self):
        return np.array([self.start, self.step_count, self.last], np.float32)

    def step(self, action):
        Ladder.steps += 1
        self.step_count, self.last = self.step_count + 1, float(action[0])
        self.height += np.sign(self.last)
        up, late = self.height >= 3, self.step_count >= 7
        return self.observe(), float(up), bool(up), late and not up, {}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def ladder(register):
    """A recipe of one member with two groups of three; nothing has been counted."""
    Ladder.steps = 0
    advantage = GroupRelative(gamma=0.9, group_size=3, unseen=1.0, scaffold=ALWAYS)
    return tiny.recipe(env=register(Ladder), num_envs=6, rollout_length=20, total_steps=700, advantage=advantage)


def helped(recipe, tier, share=4, length=6):
    """A learner and a collector whose second group has just begun, helped by an episode of seven steps."""
    learner, collector, _ = sessions.begin(recipe)
    first = collector.collect(learner, 5, 0.9)
    guide = collector.env
    seed = guide.snapshots()[0, 0]
    actions = np.linspace(-1, -0.4, 7)[:, None]
    guide.best[0] = ArchivedEpisode(1.0, np.hstack([np.full((7, 1), seed), actions]))
    guide.help = Help(np.array([0, tier]), np.array([0, share]), np.zeros(2, int))
    collector.restart(learner)
    return learner, collector, actions[:, 0].astype(np.float32), collector.collect(learner, length, 0.9), first


def test_tier_2_repeats_the_first_actions_from_where_the_group_begins(ladder):
    learner, _, actions, rollout, _ = helped(ladder, tier=2, share=3)
    obs, replayed = rollout.obs[:, 0], rollout.replayed[:, 0]
    assert np.flatnonzero(replayed.any(0)).tolist() == [5]
    assert np.flatnonzero(replayed[:7, 5]).tolist() == [0, 1, 2, 3]  # 7 * 3 // 5
    np.testing.assert_array_equal(obs[0, 3:], obs[0, [3, 3, 3]])
    np.testing.assert_array_equal(obs[1:5, 5, 2], actions[:4])  # these it took
    assert obs[5, 5, 2] == np.clip(rollout.action[4, 0, 5, 0], -1, 1)  # then the policy's
    episode = learner.batch(rollout, ladder.advantage(rollout)).episode.reshape(6, 6)
    assert len(set(episode[:5, 5])) == 5  # an objective that judges whole episodes sees what the policy did
    assert episode[4, 5] == episode[5, 5]


def test_tier_1_begins_late_in_the_archived_episode(ladder):
    learner, collector, actions, rollout, first = helped(ladder, tier=1, share=2)
    obs = rollout.obs[:, 0]
    assert not rollout.replayed.any()
    np.testing.assert_array_equal(obs[0, 5, 1:], [2, actions[1]])  # 7 * 2 // 5 steps are behind it
    np.testing.assert_array_equal(obs[0, 3:5, 1:], 0)
    assert obs[0, 5, 0] != obs[0, 4, 0]
    assert learner.counters.train[0] == Ladder.steps == first.valid.sum() + rollout.valid.sum() + 2


@pytest.mark.parametrize("tier", [1, 2])
def test_after_help_the_group_begins_together_again(ladder, tier):
    learner, collector, _, rollout, _ = helped(ladder, tier)
    collector.env.help = Help.none(2)
    collector.restart(learner)
    assert (collector.obs[3:] == collector.obs[3]).all()
    assert not collector.env.aided.any()


@pytest.mark.parametrize("tier", [1, 2])
def test_what_is_helped_is_neither_archived_nor_reported(ladder, tier):
    learner, collector, _, _, _ = helped(ladder, tier, length=1)
    guide, everyone, steps = collector.env, np.ones(6, bool), []
    before = np.isfinite(collector.recent_returns).sum()
    step = guide.step
    guide.step = lambda actions: steps.append(step(actions)) or steps[-1]
    rollout = collector.collect(learner, 6, 0.9)
    own, ended = np.stack([~info["helped"] for *_, info in steps]), (rollout.terminated | rollout.truncated)[:, 0]
    assert own[0].tolist() == [True] * 5 + [False]
    assert (ended & ~own).any()
    assert np.isfinite(collector.recent_returns).sum() - before == (ended & own & rollout.valid[:, 0]).sum()

    _, collector, _, _, _ = helped(ladder, tier, length=1)
    guide = collector.env
    guide.best[0] = None
    assert guide.note(9.0 * (np.arange(6) == 5), everyone)["helped"].tolist() == [False] * 5 + [True]
    guide.judge(everyone)
    assert guide.best[0] is None


def test_an_episode_that_succeeds_is_archived_as_it_was(ladder):
    learner, collector, _ = sessions.begin(ladder)
    rollout = collector.collect(learner, 40, 0.9)
    best = collector.env.best[0]
    paid = np.argwhere(rollout.reward[:, 0] > 0)
    length = min(rollout.obs[t, 0, n, 1] + 1 for t, n in paid)
    assert best.total == 1.0
    seeds, actions = best.steps[:, :1], best.steps[:, 1:]
    assert len(actions) == length
    t, n = next((t, n) for t, n in paid if rollout.obs[t, 0, n, 1] + 1 == length)
    taken = rollout.action[t - int(length) + 1 : t + 1, 0, n]
    np.testing.assert_array_equal(actions, np.clip(taken, -1, 1))
    env = collector.env
    obs, _ = env.restore(0, seeds[-1], actions[:-1])
    np.testing.assert_array_equal(obs, rollout.obs[t, 0, n])
    assert env.step(np.repeat(actions[-1:], 6, 0))[1][0] == 1.0


def test_nobody_is_helped_before_the_exempt_share_nor_while_nothing_is_archived(ladder):
    advantage = GroupRelative(group_size=3, scaffold=Scaffold(1, exempt=0.5))
    learner, collector, _ = sessions.begin(replace(ladder, advantage=advantage))
    guide = collector.env

    def tiers(done, progress):
        learner.progress = np.array([progress])
        guide.judge(done)
        return guide.help.tier.tolist()

    assert tiers(np.ones(6, bool), 0.9) == [0, 0]
    guide.best[0] = ArchivedEpisode(1.0, np.zeros((1, 2)))
    assert tiers(np.ones(6, bool), 0.4) == [0, 0]
    assert tiers(np.ones(6, bool), 0.5) == [1, 1]
    assert tiers(np.arange(6) < 3, 0.5) == [2, 1]


# Runs

SLOW = PPO(epochs=2, minibatches=4, learning_rate=1e-4)
HOPPER = tiny.recipe(
    env="Hopper-v5",
    num_envs=4,
    rollout_length=64,
    total_steps=1100,
    eval_every=10**6,
    advantage=GroupRelative(group_size=2, scaffold=Scaffold(1, success_return=35.0, exempt=0.0)),
    algorithm=SLOW,
)
CASES = ["ladder", "outcomes", "Hopper"]


def case(name, ladder):
    if name == "outcomes":
        own = replace(SLOW, normalise_advantages=False)
        return replace(ladder, advantage=GRPO(group_size=3, scaffold=ALWAYS), algorithm=own)
    return replace(ladder, algorithm=SLOW) if name == "ladder" else HOPPER


def watch_help(session):
    """The tiers at which groups began, collected while a session runs."""
    tiers, begin = set(), session.collector.env.begin

    def watched(where):
        tiers.update(session.collector.env.help.tier.tolist())
        return begin(where)

    session.collector.env.begin = watched
    return tiers


@pytest.mark.parametrize("name", CASES)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(name, ladder, tmp_path):
    recipe = case(name, ladder)
    together = tiny.begin(tmp_path / "together", replace(recipe, num_seeds=2))
    tiers = watch_help(together)
    tiny.go_on(together)
    rows = list(csv.DictReader((tmp_path / "together" / "progress.csv").read_text().splitlines()))
    assert all(0 <= float(row["help_tier"]) <= 2 for row in rows)
    assert tiers >= ({0, 1} if name == "outcomes" else {0, 1, 2})
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(recipe, seed=member))
        tiny.go_on(alone)
        for key, x in alone.learner.state_dict().items():
            if key in ("params", "counters.train", "obs_moments.mean"):
                np.testing.assert_array_equal(together.learner.state_dict()[key][member], x[0], key)


def is_helping(name, collector):
    """Whether a run is in the midst of help: with outcomes the next rollout begins with it, else an episode has it."""
    live = collector.env.aided & ~collector.env.idle
    return collector.env.help.tier.any() if name == "outcomes" else live.any()


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_is_resumed_in_the_midst_of_help_equals_the_uninterrupted_one(name, ladder, tmp_path):
    recipe = case(name, ladder)
    expected = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    session = tiny.begin(tmp_path / "run", recipe)
    with pytest.raises(loop.Interrupted):
        tiny.go_on(session, lambda: is_helping(name, session.collector))
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == expected


@pytest.mark.parametrize("name", CASES)
def test_without_help_nothing_changes_by_a_bit(name, ladder):
    """A run in which nobody ever is entitled to help equals one without a scaffold, which is the default."""
    recipe, params = case(name, ladder), []
    for scaffold in (Scaffold(), Scaffold(1, exempt=1.0)):
        advantage = replace(recipe.advantage, scaffold=scaffold)
        own = replace(recipe, advantage=advantage, total_steps=10**6)
        begun = sessions.begin(own)
        assert isinstance(begun[1].env, ScaffoldedEnvs) == (scaffold.after > 0)
        for _ in range(3):
            loop.iterate(own, *begun)
        params.append(begun[0].params.tobytes())
    assert params[0] == params[1]
    assert GroupRelative().scaffold == Scaffold()


def test_the_tier_of_help_is_told_where_there_is_any(ladder, tmp_path):
    session = tiny.begin(tmp_path / "run", case("ladder", ladder))
    with closing(TensorBoard(tmp_path / "tb", session)) as events:
        loop.train(session, events, tiny.never)
    session.run.release()
    told = EventAccumulator(str(tmp_path / "tb" / "seed-0")).Reload().Scalars("train/help_tier")
    row = runs.read_progress(tmp_path / "run" / "progress.csv")[-1]
    assert told[-1].value == row["help_tier"]
    alone = tiny.train(
        tmp_path / "alone", replace(ladder, total_steps=16, advantage=GroupRelative(group_size=3, unseen=1))
    )
    assert "help_tier" not in runs.read_progress(alone / "progress.csv")[0]


@pytest.mark.parametrize("flag", ["after -1", "increments 0", "exempt 1.5", "success-return nan"])
def test_what_makes_no_sense_is_refused(flag, tmp_path):
    flags = f"--advantage group-relative --advantage.group-size 2 --advantage.scaffold.{flag}"
    with pytest.raises(UsageError) as error:
        run_command([*tiny.FLAGS, *flags.split(), "--run-dir", str(tmp_path / "run")])
    assert str(error.value).startswith(f"--advantage.scaffold.{flag.split()[0]} is {flag.split()[1]}: expected ")


def test_help_without_groups_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--advantage\.scaffold\.after: --advantage gae has none, use group-relative"):
        run_command([*tiny.FLAGS, "--advantage.scaffold.after", "4", "--run-dir", str(tmp_path / "run")])
