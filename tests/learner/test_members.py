"""A member of a population equals the run of its seed alone, bit for bit, and every environment step is counted."""

import csv
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import tiny
from gymnasium.spaces import Box
from threadpoolctl import threadpool_limits

from rlsparse import loop, sim, train
from rlsparse.algorithms.objectives import GSPO, SSO
from rlsparse.algorithms.ppo import PPO
from rlsparse.algorithms.trpo import TRPO
from rlsparse.algorithms.variance_reduced import NHARPG, NPGIGT
from rlsparse.explore.evolution import Consensus
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.in_rollout import InRollout
from rlsparse.explore.probe import Episodes
from rlsparse.explore.propose import Line
from rlsparse.explore.racing import Racing
from rlsparse.explore.surrogate import Surrogate
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run import checkpoint
from rlsparse.run import session as sessions
from rlsparse.run.directory import read_progress
from rlsparse.run.recipe import Recipe
from rlsparse.sim.episodes import evaluate
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """As in training."""
    with threadpool_limits(1, "blas"):
        yield


def run_of(recipe):
    """Train for three iterations, then evaluate: everything a member ends with, each [S, ...]."""
    learner, collector, explorer = sessions.begin(recipe)
    eval_env = sim.make(recipe.environment, recipe.num_seeds * recipe.eval_episodes, autoreset=False)
    stats = [vars(loop.iterate(recipe, learner, collector, explorer).stats) for _ in range(3)]
    scores = evaluate(
        eval_env, learner.actors(), [s for m in recipe.seeds for s in env_seeds(m, "eval_env", recipe.eval_episodes)]
    )
    collector.env.close()
    eval_env.close()
    ends = {
        "evaluation returns": scores.returns,
        "evaluation lengths": scores.lengths,
        "training returns": collector.recent_returns,
        "optimiser steps": learner.optimiser.steps,
        **learner.state_dict(),
        **{f"iteration {i} {name}": x for i, row in enumerate(stats) for name, x in row.items()},
    }
    return ends, learner.random_state()


SHIPPED = ActorCritic()
EARLY = PPO(1e-3, minibatches=4, epochs=4, target_kl=0.004)
DUAL = Sparse(rule=DCIL(schedule="constant"))
NESTED = Sparse(rule=AST(0.0, 1e-4))
CASES = {
    # many short episodes, ended in different steps by each member
    "Hopper-v5": {"eval_episodes": 3},
    "Hopper-v5, early stops": {"eval_episodes": 1, "algorithm": EARLY},
    "Hopper-v5, sparse, early stops": {"eval_episodes": 1, "algorithm": EARLY, "sparse": Sparse(rule=RigL(every=1))},
    "Hopper-v5, sparse, guarded": {"eval_episodes": 1, "sparse": Sparse(rule=SET(0.9, every=1), max_kl=2e-6)},
    "Hopper-v5, sparse, by saliency": {"eval_episodes": 1, "sparse": Sparse(rule=RigL(every=1), drop_by="kl")},
    "Hopper-v5, sparse, dual path, early stops": {"eval_episodes": 1, "algorithm": EARLY, "sparse": DUAL},
    "Hopper-v5, trpo": {"eval_episodes": 1, "algorithm": TRPO(critic_minibatches=4, fisher_subsample=2)},
    "Hopper-v5, sparse, trpo": {
        "eval_episodes": 1,
        "algorithm": TRPO(critic_minibatches=4, critic_epochs=2),
        "sparse": Sparse(rule=RigL(every=1)),
    },
    "Hopper-v5, sparse, n-pg-igt": {
        "eval_episodes": 1,
        "algorithm": NPGIGT(critic_minibatches=4, critic_epochs=2),
        "sparse": Sparse(rule=RigL(every=1)),
    },
    "Hopper-v5, sparse, n-harpg": {
        "eval_episodes": 1,
        "algorithm": NHARPG(critic_minibatches=4, critic_epochs=2),
        "sparse": Sparse(rule=RigL(every=1)),
    },
    "Hopper-v5, whole episodes": {"eval_episodes": 1, "algorithm": PPO(minibatches=1, objective=GSPO(1e-4))},
    "Hopper-v5, by outputs": {"eval_episodes": 1, "algorithm": PPO(minibatches=5, epochs=2, objective=SSO())},
    "Hopper-v5, sparse, in turns, early stops": {"eval_episodes": 1, "algorithm": EARLY, "sparse": NESTED},
    "Hopper-v5, sparse, adamp": {
        "eval_episodes": 1,
        "algorithm": replace(EARLY, optimiser="adamp"),
        "sparse": Sparse(rule=RigL(every=1)),
    },
    "Hopper-v5, other arguments": {
        "eval_episodes": 1,
        "env_kwargs": {"healthy_angle_range": [-0.1, 0.1], "exclude_current_positions_from_observation": False},
    },
    "Hopper-v5, sensed": {
        "eval_episodes": 1,
        "env_kwargs": {"sensor_noise": 0.01, "action_delay": 1, "history": 2},
    },
    "Hopper-v5, sparse, observations of the critic": {
        "eval_episodes": 1,
        "policy": ActorCritic(critic_only=4),
        "algorithm": TRPO(critic_minibatches=4, critic_epochs=2),
        "sparse": Sparse(0.9, rule=SET(every=1)),
    },
    "Hopper-v5, elu": {"eval_episodes": 1, "policy": ActorCritic(activation="elu")},
    "Hopper-v5, layer normalisation": {"eval_episodes": 1, "policy": ActorCritic(layer_normalisation=True)},
    "Hopper-v5, deviation of the state": {"eval_episodes": 1, "policy": ActorCritic(state_dependent_std=True)},
    "Hopper-v5, sparse, silu": {
        "eval_episodes": 1,
        "policy": ActorCritic(activation="silu"),
        "sparse": Sparse(0.9, rule=SET(every=1)),
    },
    "fake_envs:Windy": {
        "eval_episodes": 1,
        "env_kwargs": {"wind": 0.05, "max_episode_steps": 15},
        "wrappers": ("fake_envs:Doubled", "gymnasium.wrappers.TimeAwareObservation"),
    },
    "HalfCheetah-v5": {"eval_episodes": 1},
    # one action, one environment: arrays of one column, where sums might be taken in another order
    "InvertedPendulum-v5": {"eval_episodes": 1, "num_envs": 1, "rollout_length": 128},
    "Pendulum-v1": {"eval_episodes": 1, "rollout_length": 205},
}


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_bitwise_the_run_of_its_seed_alone(case):
    changes = {"num_envs": 3, "rollout_length": 40, "algorithm": PPO(minibatches=5, epochs=2)} | CASES[case]
    env, seeds = case.partition(",")[0], (4, 5, 6)
    together, streams = run_of(Recipe(env, seed=4, num_seeds=3, **changes))
    alone = [run_of(Recipe(env, seed=seed, **changes)) for seed in seeds]
    for name, x in together.items():
        np.testing.assert_array_equal(x, np.concatenate([ends[name] for ends, _ in alone]), name)
    assert streams == {name: [random[name][0] for _, random in alone] for name in streams}
    assert len(np.unique(together["evaluation returns"][:, 0])) == 3
    if "early stops" in case:
        assert len(np.unique(together["optimiser steps"])) > 1
    if "in turns" in case:
        assert (np.array([np.bincount(levels) for levels in together["sparsity.levels"]]) > 0).all()
    elif "sparse" in case:
        assert (together["sparsity.regrown"] > 0).all()
    if "sparse" in case:
        assert len(np.unique(together["sparsity.active"], axis=0)) == 3


class Counting(gymnasium.Env):
    """Episodes of one to seven steps; counts the calls of step over all instances."""

    steps = 0
    observation_space, action_space = Box(-1, 1, (2,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.np_random.integers(1, 8)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        Counting.steps += 1
        self.left -= 1
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, float(action[0] * obs[0]), bool(self.left == 0), False, {}


def test_the_ledger_is_every_step_taken(register, tmp_path):
    Counting.steps = 0
    flags = (
        "--num-seeds 2 --num-envs 3 --rollout-length 16 --total-steps 150 --eval-every 50 --eval-episodes 3 "
        "--algorithm.minibatches 4 --algorithm.epochs 1 --env-workers 1 --quiet"
    )
    train.main(["--env", register(Counting), *flags.split(), "--run-dir", str(tmp_path / "run")])
    rows = read_progress(tmp_path / "run" / "progress.csv")
    last = {row["seed"]: row for row in rows}
    assert [row["train_steps"] for row in last.values()] == [192, 192]  # four rollouts of 48
    assert all(row["total_steps"] == row["train_steps"] + row["probe_steps"] for row in rows)
    assert sum(row["train_steps"] + row["probe_steps"] + row["eval_steps"] for row in last.values()) == Counting.steps
    for seed in last:
        evaluations = [row for row in rows if row["seed"] == seed]
        lengths = [row["length_mean"] * row["episodes"] for row in evaluations]
        np.testing.assert_allclose(np.cumsum(lengths), [row["eval_steps"] for row in evaluations])


# Probing, by which members come to spend their budgets apart

PROBING = ExploRLer(Line((0.0, 0.5, 2.0)), Episodes(2, "always"), num_anchors=2, budget_fraction=0.6)
PROBES = {
    "always": PROBING,
    "on evidence": replace(PROBING, probe=Episodes(3, level=0.5), moments="transport"),
    "with noise": replace(PROBING, probe=Episodes(2, "always", stochastic=True), search_log_std=True, moments="reset"),
    "a race": replace(PROBING, probe=Racing((1, 1), 0.5, 2, level=0.5, stochastic=True)),
    "at the end": replace(PROBING, start=0.5, finish=True, budget_fraction=1.0),
    "rounds": replace(PROBING, proposal=Consensus(particles=2, rounds=2), anchors="iterations", anchor_span=0.1),
    "a surrogate": replace(PROBING, probe=Surrogate(4, "always")),
    "in the rollout": replace(PROBING, probe=InRollout(move="best", level=0.5)),
}
SPARSE = {
    "with noise": Sparse(0.5, rule=RigL(every=1, end=1.0)),
    "a race": Sparse(0.5, rule=Magnitude(0.1, 0.9), max_kl=1e-5),
    "rounds": Sparse(0.5, rule=SET(every=2)),
    "at the end": Sparse(0.5, rule=DCIL(0.1, 0.9)),
    "a surrogate": Sparse(0.5, rule=AST(0.1, 0.5, sparser=(0.7, 0.8))),
}


POINT, HOPPER = "fake_envs:Point-v0", "Hopper-v5"


@pytest.mark.parametrize(
    "env, case, sparse",
    [
        *((POINT, case, False) for case in PROBES),
        *((POINT, case, True) for case in SPARSE),
        (HOPPER, "with noise", False),
        (HOPPER, "a race", False),
        (HOPPER, "with noise", True),
    ],
)
def test_a_probing_member_is_bitwise_the_run_of_its_seed_alone(env, case, sparse, tmp_path, monkeypatch):
    """The rows of its evaluations and of its probes, and the policy and the counters it ends with."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    # which falls short of some
    monkeypatch.setattr("rlsparse.explore.explorer.horizon", lambda _: 5 if env == POINT else 30)
    size = {"total_steps": 250} if env == POINT else {"total_steps": 900, "rollout_length": 16}
    # some updates end early, of one member or of all: anchors must be the same either way
    algorithm = replace(tiny.RECIPE.algorithm, learning_rate=3e-3, epochs=3, target_kl=3e-4)
    recipe = tiny.recipe(env=env, **size, eval_every=10**6, explore=PROBES[case], algorithm=algorithm)
    recipe = replace(recipe, sparse=SPARSE[case]) if sparse else recipe
    together = ending(tiny.train(tmp_path / "together", replace(recipe, num_seeds=3)), (0, 1, 2))
    alone = [ending(tiny.train(tmp_path / str(seed), replace(recipe, seed=seed)), (seed,))[0] for seed in range(3)]
    for ours, theirs in zip(together, alone, strict=True):
        for name, x in theirs.items():
            np.testing.assert_array_equal(ours[name], x, name)
    assert all(member["probe.csv"] for member in alone)
    if env == HOPPER:  # they spend their budgets apart
        assert len({tuple(row["steps"] for row in member["probe.csv"]) for member in alone}) == 3
        assert len({int(member["counters.train"]) for member in alone}) > 1


def ending(run_dir, seeds):
    """What each member ends with."""
    learner = checkpoint.load_latest(run_dir / "checkpoint").arrays["learner"]
    arrays = ("params", "counters.train", "counters.probe", "counters.eval", "obs_moments.mean", "obs_moments.var")
    arrays += tuple(f"sparsity.{name}" for name in ("active", "explored", "regrown", "levels"))
    arrays = [name for name in arrays if name in learner]
    members = [{name: learner[name][i] for name in arrays} for i in range(len(seeds))]
    for record in (name for name in ("progress.csv", "probe.csv", "density.csv") if (run_dir / name).exists()):
        rows = list(csv.DictReader((run_dir / record).read_text().splitlines()))
        for seed, member in zip(seeds, members, strict=True):
            own = [row for row in rows if row["seed"] == str(seed)]
            member[record] = [{name: x for name, x in row.items() if name not in ("seconds", "digest")} for row in own]
    return members
