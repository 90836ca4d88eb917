"""ExploRLer under Stable-Baselines3: on its own algorithms, unmodified, beside what a user may have around them."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probed_models import NEVER, POINT, PROBING, ROLLOUT, Stop, Watch, actor_vector, everything, learned, new_model
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env

from rlsparse.compare.logs import read_path
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.sb3 import ExploRLerCallback

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sb3_explorler.py"


@pytest.mark.parametrize("variant", ["plain", "VecNormalize", "gSDE"])
@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_a_probe_that_accepts_nothing_changes_nothing(algorithm, variant, tmp_path):
    options = {"use_sde": True, "sde_sample_freq": 4} if variant == "gSDE" else {}
    ends = []
    callback = ExploRLerCallback(NEVER, out=tmp_path, seed=0)
    for own in (callback, None):
        model = learned(new_model(algorithm, normalise=variant == "VecNormalize", **options), own)
        ends.append((everything(model), model.num_timesteps))
    assert callback.report().probes >= 2
    assert callback.report().accepted == 0
    np.testing.assert_equal(ends[0][0], ends[1][0])
    assert ends[0][1] - ends[1][1] == callback.report().probe_steps > 0


@pytest.mark.parametrize("total", [400, 10 * ROLLOUT + 1])
def test_without_a_budget_only_records_are_kept(tmp_path, total):
    models = [new_model().learn(total, callback=own) for own in (ExploRLerCallback(PROBING, 0, out=tmp_path), None)]
    np.testing.assert_equal(*map(everything, models))
    assert models[0].num_timesteps == models[1].num_timesteps
    assert not (tmp_path / "probe.csv").exists()
    assert len(read_path(tmp_path, "auto")[0].curves[0].returns) >= 10


class Ratios(BaseCallback):
    """What the update will see before its first step: ratios, and how far values are from those of the rollout."""

    def _init_callback(self):
        self.ratios, self.values = [], []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        buffer, policy = self.model.rollout_buffer, self.model.policy
        flat = [torch.as_tensor(x.reshape(-1, *x.shape[2:])) for x in (buffer.observations, buffer.actions)]
        with torch.no_grad():
            values, log_prob, _ = policy.evaluate_actions(*flat)
        self.ratios.append(np.exp(log_prob.numpy().reshape(buffer.log_probs.shape) - buffer.log_probs))
        self.values.append(values.numpy().reshape(buffer.values.shape) - buffer.values)


@pytest.mark.parametrize("use_sde", [False, True])
@pytest.mark.parametrize("algorithm", [PPO, TRPO])
def test_the_update_after_a_swap_begins_where_its_rollout_was_taken(algorithm, use_sde):
    far = replace(PROBING, proposal=Line((3.0,)))
    callback, ratios = ExploRLerCallback(far, seed=0), Ratios()
    model = new_model(algorithm, use_sde=use_sde)
    model.learn(10**6, callback=[callback, ratios, Stop(4)])
    assert callback.report().accepted >= 2
    np.testing.assert_allclose(ratios.ratios, 1, atol=1e-5)
    np.testing.assert_allclose(ratios.values, 0, atol=1e-5)


def test_gsde_noise_is_drawn_anew_for_the_policy_that_was_accepted():
    model = new_model(use_sde=True)
    drawn = []
    own = model.policy.reset_noise
    model.policy.reset_noise = lambda n: (drawn.append(n), own(n))
    callback = ExploRLerCallback(PROBING, seed=0)
    learned(model, callback)
    assert len(drawn) == 5 + callback.report().accepted  # once in each rollout


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_the_accepted_candidate_is_the_policy(algorithm):
    options = {"n_epochs": 1} if algorithm is PPO else {}
    config = replace(PROBING, proposal=Line((1.5,)))
    before, callback, after = Watch(), ExploRLerCallback(config, seed=0), Watch()
    model = new_model(algorithm, **options)
    model.learn(10**6, callback=[before, callback, after, Stop(2)])
    first, incumbent, _ = (x.astype(np.float64) for x in [*before.actors[1:3], before.actors[2]])
    assert callback.report().accepted == 1
    np.testing.assert_array_equal(before.actors[1], after.actors[1])
    np.testing.assert_array_equal(after.actors[2], (incumbent + 0.5 * (incumbent - first)).astype(np.float32))
    np.testing.assert_array_equal(after.critics[2], before.critics[2])


@pytest.mark.parametrize(("algorithm", "epochs"), [(PPO, 3), (A2C, 1), (TRPO, 1)])
def test_an_epoch_is_an_anchor(algorithm, epochs):
    model = new_model(algorithm)
    callback = ExploRLerCallback(replace(NEVER, num_anchors=100), seed=0)
    learned(model, callback, updates=2)
    assert len(callback._anchors) == 2 * epochs
    np.testing.assert_array_equal(callback._anchors[-1], actor_vector(model))


def test_an_update_that_ends_early_leaves_one_anchor():
    callback = ExploRLerCallback(replace(NEVER, num_anchors=100), seed=0)
    learned(new_model(target_kl=1e-9), callback, updates=2)
    assert len(callback._anchors) == 2


@pytest.mark.parametrize("moments", ["keep", "reset", "transport"])
def test_moments_are_kept_reset_or_lose_their_direction(moments):
    class Moments(Watch):
        def _on_rollout_start(self):
            state = self.model.policy.optimizer.state
            self.actors.append([state[p]["exp_avg"].abs().sum().item() for p in state])

    model, before, after = new_model(), Moments(), Moments()
    callback = ExploRLerCallback(replace(PROBING, moments=moments), seed=0)
    model.learn(10**6, callback=[before, callback, after, Stop(1)])
    assert callback.report().accepted == 1
    then, now = np.array(before.actors[1]), np.array(after.actors[1])
    if moments == "reset":
        assert now.size == 0
    else:
        assert (now == 0).sum() == (0 if moments == "keep" else 6)  # three layers of the actor
        np.testing.assert_array_equal(now[now > 0], then[now > 0])


@pytest.mark.parametrize("budget_fraction", [0.1, 0.3, 1.0])
def test_training_and_probing_share_the_budget(budget_fraction):
    model = new_model()
    callback = ExploRLerCallback(PROBING, budget_fraction, seed=0)
    model.learn(600, callback=callback)
    report = callback.report()
    assert report.train_steps + report.probe_steps == model.num_timesteps
    assert 600 <= model.num_timesteps < 600 + ROLLOUT
    assert 0 < report.probe_steps <= budget_fraction * model.num_timesteps
    assert report.probes >= 1


def test_probing_may_finish_the_run(tmp_path):
    config = replace(PROBING, finish=True, start=0.9, budget_fraction=1.0)
    callback = ExploRLerCallback(config, budget_fraction=0.3, out=tmp_path, seed=0)
    model = new_model()
    before, after = Watch(), Watch()
    model.learn(1000, callback=[before, callback, after])
    report = callback.report()
    assert 700 <= report.train_steps < 700 + ROLLOUT + 2
    assert report.probes > 5
    assert 1000 - 8 * 5 - 2 < model.num_timesteps <= 1000  # no further probe can be paid
    evaluated_at = read_path(tmp_path, "auto")[0].curves[0].axes["steps"]
    assert (evaluated_at == report.train_steps - 2).any()  # before the rollout that ends at once
    assert evaluated_at[-1] == model.num_timesteps
    np.testing.assert_array_equal(actor_vector(model), after.actors[-1])
    assert (before.actors[-1] != after.actors[-1]).any()


def test_learning_ends_at_once_when_a_probe_takes_the_last_steps():
    config = replace(PROBING, budget_fraction=1.0, start=0.5, probe=Episodes(200, accept="never"))
    callback = ExploRLerCallback(config, seed=0)
    model = new_model(env=make_vec_env("fake_envs:Steady-v0", 2, seed=3))
    total = 5 * ROLLOUT + 4 * 200 * 5 + 2  # five updates, one probe of four policies, one step of both environments
    callback._explore = replace(config, start=5 * ROLLOUT / total)
    model.learn(total, callback=callback)
    assert callback.report().probes == 1
    assert model.num_timesteps == total


def test_schedules_see_the_steps_of_probing():
    seen = []

    def schedule(remaining):
        seen.append(remaining)
        return 3e-4

    model = new_model(learning_rate=schedule)
    callback = ExploRLerCallback(PROBING, seed=0)
    model.learn(400, callback=callback)
    assert seen[-1] == pytest.approx(1 - model.num_timesteps / 400, abs=1e-9)
    assert callback.report().probe_steps > 0


def test_a_saved_model_goes_on(tmp_path):
    model, callback = new_model(), ExploRLerCallback(PROBING, out=tmp_path / "log")
    model.learn(300, callback=callback)
    probing, steps = callback.report().probe_steps, model.num_timesteps
    assert probing > 0
    model.save(tmp_path / "model.zip")
    assert callback._hook is None
    loaded = PPO.load(tmp_path / "model.zip", env=make_vec_env(POINT, 2, seed=4), device="cpu")
    again = ExploRLerCallback(PROBING, out=tmp_path / "log")
    loaded.learn(300, callback=again, reset_num_timesteps=False)
    report = again.report()
    assert report.train_steps + report.probe_steps == loaded.num_timesteps >= steps + 300
    assert report.probe_steps > probing
    curve = read_path(tmp_path / "log", "auto")[0].curves[0]
    assert curve.spent["probe"] == report.probe_steps
    assert curve.axes["steps"][-1] == loaded.num_timesteps


def test_the_same_callback_goes_on_with_its_anchors():
    model, callback = new_model(), ExploRLerCallback(NEVER, seed=0)
    learned(model, callback, updates=2)
    kept, probes = list(callback._anchors), callback.report().probes
    model.learn(10**6, callback=[callback, Stop(0)], reset_num_timesteps=False)
    np.testing.assert_array_equal(callback._anchors, kept)
    assert callback.report().probes == probes
    model.learn(10**6, callback=[callback, Stop(0)])
    assert callback.report().train_steps == model.num_timesteps == 2
    assert not callback._anchors


def test_callbacks_of_the_user_fire(tmp_path):
    fired = []

    class Count(BaseCallback):
        def _on_step(self):
            fired.append(self.num_timesteps)
            return True

    checkpoints = CheckpointCallback(save_freq=20, save_path=str(tmp_path))
    callback = ExploRLerCallback(PROBING, seed=0)
    model = new_model().learn(300, callback=[checkpoints, EveryNTimesteps(50, Count()), callback])
    assert callback.report().accepted > 0
    assert len(fired) >= 4
    assert len(list(tmp_path.glob("*.zip"))) == checkpoints.n_calls // 20 > 0
    PPO.load(next(tmp_path.glob("*.zip"))).predict(model._last_obs)


def test_the_example_runs(monkeypatch, tmp_path, capsys):
    arguments = "--env Reacher --total-steps 4000 --num-envs 2 --rollout-length 64 --budget-fraction 0.4"
    files = ["--out", str(tmp_path / "log"), "--save", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments.split(), *files])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    *lines, report = capsys.readouterr().out.splitlines()
    probes = [line for line in lines if line.startswith("probe at ")]
    assert len(probes) >= 2
    assert any("total_timesteps" in line for line in lines)  # progress, long before the end
    assert f"{len(probes)} probes" in report
    assert (tmp_path / "model.zip").exists()
    assert read_path(tmp_path / "log", "auto")[0].curves[0].axes["steps"][-1] <= 4000
