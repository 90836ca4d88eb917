"""Runs that learn from marginal gains: over rollouts and episodes, in members alone and together, resumed."""

import csv
import shlex
from dataclasses import replace

import numpy as np
import pytest
import tiny

from rlsparse import loop, sim, train
from rlsparse.advantage.estimators import GAE, NStep
from rlsparse.advantage.set_functions import Coverage, FacilityLocation, LogDet
from rlsparse.advantage.submodular import GainsEnvs, Submodular
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe, from_toml, to_toml

POSITION = Submodular(Coverage(cells=(80, 80), radius=1), "position", low=(-2.0, -2.0), high=(2.0, 2.0))
"""Cells of 5 cm, so that few steps count."""

POSTURE = Submodular(LogDet(), reward_weight=0.5, gain_weight=2.0)
HUMANOID = tiny.recipe(
    env="Humanoid-v5", num_envs=2, rollout_length=32, total_steps=256, eval_every=10**6, advantage=POSITION
)
HOPPER = replace(HUMANOID, env="Hopper-v5", advantage=POSTURE)
each = pytest.mark.parametrize("recipe", [HUMANOID, HOPPER], ids=["Humanoid", "Hopper"])


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def told():
    """What steps tell visits, (points [E, d], [(e, last point, first point of the next episode)]), as they come."""
    seen, see = [], GainsEnvs.see

    def record(self, obs, ended, info):
        projection = self.objective.projection
        last = info.get("final_qpos" if projection.source == "qpos" else "final_obs")
        points = self.objective.points(self.env, obs)
        seen.append((points, [(e, projection(last[e]), points[e]) for e in ended.tolist()]))
        see(self, obs, ended, info)

    return seen, record


@each
def test_gains_go_on_over_rollouts_and_begin_anew_with_each_episode(recipe, tmp_path, monkeypatch):
    recipe = replace(recipe, num_seeds=2, policy=replace(recipe.policy, log_std_init=0.5))
    session = tiny.begin(tmp_path / "run", recipe)
    objective = session.collector.env.objective
    seen, record = told()
    monkeypatch.setattr(GainsEnvs, "see", record)
    gains, calculate = [], GainsEnvs.gains

    def keep(self):
        gains.append(calculate(self))
        return gains[-1]

    monkeypatch.setattr(GainsEnvs, "gains", keep)
    starts = objective.points(session.collector.env, session.collector.obs)
    for _ in range(5):
        loop.iterate(recipe, session.learner, session.collector, session.explorer)
    gains, ends = np.concatenate(gains), 0
    for e in range(4):
        path, begin, episodes = [starts[e]], 0, []
        for t, (points, ended) in enumerate(seen):
            end = next((what for what in ended if what[0] == e), None)
            path.append(points[e] if end is None else end[1])
            if end is not None or t == len(seen) - 1:
                episodes.append((begin, t + 1, np.array(path)))
                path, begin = [] if end is None else [end[2]], t + 1
        for begin, end, path in episodes:
            whole = objective.function.add(objective.function.empty(path.shape[1]), path)[0]
            np.testing.assert_allclose(gains[begin:end, e], whole[1:], atol=1e-12)
        ends += len(episodes) - 1
        assert any(begin < 32 * k < end for begin, end, _ in episodes for k in range(1, 5)), "none spans rollouts"
    assert ends > 0
    assert (gains > 0).any()


def test_learned_rewards_are_weighted_sums_and_reported_ones_the_environments(tmp_path, monkeypatch):
    plain = tiny.begin(tmp_path / "plain", replace(HOPPER, advantage=GAE(), policy=unscaled()))
    mixed = tiny.begin(tmp_path / "mixed", replace(HOPPER, policy=unscaled()))
    gains, calculate = [], GainsEnvs.gains
    monkeypatch.setattr(GainsEnvs, "gains", lambda self: gains.append(calculate(self)) or gains[-1])
    rewards, learned = (s.collector.collect(s.learner, 32, 0.99).reward for s in (plain, mixed))
    np.testing.assert_allclose(learned, 0.5 * rewards + 2.0 * gains[0][:, None, :], rtol=1e-5)
    np.testing.assert_array_equal(plain.collector.recent_returns, mixed.collector.recent_returns)
    np.testing.assert_array_equal(plain.collector.episode_return, mixed.collector.episode_return)


def test_rewards_are_scaled_by_what_is_learned_from(tmp_path):
    scales = []
    for weight in (1.0, 1000.0):
        session = tiny.begin(tmp_path / str(weight), weighed(weight))
        reward = session.collector.collect(session.learner, 32, 0.99).reward
        scales.append(reward)
    np.testing.assert_allclose(*scales, rtol=1e-4)


def weighed(weight):
    return replace(HOPPER, advantage=Submodular(LogDet(), gain_weight=weight))


def unscaled():
    return ActorCritic(actor_hidden=(8,), critic_hidden=(8,), scale_rewards=False)


def test_without_weight_for_gains_it_is_ordinary_learning(tmp_path):
    plain = tiny.begin(tmp_path / "plain", replace(HOPPER, advantage=NStep(n=4)))
    other = replace(HOPPER, advantage=Submodular(Coverage(), reward_weight=1.0, gain_weight=0.0, inner=NStep(n=4)))
    watched = tiny.begin(tmp_path / "watched", other)
    for session in (plain, watched):
        tiny.go_on(session)
    np.testing.assert_array_equal(plain.learner.params, watched.learner.params)


def humanoid_gains(env, **changes):
    objective = replace(POSITION, **changes).objective(cards.about(Recipe("Humanoid-v5")), None, env.num_envs)
    return GainsEnvs(env, objective)


def test_modular_rewards_do_not_diminish():
    """A state is worth as much the second time, as the baseline of the paper has it."""
    env = sim.make("Humanoid-v5", 1)
    modular, marginal = humanoid_gains(env, gain="modular"), humanoid_gains(env)
    for each in (modular, marginal):
        obs, _ = each.reset(seed=[0])
        for _ in range(2):
            each.see(obs, np.array([], int), {})
    assert modular.gains().tolist() == [[9.0], [9.0]]
    assert marginal.gains().tolist() == [[0.0], [0.0]]


@each
def test_a_member_is_bitwise_the_run_of_its_seed_alone(recipe, tmp_path):
    together = tiny.begin(tmp_path / "together", replace(recipe, num_seeds=2))
    tiny.go_on(together)
    for member in range(2):
        alone = tiny.begin(tmp_path / str(member), replace(recipe, seed=member))
        tiny.go_on(alone)
        np.testing.assert_array_equal(together.learner.params[member], alone.learner.params[0])
        own = slice(2 * member, 2 * member + 2)
        np.testing.assert_array_equal(together.collector.env.collected[own], alone.collector.env.collected)
        assert coverages(tmp_path / "together")[member::2] == coverages(tmp_path / str(member))


def coverages(run_dir):
    with open(run_dir / "progress.csv") as file:
        return [row["coverage"] for row in csv.DictReader(file)]


def test_environments_do_not_share_what_they_cover():
    envs = [humanoid_gains(sim.make("Humanoid-v5", count)) for count in (2, 1, 1)]
    for env in envs:
        env.reset(seed=[3] * env.num_envs)
    actions = np.random.default_rng(0).uniform(-0.4, 0.4, (60, 1, 17))
    for action in actions:
        for env in envs:
            env.step(action.repeat(env.num_envs, 0))
    both, *single = [env.gains() for env in envs]
    np.testing.assert_array_equal(both, np.concatenate(single, 1))
    assert both.sum() > 0


@each
def test_resumed_it_ends_as_the_uninterrupted_run(recipe, tmp_path):
    recipe = replace(recipe, num_seeds=2)
    expected = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    asked = iter(range(10**6))
    session = tiny.begin(tmp_path / "cut", recipe)
    stop = lambda: session.total_steps >= 128 and next(asked) >= 0  # noqa: E731
    with pytest.raises(loop.Interrupted):
        tiny.go_on(session, stop)
    assert session.collector.env.collected.any()
    assert tiny.outcome(tiny.resume(tmp_path / "cut")) == expected
    assert "collector/env.collected" in expected


def test_evaluation_tells_the_environments_return_and_how_much_was_covered(tmp_path):
    session = tiny.begin(tmp_path / "run", HUMANOID)
    tiny.go_on(session)
    env = sim.make("Humanoid-v5", 2, autoreset=False)
    obs, _ = env.reset(seed=env_seeds(0, "eval_env", 2))
    cells, returns, alive = [set(), set()], np.zeros(2), np.ones(2, bool)
    while True:
        for e in range(2):
            i, j = np.floor(env.qpos[e, :2] * 20 + 40 + 1e-9).astype(int)
            cells[e] |= {(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
        if not alive.any():
            break
        obs, reward, terminated, truncated, _ = env.step(
            0.4 * np.clip(session.learner.actors()(obs[None])[0], -1, 1).astype(np.float32)
        )
        returns += reward * alive
        alive &= ~(terminated | truncated)
    with open(tmp_path / "run" / "progress.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["coverage"]) == np.mean([len(each) for each in cells])
    assert float(last["return_mean"]) == pytest.approx(returns.mean(), rel=1e-6)


def test_flags_and_documents_say_the_same(capsys):
    flags = (
        "--advantage submodular --advantage.set-function facility-location --advantage.set-function.reach 0.2 "
        "--advantage.projection obs:0,1 --advantage.low -1 -2 --advantage.high 1 2 --advantage.inner nstep "
        "--advantage.inner.n 4 --advantage.reward-weight 0.5"
    )
    train.main([*tiny.FLAGS, *shlex.split(flags), "--dry-run"])
    plan = capsys.readouterr().out
    advantage = Submodular(
        FacilityLocation(reach=0.2), "obs:0,1", (-1.0, -2.0), (1.0, 2.0), reward_weight=0.5, inner=NStep(n=4)
    )
    recipe = tiny.recipe(advantage=advantage)
    written = to_toml(recipe).partition("[advantage]")[2]
    assert written.partition("\n[algorithm]")[0] in plan
    assert from_toml(to_toml(recipe), "recipe.toml") == recipe
