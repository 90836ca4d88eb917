"""ExploRLer as a callback and ExploRLer in any torch loop are the same: both around one model, with the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from probed_models import NEVER, POINT, Stop, new_model
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from rlsparse.run.torch_loop import Explorer
from rlsparse.sb3 import ExploRLerCallback


@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", POINT])
def test_the_callback_finds_what_is_found_in_any_torch_loop(env_id, monkeypatch):
    config = replace(NEVER, anchors="iterations", budget_fraction=1.0)
    model = new_model(env=make_vec_env(env_id, 2, seed=3))
    low, high = (torch.as_tensor(x) for x in (model.action_space.low, model.action_space.high))
    policy = model.policy
    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    explorer = Explorer(
        actor,
        env_id,
        act=lambda obs: policy.get_distribution(obs).mode().clamp(low, high),
        total_steps=10**6,
        explore=config,
        seed=5,
    )
    found = {"ours": [], "theirs": []}
    settle = ExploRLerCallback._settle
    monkeypatch.setattr(ExploRLerCallback, "_settle", lambda *x: (found["theirs"].append(x[1]), settle(*x)))

    class Beside(BaseCallback):
        updated = False

        def _on_step(self):
            return True

        def _on_rollout_start(self):
            if self.updated and explorer.probe(self.model.num_timesteps):
                found["ours"].append(explorer.last)

        def _on_rollout_end(self):
            self.updated = True

    model.learn(10**6, callback=[Beside(), ExploRLerCallback(config, seed=5), Stop(4)])
    assert len(found["ours"]) == 3
    for ours, theirs in zip(found["ours"], found["theirs"], strict=True):
        np.testing.assert_allclose(ours.score, theirs.score, rtol=1e-5)
        np.testing.assert_array_equal(ours.steps, theirs.steps)
        np.testing.assert_array_equal(ours.best, theirs.best)
