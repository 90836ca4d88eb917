"""ExploRLer in a loop of others: it chooses as in our own loop, and disturbs nothing."""

import random
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import fake_envs
import gymnasium
import numpy as np
import pytest
import torch
from aim import explorer_of
from torch import nn
from torch.nn.utils import parameters_to_vector

from rlsparse import Explorer
from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Gaussian, Line
from rlsparse.explore.racing import Racing
from rlsparse.learner.streams import env_seeds

POINT = "fake_envs:Point-v0"
STEADY = "fake_envs:Steady-v0"
"""Episodes of five steps."""

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "single_file_ppo.py"

PROBING = ExploRLer(
    Gaussian(candidates=3), Episodes(2, accept="always"), "iterations", num_anchors=2, budget_fraction=0.5
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


def linear(inputs=2, outputs=1):
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs)


def moved(actor, step=0.1):
    """What an update does."""
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter += step
    return parameters_to_vector(actor.parameters()).detach().clone()


def updates(actor, explorer, count, rollout=100):
    """Train so often, with a probe after each update; returns all steps."""
    steps = 0
    for _ in range(count):
        moved(actor)
        steps += rollout
        steps += explorer.probe(steps)
    return steps


# The same choices


@pytest.mark.parametrize("probe", [Episodes(2, accept="never"), Racing((1, 1), duel=2, accept="never")])
def test_it_finds_what_our_own_loop_finds(new_learner, aim, probe):
    config = {"proposal": Gaussian(candidates=4), "probe": probe, "anchors": "iterations", "num_anchors": 2}
    ours, learner = explorer_of(new_learner, seeds=(3,), **config)
    actor = linear()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
    explorer = Explorer(actor, aim, total_steps=10_000, explore=ours.config, seed=3)
    assert explorer.probe(1000) == 0  # one anchor so far
    learner.params[:, :3] += np.float32([0.1, -0.2, 0.3])
    torch.nn.utils.vector_to_parameters(torch.tensor([0.1, -0.2, 0.3]), actor.parameters())
    learner.counters.train[:] = 1100
    ours.after_iteration()
    expected = ours.probe(ours.due(), lambda: False)
    assert explorer.probe(1100) == expected.steps[0] > 0
    for name, x in vars(expected).items():
        np.testing.assert_allclose(getattr(explorer.last, name), x, rtol=1e-6) if name != "reason" else None
    assert explorer.last.reason == expected.reason


def test_what_is_accepted_becomes_the_actor():
    actor = linear()
    explorer = Explorer(actor, POINT, total_steps=10**6, explore=replace(PROBING, proposal=Line((1.5,))))
    anchors = []
    for step in (100, 200):
        anchors.append(moved(actor).double())
        explorer.probe(step)
    assert explorer.report().accepted == 1
    expected = anchors[1] + 0.5 * (anchors[1] - anchors[0])
    torch.testing.assert_close(parameters_to_vector(actor.parameters()), expected.float(), rtol=0, atol=0)


def test_only_what_actions_depend_on_is_searched():
    agent = nn.ModuleDict({"actor": linear(), "critic": linear()})
    agent.log_std = nn.Parameter(torch.zeros(1))
    agent["actor"].bias.requires_grad_(False)
    explorer = Explorer(agent, POINT, act=agent["actor"], total_steps=10**6, explore=PROBING)
    updates(agent, explorer, 1)
    moved(agent)
    before = {name: x.detach().clone() for name, x in agent.named_parameters()}
    explorer.probe(200)
    changed = {name for name, x in agent.named_parameters() if not torch.equal(x, before[name])}
    assert changed == {"actor.weight"}


# Nothing is disturbed


class Fragile(nn.Module):
    """Has a mode, a buffer that changes in training, and draws from every global stream when it acts."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = linear(), nn.BatchNorm1d(2), nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(2).eval()

    def forward(self, obs):
        torch.rand(1), random.random(), np.random.random()  # noqa: NPY002
        return self.linear(self.drop(self.frozen(self.norm(obs))))


def test_a_probe_that_accepts_nothing_changes_nothing():
    ends = []
    for probes in (True, False):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)  # noqa: NPY002
        actor = Fragile()
        optimiser = torch.optim.Adam(actor.parameters())
        explorer = Explorer(actor, POINT, total_steps=10**6, explore=NEVER, seed=1) if probes else None
        for update in range(1, 4):
            optimiser.zero_grad()
            actor(torch.randn(8, 2)).square().sum().backward()
            optimiser.step()
            if explorer:
                explorer.probe(100 * update + explorer.report().probe_steps)
        assert not explorer or explorer.report().probes == 2
        modes = [module.training for module in actor.modules()]
        gradients = [p.grad.numpy() for p in actor.parameters()]
        streams = torch.rand(3).numpy(), random.random(), np.random.random(3)  # noqa: NPY002
        state = {name: x.numpy() for name, x in actor.state_dict().items()}
        ends.append([modes, gradients, streams, state])
    np.testing.assert_equal(*ends)


def test_the_same_seed_makes_the_same_probes_and_another_seed_others():
    scores = []
    for seed in (1, 1, 2):
        actor = linear()
        explorer = Explorer(actor, POINT, total_steps=10**6, explore=NEVER, seed=seed)
        updates(actor, explorer, 3)
        scores.append(explorer.last.score)
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


class Breaks(fake_envs.Steady):
    """Raises in its third probe step."""

    left = 3

    def step(self, action):
        Breaks.left -= 1
        if Breaks.left == 0:
            raise RuntimeError("the motor burned out")
        return super().step(action)


def test_a_probe_that_fails_leaves_the_policy_and_costs_its_steps(caplog):
    actor = linear()
    limited = lambda: gymnasium.wrappers.TimeLimit(Breaks(), 5)  # noqa: E731
    explorer = Explorer(actor, limited, total_steps=10**6, explore=PROBING)
    steps = updates(actor, explorer, 1)
    expected = moved(actor)
    taken = explorer.probe(steps + 100)
    assert torch.equal(parameters_to_vector(actor.parameters()), expected)
    assert taken == explorer.report().probe_steps == 6
    assert explorer.report().failed == 1
    assert "the motor burned out" in caplog.text
    moved(actor)
    explorer.probe(steps + 200 + taken)
    assert explorer.report().accepted == 1


# Steps


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_every_step_is_counted_within_the_budget(fraction):
    actor, before = linear(), fake_envs.steps
    explorer = Explorer(actor, STEADY, total_steps=3000, explore=PROBING, budget_fraction=fraction)
    steps = 0
    while not explorer.finished:
        moved(actor)
        steps += 50
        steps += explorer.probe(steps)
        assert explorer.report().probe_steps <= fraction * steps
    report = explorer.report()
    assert fake_envs.steps - before == report.probe_steps == report.probes * 3 * 2 * 5 > 0
    assert steps == report.train_steps + report.probe_steps
    assert 3000 <= steps < 3050


def test_probes_may_finish_the_training():
    """As `finish` says: from the first one on there are no updates, until no further one can be paid."""
    actor = linear()
    explorer = Explorer(actor, STEADY, total_steps=1000, explore=replace(PROBING, finish=True), budget_fraction=0.3)
    steps, rollouts = 0, 0
    while not explorer.finished:
        moved(actor)
        steps, rollouts = steps + 50, rollouts + 1
        steps += explorer.probe(steps)
    assert rollouts * 50 == 700
    assert explorer.report().probes == 300 // (3 * 2 * 5)
    assert steps == 1000


def test_epochs_are_anchors_and_an_update_without_any_is_one():
    actor = linear()
    explorer = Explorer(actor, POINT, total_steps=10**6, explore=replace(NEVER, anchors="epochs", num_anchors=5))
    expected = []
    for epochs in (2, 0, 3):
        for _ in range(epochs):
            expected.append(moved(actor).numpy())
            explorer.anchor()
        if not epochs:
            expected.append(moved(actor).numpy())
        explorer.probe(100 * len(expected))
    np.testing.assert_array_equal(explorer.state_dict()["anchors"], expected[-5:])


def test_steps_that_go_back_are_refused():
    explorer = Explorer(linear(), POINT, total_steps=10**6, explore=PROBING)
    explorer.probe(1200)
    with pytest.raises(UsageError, match=r"probe was given 1,000 steps after 1,200"):
        explorer.probe(1000)


def test_a_budget_that_pays_no_probe_is_told_of(caplog):
    Explorer(linear(4), "InvertedPendulum-v5", total_steps=100_000)
    assert "a probe may take 13,000 steps (13 episodes of 1,000), all of them 10,000 of 100,000" in caplog.text


# Checkpoints


def test_a_loop_that_goes_on_from_a_checkpoint_ends_as_one_that_never_stopped(tmp_path):
    config = replace(PROBING, anchors="epochs", num_anchors=4)

    def begin():
        actor = linear()
        return actor, Explorer(actor, POINT, total_steps=10**6, explore=config, seed=7)

    def go_on(actor, explorer, steps, count):
        for _ in range(count):
            for _ in range(2):
                moved(actor, 0.02)
                explorer.anchor()
            steps += 100
            steps += explorer.probe(steps)
        return steps

    whole = begin()
    go_on(*whole, 0, 6)
    first = begin()
    steps = go_on(*first, 0, 3)
    torch.save([x.state_dict() for x in first], tmp_path / "checkpoint.pt")
    second = begin()
    for x, state in zip(second, torch.load(tmp_path / "checkpoint.pt", weights_only=True), strict=True):
        x.load_state_dict(state)
    go_on(*second, steps, 3)
    assert whole[1].report().accepted > 3
    assert torch.equal(second[0].weight, whole[0].weight)
    assert torch.equal(second[1].state_dict()["anchors"], whole[1].state_dict()["anchors"])
    assert second[1].report() == whole[1].report()


def test_a_checkpoint_of_another_actor_is_refused():
    actor = linear()
    explorer = Explorer(actor, POINT, total_steps=10**6, explore=PROBING)
    updates(actor, explorer, 1)
    other = Explorer(linear(4), "InvertedPendulum-v5", total_steps=10**6)
    with pytest.raises(UsageError, match="anchors of 3 parameters, but the actor has 5"):
        other.load_state_dict(explorer.state_dict())


@pytest.mark.parametrize("moments", ["keep", "reset", "transport"])
def test_moments_are_kept_reset_or_lose_their_direction(moments):
    agent = nn.ModuleDict({"actor": linear(), "critic": linear()})
    optimiser = torch.optim.Adam(agent.parameters())
    config = replace(PROBING, moments=moments)
    explorer = Explorer(agent["actor"], POINT, total_steps=10**6, explore=config, optimizer=optimiser)
    for steps in (100, 200):
        (agent["actor"](torch.ones(2)) + agent["critic"](torch.ones(2))).sum().backward()
        optimiser.step()
        explorer.probe(steps)
    assert explorer.report().accepted == 1
    first = [float(optimiser.state[p]["exp_avg"].abs().sum()) for p in agent.parameters() if p in optimiser.state]
    zero = {"keep": [False] * 4, "reset": [], "transport": [True, True, False, False]}
    assert [x == 0 for x in first] == zero[moments]


# What a user brings


class Turns(gymnasium.Env):
    """Four steps, paid for turning right, seen in parts."""

    observation_space = gymnasium.spaces.Dict(
        {"a": gymnasium.spaces.Box(-1, 1, (2,)), "b": gymnasium.spaces.Discrete(3)}
    )
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        return self.observe(), {}

    def observe(self):
        return {"a": self.np_random.uniform(-1, 1, 2).astype(np.float32), "b": int(self.np_random.integers(3))}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self.observe(), float(action), self.left == 0, False, {}


def test_actions_may_be_choices_and_observations_may_have_parts():
    actor = linear(3, 2)

    def act(obs):
        return actor(torch.cat([obs["a"], obs["b"][:, None].float()], 1)).argmax(1)

    explorer = Explorer(actor, Turns, act=act, total_steps=10**6, explore=NEVER, max_episode_steps=4)
    updates(actor, explorer, 2)
    assert explorer.report().probe_steps == 4 * 2 * 4
    assert (explorer.last.score <= 4).all() and (explorer.last.score > 0).any()


def test_episodes_may_be_run_by_the_user():
    actor, asked = linear(), []

    def evaluate(candidates, seeds):
        asked.append((candidates, seeds))
        returns = -((candidates - 0.5) ** 2).sum(1)[:, None] + 0.01 * np.arange(len(seeds))
        return torch.as_tensor(returns), torch.full(returns.shape, 7)

    config = replace(PROBING, probe=Episodes(3, accept="evidence"), proposal=Line((0.0, 1e40, 1.5)))
    explorer = Explorer(actor, evaluate=evaluate, total_steps=10**6, max_episode_steps=7, explore=config, seed=4)
    updates(actor, explorer, 1)
    incumbent = moved(actor).numpy()
    assert explorer.probe(200) == 3 * 3 * 7  # the incumbent, and the two candidates that are finite
    np.testing.assert_array_equal(asked[0][0], incumbent[None])
    assert {tuple(seeds) for _, seeds in asked} == {tuple(env_seeds(4, "probe_env", 3))}
    assert np.isneginf(explorer.last.score[0, 2])
    assert explorer.report().accepted == 1
    np.testing.assert_array_equal(parameters_to_vector(actor.parameters()).detach(), asked[1][0][1])


def refused():
    yield "one of the two", {}
    yield "one of the two", {"env": POINT, "evaluate": print}
    yield "give act=", {"env": POINT, "actor": list(linear().parameters())}
    yield "give max_episode_steps=", {"evaluate": print}
    yield "in-rollout needs our own rollout: in a loop", {"env": POINT, "explore": ExploRLer(probe=InRollout())}
    yield "surrogate needs our own rollout", {"env": POINT, "explore": "explorler-ppo-surrogate"}
    yield "unknown agent", {"env": POINT, "explore": "ppos"}
    yield "says nothing of probing", {"env": POINT, "explore": "ppo"}
    yield "use stochastic=False", {"env": POINT, "explore": replace(NEVER, probe=Episodes(stochastic=True))}
    yield "give optimizer=", {"env": POINT, "explore": replace(NEVER, moments="reset")}
    yield "num-anchors is 1", {"env": POINT, "explore": replace(NEVER, num_anchors=1)}
    yield "no parameters that require a gradient", {"env": POINT, "actor": linear().requires_grad_(False)}
    yield r"shape \(1, 2\): expected \(1, 1\)", {"env": POINT, "actor": linear(2, 2)}
    yield "the actor must be a module of torch", {"env": POINT, "actor": None}
    yield "the actor must be a module of torch", {"env": POINT, "actor": torch.nn.Linear}
    yield "env must be an id, or a function", {"env": gymnasium.Env()}
    yield "without noise", {"env": POINT, "act": lambda obs: torch.rand(1, 1)}


@pytest.mark.parametrize(("message", "options"), list(refused()))
def test_what_cannot_be_probed_is_refused_in_one_line(message, options):
    with pytest.raises(UsageError, match=message) as refusal:
        Explorer(**{"actor": linear(), "total_steps": 10**6} | options)
    assert "\n" not in str(refusal.value)


def test_what_evaluate_gives_is_checked():
    actor = linear()
    wrong = lambda candidates, seeds: (np.zeros(3), np.zeros(3))  # noqa: E731
    explorer = Explorer(actor, evaluate=wrong, total_steps=10**6, max_episode_steps=5, explore=PROBING)
    updates(actor, explorer, 1)
    before = moved(actor)
    with pytest.raises(UsageError, match=r"evaluate gave \(3,\) returns and \(3,\) lengths: expected \(3, 2\)"):
        explorer.probe(200)
    assert torch.equal(parameters_to_vector(actor.parameters()), before)


def test_the_example_runs(monkeypatch, capsys):
    arguments = f"--env {STEADY} --total-steps 1400 --num-envs 2 --rollout-length 16 --budget-fraction 0.5"
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments.split()])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    *lines, report, end = capsys.readouterr().out.splitlines()
    assert [line.partition(" steps")[0].strip() for line in lines] == ["320", "640"]
    total, train, probe, probes = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:steps|tr|prob)", report))
    assert train + probe == total <= 1400
    assert train == 704
    assert probe <= probes * 13 * 5
    assert end.startswith("return -")
