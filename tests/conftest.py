"""What several tests share: environments made for a test, members to train, batches to learn from."""

import os
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from aim import Aim
from hypothesis import settings

from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.records import Batch
from rlsparse.run import storage

# The same examples every time, in memory alone, however slow the machine is.
settings.register_profile("rlsparse", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("rlsparse")

CHROMIUM = Path("/usr/bin/chromium")

# Tables are as wide as in a file, whatever the terminal that the tests run in.
os.environ["COLUMNS"] = "100"


@pytest.fixture(autouse=True)
def no_pause_between_attempts_to_write(monkeypatch):
    monkeypatch.setattr(storage, "WAITS", (0.0,) * len(storage.WAITS))


@pytest.fixture
def register():
    """Register an environment class with Gymnasium for one test; returns its id."""
    registered = []

    def register_class(cls, **kwargs):
        env_id = f"{cls.__name__}{len(registered)}-v0"
        gymnasium.register(env_id, entry_point=cls, kwargs=kwargs, disable_env_checker=True)
        registered.append(env_id)
        return env_id

    yield register_class
    for env_id in registered:
        del gymnasium.registry[env_id]


@pytest.fixture
def aim(monkeypatch):
    """The id of Aim, which has taken no step yet."""
    for name, fresh in (("steps", 0), ("seeds", []), ("explode_at", None)):
        monkeypatch.setattr(Aim, name, fresh)
    gymnasium.register("Aim-v0", entry_point=Aim, max_episode_steps=5, disable_env_checker=True)
    yield "Aim-v0"
    del gymnasium.registry["Aim-v0"]


@pytest.fixture
def new_learner():
    """Build a learner of small networks, of whatever seeds and sizes."""

    def build(seeds=(0, 1, 2), obs_size=5, action_size=3, device="cpu", **policy):
        policy = {"actor_hidden": (8, 7), "critic_hidden": (6,)} | policy
        return Learner(ActorCritic(**policy), obs_size, action_size, seeds, device)

    return build


@pytest.fixture
def new_batch():
    """Draw a batch for a learner; old log-probabilities lie `distance` (standard deviation) from the current ones."""

    def build(learner, size=24, distance=0.3, dtype=np.float32, seed=0):
        from rlsparse.learner.gaussian import gaussian_log_prob
        from rlsparse.learner.network import distribution

        rng = np.random.default_rng(seed)
        members, layout = learner.members, learner.layout
        params = np.asarray(learner.params).astype(dtype)
        obs = rng.standard_normal((members, size, layout.obs_size)).astype(dtype)
        action = rng.standard_normal((members, size, layout.action_size)).astype(dtype)
        mean, log_std = distribution(layout, params, obs)
        noise = (action - mean) / np.exp(log_std)
        log_prob = gaussian_log_prob(noise, log_std) + distance * rng.standard_normal((members, size))
        advantage, value_target = rng.standard_normal((2, members, size))
        return Batch(obs, action, *(x.astype(dtype) for x in (log_prob, 2 * advantage + 1, value_target)))

    return build


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, to look at pages as a reader does."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
