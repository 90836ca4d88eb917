"""ExploRLer under Stable-Baselines3: on its own algorithms, unmodified, beside what a user may have around them."""

import logging
import pickle
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import fake_envs
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

from rlsparse.compare.logs import read_path
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.explore.propose import Gaussian, Line
from rlsparse.sb3 import ExploRLerCallback
from rlsparse.sb3.actor import Actor
from rlsparse.sb3.environments import environments
from rlsparse.sb3.episodes import CandidateEpisodes
from rlsparse.sb3.report import Report
from rlsparse.sb3.supported import warn_of_version

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sb3_explorler.py"

POINT = "fake_envs:Point-v0"
"""Episodes of five steps, at most."""

ROLLOUT = 32

OPTIONS = {
    PPO: {"n_steps": ROLLOUT // 2, "batch_size": 16, "n_epochs": 3},
    TRPO: {"n_steps": ROLLOUT // 2, "batch_size": 16},
    A2C: {"n_steps": ROLLOUT // 2},
}

PROBING = ExploRLer(
    proposal=Gaussian(candidates=3),
    probe=Episodes(2, accept="always"),
    num_anchors=2,
    budget_fraction=0.5,
)
"""Probes after every update, as soon as there are two anchors."""

NEVER = replace(PROBING, probe=Episodes(2, accept="never"))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def new_model(algorithm=PPO, normalise=False, policy="MlpPolicy", env=None, **options):
    env = env or make_vec_env(POINT, 2, seed=3)
    if normalise:
        env = VecNormalize(env)
    return algorithm(policy, env, seed=3, device="cpu", **OPTIONS[algorithm] | options)


class Stop(BaseCallback):
    """End learning after that many updates, however many steps were counted."""

    def __init__(self, updates):
        super().__init__()
        self.left = updates + 1

    def _on_rollout_start(self):
        self.left -= 1

    def _on_step(self):
        return self.left > 0


def reset(model):
    """As learning finds the model at its start."""
    model._last_obs = model.env.reset()
    return model


def learned(model, callback, updates=4):
    return model.learn(10**6, callback=[callback, Stop(updates)] if callback else [Stop(updates)])


def everything(model):
    """All that training goes on from."""
    normaliser = model.get_vec_normalize_env()
    statistics = [normaliser.obs_rms.mean, normaliser.obs_rms.var, normaliser.ret_rms.var] if normaliser else []
    return {
        "policy": {name: x.numpy() for name, x in model.policy.state_dict().items()},
        "moments": [x.numpy() for s in model.policy.optimizer.state.values() for x in s.values()],
        "torch": torch.get_rng_state().numpy(),
        "numpy": np.random.get_state()[1:3],  # noqa: NPY002
        "last": [model._last_obs, model._last_episode_starts],
        "statistics": statistics,
        "episodes": [[episode["r"], episode["l"]] for episode in model.ep_info_buffer],
    }


def actor_vector(model):
    modules = (model.policy.mlp_extractor.policy_net, model.policy.action_net)
    return np.concatenate([p.detach().numpy().ravel() for module in modules for p in module.parameters()])


def critic_vector(model):
    modules = (model.policy.mlp_extractor.value_net, model.policy.value_net)
    return np.concatenate([p.detach().numpy().ravel() for module in modules for p in module.parameters()])


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
    assert len(read_path(tmp_path, "auto").curves[0].returns) >= 10


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


class Watch(BaseCallback):
    """Keeps the actor and the critic as they are at each rollout's start."""

    def _init_callback(self):
        self.actors, self.critics = [], []

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.actors.append(actor_vector(self.model))
        self.critics.append(critic_vector(self.model))


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
    evaluated_at = read_path(tmp_path, "auto").curves[0].axes["steps"]
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
    curve = read_path(tmp_path / "log", "auto").curves[0]
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


class Breaks(fake_envs.Point):
    """Takes one step, no more."""

    def step(self, action):
        if self.lived:
            raise RuntimeError("the motor\nburned out")
        return super().step(action)


def test_a_probe_that_fails_leaves_the_policy_and_training_alone(caplog):
    broken = ExploRLerCallback(PROBING, seed=0, make_env=lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5))
    ends = [everything(learned(new_model(), own)) for own in (broken, None)]
    report = broken.report()
    assert report.failed == report.probes > 0 == report.accepted
    np.testing.assert_equal(*ends)
    warned = [record.getMessage() for record in caplog.records if "a probe failed" in record.getMessage()]
    assert len(warned) == report.failed
    assert all("RuntimeError: the motor burned out; the policy stays" in text for text in warned)
    assert f"{report.failed} failed" in str(report)


def test_failures_at_the_end_do_not_keep_training_from_going_on():
    config = replace(PROBING, finish=True, start=0.5, budget_fraction=1.0)
    callback = ExploRLerCallback(config, seed=0, make_env=lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5))
    model = new_model().learn(500, callback=callback)
    report = callback.report()
    assert report.failed == report.probes > 5
    assert 500 <= model.num_timesteps < 500 + ROLLOUT


def test_a_failure_after_the_swap_is_undone(monkeypatch):
    def half_written(self, point):
        write(self, point)
        if write.calls == 0:
            write.calls = 1
            raise MemoryError("no room")

    write = Actor.write
    monkeypatch.setattr(Actor, "write", half_written)
    write.calls = 0
    before, callback, after = Watch(), ExploRLerCallback(PROBING, seed=0), Watch()
    new_model().learn(10**6, callback=[before, callback, after, Stop(1)])
    assert callback.report().failed == 1
    np.testing.assert_array_equal(before.actors[1], after.actors[1])


def test_nothing_is_unpickled(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise AssertionError("unpickled")

    model = new_model(normalise=True)
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refused)
    callback = ExploRLerCallback(PROBING, out=tmp_path, seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


class Squares(BaseFeaturesExtractor):
    """A network with parameters of its own, of observations in parts."""

    def __init__(self, space, width=5):
        super().__init__(space, width)
        self.size = sum(part.shape[0] for part in space.values()) if isinstance(space, Dict) else space.shape[0]
        self.linear = nn.Linear(self.size, width)
        self.register_buffer("scale", torch.full((width,), 0.5))

    def forward(self, obs):
        obs = torch.cat(list(obs.values()), 1) if isinstance(obs, dict) else obs
        return self.scale * self.linear(obs) ** 2


class LooksAtData(Squares):
    """Cannot be vectorised over candidates."""

    def forward(self, obs):
        return super().forward(obs) if float(obs.sum()) < 1e9 else obs


class Parts(gymnasium.Env):
    observation_space = Dict({"a": Box(-1, 1, (2,)), "b": Box(-1, 1, (1,))})
    action_space = Box(-3, 3, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        return self.observe(), {}

    def observe(self):
        x = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return {"a": x[:2], "b": x[2:]}

    def step(self, action):
        self.left -= 1
        return self.observe(), float(-(action**2).sum()), self.left == 0, False, {}


def some_policies():
    separate = {"share_features_extractor": False, "features_extractor_kwargs": {"width": 4}}
    yield "plain", {}
    yield "deep", {"policy_kwargs": {"net_arch": [9, 8, 7], "activation_fn": nn.ReLU}}
    yield "linear", {"policy_kwargs": {"net_arch": []}}
    yield "gSDE", {"use_sde": True, "policy_kwargs": {"squash_output": True}}
    yield "own extractor", {"policy_kwargs": {"features_extractor_class": Squares, **separate}}
    yield "not vectorised", {"policy_kwargs": {"features_extractor_class": LooksAtData, **separate}}
    yield "shared extractor", {"policy_kwargs": {"features_extractor_class": Squares}}
    yield "activation with parameters", {"policy_kwargs": {"activation_fn": nn.PReLU}}


@pytest.mark.parametrize(("name", "options"), list(some_policies()))
def test_candidates_act_as_the_policy_would(name, options):
    model = new_model(**options)
    obs = np.random.default_rng(0).standard_normal((6, 2))
    model._last_obs = obs[:2]
    assert_candidates_act(model, obs)


def test_candidates_act_on_observations_in_parts():
    model = PPO(
        "MultiInputPolicy",
        DummyVecEnv([Parts]),
        n_steps=8,
        batch_size=8,
        device="cpu",
        policy_kwargs={"features_extractor_class": Squares, "share_features_extractor": False},
    )
    rng = np.random.default_rng(0)
    obs = {"a": rng.standard_normal((6, 2)), "b": rng.standard_normal((6, 1))}
    model._last_obs = {key: x[:2] for key, x in obs.items()}
    assert_candidates_act(model, obs)
    callback = ExploRLerCallback(PROBING, make_env=lambda: gymnasium.wrappers.TimeLimit(Parts(), 5), seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


def assert_candidates_act(model, obs):
    policy = model.policy.eval()
    actor = Actor(model, search_log_std=False)
    start = actor.read()
    points = start + 0.3 * np.random.default_rng(1).standard_normal((3, len(start)))
    given = actor.native(actor.candidates(points)(obs)).reshape(3, 2, -1)
    for i, point in enumerate(points):
        actor.write(point)
        np.testing.assert_array_equal(actor.read(), point.astype(np.float32))
        mine = (
            {key: x[2 * i : 2 * i + 2] for key, x in obs.items()} if isinstance(obs, dict) else obs[2 * i : 2 * i + 2]
        )
        expected, _ = policy.predict(mine, deterministic=True)
        np.testing.assert_allclose(given[i], expected, atol=1e-5)


def test_a_shared_extractor_is_left_out_and_said_so(caplog):
    kwargs = {"features_extractor_class": Squares}
    sizes = []
    for share in (True, False):
        model = new_model(policy_kwargs={**kwargs, "share_features_extractor": share})
        sizes.append(len(learned(model, callback := ExploRLerCallback(PROBING, seed=0)) and callback._actor.read()))
    shared = [record.getMessage() for record in caplog.records if "share" in record.getMessage()]
    assert len(shared) == 1
    assert "actor and critic share 15 parameters" in shared[0]
    assert sizes[1] - sizes[0] == 15


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", POINT])
def test_scores_are_the_returns_of_episodes_that_the_policy_plays(env_id, normalise):
    model = new_model(normalise=normalise, env=make_vec_env(env_id, 2, seed=1)).learn(64)
    normaliser, where = model.get_vec_normalize_env(), environments(model, None)
    statistics = everything(model)
    actor = Actor(model, False)
    point = actor.read()
    evaluate = CandidateEpisodes(actor, where, [5, 6, 7], 10**6)
    scores = evaluate(np.stack([point, 1.5 * point])[None], 0, 3)
    np.testing.assert_equal(everything(model), statistics)
    assert where.make(6).__class__.__name__ == ("GymEnvironments" if env_id == POINT else "MujocoVectorEnv")
    expected, steps = [], 0
    for candidate in (point, 1.5 * point):
        actor.write(candidate)
        for seed in (5, 6, 7):
            env = gymnasium.make(env_id)
            reset_seed = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0]) if env_id == POINT else seed
            obs, total, over = env.reset(seed=reset_seed)[0], 0.0, False
            while not over:
                obs = normaliser.normalize_obs(obs) if normalise else obs
                obs, reward, terminated, truncated, _ = env.step(model.predict(obs, deterministic=True)[0])
                total, steps, over = total + reward, steps + 1, terminated or truncated
            expected.append(total)
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-5)
    assert evaluate.steps == steps


def test_stochastic_probes_search_the_noise_too():
    config = replace(PROBING, search_log_std=True, probe=Episodes(2, accept="always", stochastic=True))
    before, callback = [], ExploRLerCallback(config, seed=0)

    class LogStd(Watch):
        def _on_rollout_start(self):
            before.append(self.model.policy.log_std.item())

    new_model().learn(10**6, callback=[LogStd(), callback, LogStd(), Stop(1)])
    assert before[-2] != before[-1]


def test_a_candidate_that_is_not_finite_fails():
    model = reset(new_model())
    actor = Actor(model, False)
    points = np.stack([actor.read(), np.full_like(actor.read(), np.nan), np.full_like(actor.read(), 1e30)])
    evaluate = CandidateEpisodes(actor, environments(model, None), [1, 2], 10**6)
    with np.errstate(all="ignore"):
        scores = evaluate(points[None], 0, 2)[0]
    assert np.isfinite(scores[0]).all()
    assert np.isneginf(scores[1]).all()


def test_large_probes_run_in_parts():
    model = reset(new_model())
    actor, where = Actor(model, False), environments(model, None)
    points = actor.read() + np.random.default_rng(0).standard_normal((1, 5, len(actor.read())))
    whole = CandidateEpisodes(actor, where, [1, 2, 3], 10**6)(points, 0, 3)
    parts = CandidateEpisodes(actor, replace(where, most=7), [1, 2, 3], 10**6)(points, 0, 3)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_an_allowance_is_kept_to():
    model = reset(new_model(env=make_vec_env("fake_envs:Steady-v0", 2)))
    actor = Actor(model, False)
    evaluate = CandidateEpisodes(actor, environments(model, None), [1, 2], 13)
    assert np.isnan(evaluate(np.repeat(actor.read()[None, None], 2, 1), 0, 2)).all()
    assert evaluate.steps == 12
    assert evaluate.exhausted


def test_what_is_logged(tmp_path, capsys):
    model, log, sb3_log = new_model(), tmp_path / "Point-v0" / "probed" / "seed-3", tmp_path / "sb3"
    model.set_logger(configure(str(sb3_log), ["csv"]))
    callback = ExploRLerCallback(PROBING, out=log, verbose=1)
    model.learn(600, callback=callback)
    report = callback.report()
    found = read_path(log, "auto")
    curve = found.curves[0]
    assert (found.agent, curve.seed) == ("probed", 3)
    assert curve.spent == {"train": report.train_steps, "probe": report.probe_steps, "eval": curve.spent["eval"]}
    assert curve.axes["steps"][0] == 0
    assert curve.axes["steps"][-1] == model.num_timesteps
    assert 10 <= len(curve.returns) <= 22
    header, *rows = (log / "probe.csv").read_text().splitlines()
    assert header.startswith("seed,cycle,total_steps,train_steps,probe_steps,steps,accepted,reason")
    assert len(rows) == report.probes == capsys.readouterr().out.count("probe at")
    table = (sb3_log / "progress.csv").read_text()
    assert {f"probe/{name}" for name in ("steps", "train_steps", "probes", "accepted", "gain")} <= set(
        table.splitlines()[0].split(",")
    )
    with pytest.raises(UsageError, match="exists already"):
        new_model().learn(64, callback=ExploRLerCallback(PROBING, out=log))
    model.set_logger(configure(str(tmp_path / "both"), ["csv"]))
    with pytest.raises(UsageError, match="where Stable-Baselines3 logs to"):
        model.learn(64, callback=ExploRLerCallback(PROBING, out=tmp_path / "both"))


def test_the_report_says_how_sure_the_gain_is():
    report = Report(train_steps=900, probe_steps=100, probes=4, accepted=2)
    assert "gain" not in str(report)
    for gain in (1.0, 3.0):  # five pairs each; deviation 1, so standard error 1 / sqrt(5)
        pairs = gain + np.array([-1.0, 1.0, 0.0, -1.0, 1.0])
        report.add_gain(np.stack([np.full(5, 7.0), 7.0 + pairs])[None])
    assert report.gain == 2.0
    half = 2.306004 * np.sqrt(2 / 5) / 2  # t with 8 degrees of freedom
    np.testing.assert_allclose(report.gain_interval, (2 - half, 2 + half), rtol=1e-6)
    assert str(report) == (
        "1,000 steps: 900 training, 100 probing (10.0%); 4 probes, 2 accepted; gain of those accepted on fresh "
        "episodes +2 (95 % interval +1.27 to +2.73, n = 2 x 5 pairs of episodes)"
    )


def test_a_run_without_probes_says_why():
    callback = ExploRLerCallback(replace(PROBING, num_anchors=50), seed=0)
    new_model().learn(100, callback=callback)
    assert "0 probes, 0 accepted (12 of 50 anchors so far)" in str(callback.report())


def test_a_probe_that_cannot_be_paid_is_said():
    callback = ExploRLerCallback(replace(PROBING, budget_fraction=0.01), seed=0)
    new_model().learn(100, callback=callback)
    assert "(a probe may take 30 steps, and 0 may be spent)" in str(callback.report())


def test_the_default_is_a_card():
    callback = ExploRLerCallback(budget_fraction=0.2)
    learned(new_model(), callback, updates=1)
    assert isinstance(callback._config.probe, Racing)
    assert callback._config.budget_fraction == 0.2
    assert callback._config.start == 0.8  # the card's probes come last


def refused_models():
    def discrete():
        return PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")

    def no_env():
        model = new_model()
        model.env = None
        return model

    yield "SAC is no on-policy algorithm", lambda: SAC("MlpPolicy", "Pendulum-v1", device="cpu")
    yield "recurrent", lambda: RecurrentPPO("MlpLstmPolicy", POINT, n_steps=8, batch_size=8, device="cpu")
    yield "maskable", lambda: MaskablePPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    yield "Discrete", discrete
    yield "has no environment", no_env


@pytest.mark.parametrize(("message", "make"), list(refused_models()))
def test_models_that_are_refused(message, make):
    with pytest.raises(UsageError, match=message) as caught:
        ExploRLerCallback(PROBING).init_callback(make())
    assert "\n" not in str(caught.value)


class Unregistered(fake_envs.Point):
    pass


class Sideways(PPO.policy_aliases["MlpPolicy"]):
    """Acts in another way than its modules say."""

    def _predict(self, observation, deterministic=False):
        return super()._predict(observation, deterministic) + 1.0


@pytest.mark.parametrize(
    ("message", "make", "callback"),
    [
        ("in-rollout needs our own", new_model, lambda: ExploRLerCallback(replace(PROBING, probe=InRollout()))),
        ("surrogate needs our own", new_model, lambda: ExploRLerCallback("explorler-ppo-surrogate")),
        ("card ppo says nothing", new_model, lambda: ExploRLerCallback("ppo")),
        ("unknown agent", new_model, lambda: ExploRLerCallback("explorer-ppo")),
        ("budget-fraction is -0.1", new_model, lambda: ExploRLerCallback(budget_fraction=-0.1)),
        (
            "gSDE does not",
            lambda: new_model(use_sde=True),
            lambda: ExploRLerCallback(replace(PROBING, probe=Episodes(stochastic=True))),
        ),
        (
            "not registered",
            lambda: new_model(env=DummyVecEnv([Unregistered])),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "VecFrameStack",
            lambda: new_model(env=VecFrameStack(make_vec_env(POINT, 2), 2)),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "statistics of its own",
            lambda: new_model(env=make_vec_env(POINT, 2, wrapper_class=gymnasium.wrappers.NormalizeObservation)),
            lambda: ExploRLerCallback(PROBING),
        ),
        (
            "makes an environment with observations",
            new_model,
            lambda: ExploRLerCallback(PROBING, make_env=lambda: gymnasium.make("Pendulum-v1")),
        ),
        (
            "does not act through",
            lambda: new_model(policy=Sideways),
            lambda: ExploRLerCallback(PROBING),
        ),
        ("EveryNTimesteps passes", new_model, lambda: EveryNTimesteps(10, ExploRLerCallback(PROBING))),
    ],
)
def test_what_is_refused(message, make, callback):
    with pytest.raises(UsageError, match=message) as caught:
        make().learn(64, callback=callback())
    assert "\n" not in str(caught.value)


def test_make_env_must_make_new_ones(caplog):
    one = gymnasium.make(POINT)
    callback = ExploRLerCallback(PROBING, make_env=lambda: one, seed=0)
    learned(new_model(), callback, updates=1)
    assert callback.report().failed == 1
    assert "the same environment twice" in caplog.text


def test_frame_stacks_are_probed_with_make_env():
    def make():
        return gymnasium.wrappers.FlattenObservation(gymnasium.wrappers.FrameStackObservation(Unregistered(), 2))

    model = new_model(env=DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(make(), 5)]))
    callback = ExploRLerCallback(PROBING, make_env=lambda: gymnasium.wrappers.TimeLimit(make(), 5), seed=0)
    learned(model, callback)
    assert callback.report().accepted > 0


def test_an_untested_version_is_warned_of_once(caplog):
    warn_of_version.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            warn_of_version("3.1.0")
        warn_of_version("2.9.2")
    assert [record.getMessage() for record in caplog.records] == [
        "Stable-Baselines3 3.1.0 was not tested with rlsparse, only 2.8 and 2.9"
    ]


def test_the_example_runs(monkeypatch, tmp_path, capsys):
    arguments = "--env Reacher --total-steps 4000 --num-envs 2 --rollout-length 64 --budget-fraction 0.4"
    files = ["--out", str(tmp_path / "log"), "--save", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments.split(), *files])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    *probes, report = capsys.readouterr().out.splitlines()
    assert len(probes) >= 2
    assert f"{len(probes)} probes" in report
    assert (tmp_path / "model.zip").exists()
    assert read_path(tmp_path / "log", "auto").curves[0].axes["steps"][-1] <= 4000
