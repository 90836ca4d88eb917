"""Whole runs that probe: every step counted, failures outlived, and plain training where nothing is accepted."""

import csv
from dataclasses import replace

import fake_envs
import numpy as np
import pytest
import tiny
from aim import Aim

from rlsparse import loop
from rlsparse.algorithms.ppo import PPO
from rlsparse.errors import EnvironmentFailure
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.network import forward
from rlsparse.run import policy_file
from rlsparse.run.plan import predict

CONSTANT = replace(tiny.RECIPE.algorithm, learning_rate_decay=False)
PROBING = ExploRLer(Line((0.0, 2.0)), Episodes(2, "always"), num_anchors=2, budget_fraction=0.75)
"""At most 30 steps a probe, after a rollout of 16."""

BY_EPISODES = {
    "the published protocol": PROBING,
    "on evidence": replace(PROBING, probe=Episodes(2)),
    "with noise": replace(PROBING, probe=Episodes(2, "always", stochastic=True), search_log_std=True),
    "a race": replace(PROBING, probe=Racing((1, 1), 0.5, 2, "always")),
    "rounds": replace(PROBING, proposal=Consensus(particles=2, rounds=2), probe=Episodes(1, "always")),
    "a cap": replace(PROBING, budget_fraction=0.3),
    "no limit": replace(PROBING, budget_fraction=1.0),
    "at the end": replace(PROBING, start=0.5, finish=True, budget_fraction=1.0),
    "iterations": replace(PROBING, anchors="iterations", anchor_span=0.2, every=2),
}
BY_ROLLOUTS = {
    "a surrogate": replace(PROBING, probe=Surrogate(4, "always")),
    "in the rollout": replace(PROBING, probe=InRollout(move="evolution")),
}


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("case", BY_EPISODES | BY_ROLLOUTS)
def test_every_step_is_counted_where_it_was_spent(case, tmp_path, monkeypatch):
    monkeypatch.setattr(fake_envs, "steps", 0)
    recipe = tiny.recipe(total_steps=240, eval_every=120, explore=(BY_EPISODES | BY_ROLLOUTS)[case])
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    counters = session.learner.counters
    assert counters.train + counters.probe + counters.eval == fake_envs.steps
    probes, share = rows(tmp_path / "run" / "probe.csv"), recipe.explore.budget_fraction
    assert sum(int(row["steps"]) for row in probes) == counters.probe == int(probes[-1]["probe_steps"])
    assert (counters.probe > 0) == (case in BY_EPISODES)
    for row in probes:
        train, spent, total = (int(row[name]) for name in ("train_steps", "probe_steps", "total_steps"))
        assert train + spent == total and spent <= share * total and total <= recipe.total_steps
    assert "accepted" in {row["reason"] for row in probes} or case == "on evidence"
    last = rows(tmp_path / "run" / "progress.csv")[-1]
    assert [int(last[name]) for name in ("train_steps", "probe_steps")] == [counters.train[0], counters.probe[0]]


def test_with_finish_no_update_follows_the_first_probe(tmp_path):
    """Training ends at `start`, and the run when what is left cannot pay for a probe."""
    explore = replace(PROBING, start=0.5, finish=True, budget_fraction=1.0, every=3)
    recipe = tiny.recipe(total_steps=240, eval_every=120, num_seeds=2, explore=explore)
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    counters, cost = session.learner.counters, 30
    assert counters.train.tolist() == [128, 128]  # the first multiple of 16 from 120 on
    assert {row["train_steps"] for row in rows(tmp_path / "run" / "probe.csv")} == {"128"}
    assert (counters.total <= 240).all() and (counters.total > 240 - cost).all()
    last = rows(tmp_path / "run" / "progress.csv")[-2:]
    assert [int(row["total_steps"]) for row in last] == counters.total.tolist()


NULL = {
    "episodes": Episodes(2, "never"),
    "with noise": Episodes(2, "never", stochastic=True),
    "a race": Racing((1, 1), 0.5, 2, "never"),
    "a surrogate": Surrogate(4, "never"),
}


@pytest.mark.parametrize("case", NULL)
def test_a_probe_that_accepts_nothing_is_plain_training(case, tmp_path):
    """Bit for bit: parameters, optimiser, normalisers, environments, random streams."""
    recipe = tiny.recipe(total_steps=240, eval_every=10**6, algorithm=CONSTANT)
    explore = replace(PROBING, probe=NULL[case], moments="reset")
    session = tiny.begin(tmp_path / "probing", replace(recipe, explore=explore))
    tiny.go_on(session)
    assert len(rows(tmp_path / "probing" / "probe.csv")) > 3
    trained = int(session.learner.counters.train[0])
    assert (trained < 240) == (case != "a surrogate")
    plain = tiny.begin(tmp_path / "plain", replace(recipe, total_steps=trained))
    tiny.go_on(plain)
    ours, theirs = ({**x.learner.state_dict(), **x.collector.state_dict()} for x in (session, plain))
    for name in set(ours) - {"counters.probe", "counters.eval"}:
        np.testing.assert_array_equal(ours[name], theirs[name], name)
    assert session.learner.random_state() == plain.learner.random_state()


def test_training_goes_on_past_a_probe_that_failed(aim, tmp_path, monkeypatch, caplog):
    recipe = tiny.recipe(env=aim, total_steps=160, explore=PROBING, eval_every=10**6)
    session = tiny.begin(tmp_path / "run", recipe)
    monkeypatch.setattr(Aim, "explode_at", 10 + 16 + 7)  # after an evaluation and a rollout, within the first probe

    class Mend(tiny.Silent):
        def probe(self, session, rows):
            Aim.explode_at = None

    with session.run:
        loop.train(session, Mend(), tiny.never)
    first, *others = rows(tmp_path / "run" / "probe.csv")
    assert first["accepted"] == "0" and first["steps"] == "8" and "it broke" in first["reason"]
    assert others and {row["reason"] for row in others} == {"accepted"}
    assert session.finished.all()
    assert len(caplog.messages) == 1


def test_with_finish_training_goes_on_where_no_probe_can_be_paid(tmp_path):
    explore = replace(PROBING, start=0.9, finish=True, budget_fraction=1.0)
    recipe = tiny.recipe(total_steps=240, explore=explore)  # 24 steps are left, and a probe may take 30
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    assert session.learner.counters.train.tolist() == [240] == [predict(recipe, 5).train_steps]
    assert not (tmp_path / "run" / "probe.csv").exists()


def test_a_run_that_ends_by_probing_ends_where_probes_cannot_take_a_step(tmp_path, monkeypatch):
    def fail(*_):
        raise EnvironmentFailure("it cannot be built")

    monkeypatch.setattr("rlsparse.sim.episodes.ProbeEpisodes.__call__", fail)
    explore = replace(PROBING, start=0.5, finish=True, budget_fraction=1.0)
    session = tiny.begin(tmp_path / "run", tiny.recipe(total_steps=240, num_seeds=2, explore=explore))
    tiny.go_on(session)
    assert [row["steps"] for row in rows(tmp_path / "run" / "probe.csv")] == ["0", "0"]


def test_the_update_has_the_ratios_of_the_policies_that_acted(tmp_path, monkeypatch):
    """Before the first gradient step the ratio of the policy that acted is 1, and that of any other is not."""
    updates = []
    update = PPO.update

    def watch(self, learner, batch):
        params = learner.layout.views(learner.params)
        noise = (batch.action - forward(params.actor, batch.obs)[-1]) / np.exp(params.log_std[:, None])
        log_ratio = gaussian_log_prob(noise, params.log_std[:, None]) - batch.log_prob
        updates.append(np.abs(log_ratio.reshape(4, 4)).max(0))  # [T, N]
        yield from update(self, learner, batch)

    monkeypatch.setattr(PPO, "update", watch)
    recipe = tiny.recipe(total_steps=48, num_envs=4, rollout_length=4, eval_every=10**6)
    for probe, acted in (
        (InRollout(share=0.5, move="none"), [True, True, False, False]),
        (InRollout(share=1.0, move="evolution"), [False] * 4),
    ):
        updates.clear()
        explore = replace(PROBING, proposal=Line((3.0, -3.0)), probe=probe)
        tiny.train(tmp_path / probe.move, replace(recipe, explore=explore))
        first, *later = np.array(updates) < 1e-6
        assert first.all()  # there were no anchors yet
        assert len(later) == 2 and all(one.tolist() == acted for one in later)


@pytest.mark.parametrize("case", ["with noise", "a surrogate", "in the rollout"])
def test_on_torch_tensors_it_is_the_same_within_rounding(case, tmp_path):
    """As on a GPU: "cpu:0" is torch's processor, "cpu" is numpy's."""
    recipe = tiny.recipe(total_steps=110, num_seeds=2, eval_every=10**6, explore=(BY_EPISODES | BY_ROLLOUTS)[case])
    ours, theirs = (tiny.begin(tmp_path / device, recipe, device) for device in ("cpu", "cpu:0"))
    tiny.go_on(ours)
    tiny.go_on(theirs)
    assert not isinstance(theirs.learner.params, np.ndarray)
    np.testing.assert_allclose(theirs.learner.params.numpy(), ours.learner.params, atol=1e-5)
    np.testing.assert_array_equal(theirs.learner.counters.probe, ours.learner.counters.probe)


def test_a_member_whose_budget_is_spent_before_that_of_others_leaves_the_policy_file_of_its_solo_run(tmp_path):
    explore = replace(PROBING, probe=Episodes(2))
    recipe = tiny.recipe(total_steps=272, num_seeds=3, algorithm=tiny.fast(), explore=explore)
    session = tiny.begin(tmp_path / "run", recipe)
    tiny.go_on(session)
    assert len(set(session.learner.counters.train.tolist())) > 1, "all of them ended at the same time"
    whole = policy_file.load(tmp_path / "run" / "policy.safetensors")
    for member, seed in enumerate(recipe.seeds):
        alone = tiny.train(tmp_path / str(seed), replace(recipe, seed=seed, num_seeds=1))
        solo = policy_file.load(alone / "policy.safetensors")
        np.testing.assert_array_equal(solo.actors.params[0], whole.actors.params[member])
        for name, x in solo.statistics.items():
            assert x[0] == whole.statistics[name][member], name
