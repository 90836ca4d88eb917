"""Folders as people have published them: the same names and nesting, with small numbers of our own."""

import numpy as np
import pytest
from foreign_runs import episodes, write_arguments, write_evaluations, write_events, write_monitor

from rlsparse.compare.arms import arrange
from rlsparse.compare.comparison import compare
from rlsparse.compare.logs import read_logs

ROLLOUT, EVAL = "rollout/ep_rew_mean", "eval/mean_reward"


def slusd(root):
    """FaisalAhmed0/SLUSD: settings in folders' names, and a monitor of evaluation beside the training's."""
    for seed in (0, 1):
        name = f"cls:MLP, lb:ba/env: MountainCarContinuous-v0, alg:sac, stamp:{17 + seed}/seed:{seed}"
        folder = root / "regularization_exper" / name
        write_monitor(folder / "monitor.csv", episodes(-50.0 - seed), env="MountainCarContinuous-v0")
        write_monitor(folder / "eval_results.monitor.csv", [(90.0, 900, 1.0)] * 50, env="MountainCarContinuous-v0")


def rocket_league(root):
    """purdue-arc/rocket_league_2: one training, one evaluation."""
    write_monitor(root / "ppo" / "logs" / "monitor.csv", episodes(), env="RocketLeague-v0")
    write_monitor(root / "ppo" / "logs" / "eval.monitor.csv", episodes(500.0), env="RocketLeague-v0")


def hopper_twice(root):
    """enfff/rl-hopper: a second run whose file begins with a dot, 114 s after the first."""
    folder = root / "gym" / "target_model"
    write_monitor(folder / "monitor.csv", episodes(-100.0, 13, seconds=0.2), start=1000.0, env="CustomHopper-v0")
    write_monitor(folder / ".monitor.csv", episodes(-90.0, 14, seconds=0.2), start=1114.0, env="CustomHopper-v0")


def a2c(root):
    """azimali322/Learn_A2C_RL: a log on top of twelve others, and a monitor in a folder called eval."""
    write_monitor(root / "a2c" / "logs" / "monitor.csv", episodes(20.0, 250, rise=0.5), env="CartPole-v1")
    write_monitor(root / "a2c" / "logs" / "eval" / "monitor.csv", episodes(490.0), env="CartPole-v1")
    for i in range(1, 4):
        write_events(root / "a2c" / "logs" / f"A2C_{i}", ROLLOUT, [(500 * k, 10.0 * i + k) for k in range(1, 11)])


def hand(root):
    """Syszhao/Mujco_hand: a monitor of evaluation above the folders of the trainings."""
    write_monitor(root / "logs" / "eval.monitor.csv", episodes(500.0, 5), env="Hand-v0")
    for i in range(4):
        write_monitor(root / "logs" / f"rotate_balls_{i}" / "monitor.csv", episodes(-100.0 - i), env="Hand-v0")


def lunar_lander(root):
    """rl-trained-agents: seeds in args.yml, and budgets that have one evaluation in common."""
    for agent, first, last in (("ppo", 10_000, 1_010_000), ("trpo", 10_000, 100_000), ("ars", 100_000, 2_000_000)):
        steps = np.arange(first, last + 1, first)
        folder = write_evaluations(
            root / agent / "LunarLanderContinuous-v2_1", steps, np.linspace(-150, 272, len(steps))
        )
        write_arguments(folder, "LunarLanderContinuous-v2", 7)


def trailing_axis(root):
    """rl-trained-agents, sac/Pendulum-v1_1: results of shape [n, episodes, 1] beside a monitor."""
    folder = write_evaluations(root / "sac" / "Pendulum-v1_1", [10_000, 20_000], [-128.0, -98.0], shape=(5, 1))
    write_monitor(folder / "0.monitor.csv", episodes(-900.0))


def parking(root):
    """Yapay-Sinir-Aglari-Proje/Akilli_Park: monitors and TensorBoard of the same trainings, names in other case."""
    for agent in ("ppo", "dqn"):
        returns = [float(x) for x in np.cumsum(np.arange(40) % 7) + ord(agent[0])]
        rows = [(x, 50, 5.0 * (i + 1)) for i, x in enumerate(returns)]
        write_monitor(root / "monitor" / agent / "monitor.csv", rows, start=100.0, env="parking-v0")
        means = [(50 * (i + 1), float(np.mean(returns[: i + 1]))) for i in range(3, 40, 4)]
        write_events(root / "tensorboard" / agent / f"{agent.upper()}_1", ROLLOUT, means)


def parts(root):
    """DLR-RM/stable-baselines3#785: pieces of a run, by reset_num_timesteps=False, under names of their own."""
    for seed in (0, 1):
        for part in range(3):
            points = [(2000 * part + 500 * k, -1400.0 + 100 * part + k + seed) for k in range(1, 5)]
            folder = root / "tb" / "Pendulum-v1" / f"seed_{seed}" / f"part{part}_1"
            write_events(folder, ROLLOUT, points, start=1000.0 * part)


def pendulum_tries(root):
    """Hu-l/inverted-pendulum-ppo: TensorBoard's numbered tries without any seed."""
    for i in range(1, 7):
        points = [(1000 * k, float(k * i)) for k in range(1, 11)]
        write_events(root / "ppo_inverted_pendulum_tensorboard" / f"PPO_{i}", ROLLOUT, points, start=10_000.0 * i)


def two_agents_in_one_folder(root):
    """Monitor(env, "logs/ppo") and Monitor(env, "logs/a2c") of one script."""
    write_monitor(root / "logs" / "ppo.monitor.csv", episodes(-100.0))
    write_monitor(root / "logs" / "a2c.monitor.csv", episodes(-200.0))


def workers_and_another_environment(root):
    """Numbered environments of one training, and the file of a warm-up on another environment."""
    folder = root / "sac" / "Foo-v0_1" / "train"
    for i in range(3):
        write_monitor(folder / f"{i}.monitor.csv", episodes(-100.0 + i), start=1000.0 + i, env="Foo-v0")
    write_monitor(folder / "3.monitor.csv", episodes(5.0), env="Bar-v0")


EVALUATED = "of evaluation by name, not of training"

LAYOUTS = [
    (slusd, {"sac cls=MLP lb=ba": {"MountainCarContinuous-v0": [(0, 6000), (1, 6000)]}}, [EVALUATED]),
    (rocket_league, {"ppo": {"RocketLeague-v0": [(None, 6000)]}}, [EVALUATED]),
    (
        hopper_twice,
        {"target_model": {"CustomHopper-v0": [(None, 2800), (None, 2600)]}},
        ["not environments of one training", "do not say their seed"],
    ),
    (
        a2c,
        {"a2c": {"CartPole-v1": [(None, 50_000)]}, "A2C": {"CartPole-v1": [(None, 5000)] * 3}},
        ["is of evaluation by its name", "may be the same trainings", "do not say their seed"],
    ),
    (hand, {"rotate_balls": {"Hand-v0": [(None, 6000)] * 4}}, ["is of evaluation by its name"]),
    (
        lunar_lander,
        {
            "ppo": {"LunarLanderContinuous-v2": [(7, 1_010_000)]},
            "trpo": {"LunarLanderContinuous-v2": [(7, 100_000)]},
            "ars": {"LunarLanderContinuous-v2": [(7, 2_000_000)]},
        },
        ["SHORT RANGE: on LunarLanderContinuous-v2 the curves have ONE POINT in common, 100,000 of 2,000,000 steps"],
    ),
    (trailing_axis, {"sac": {"Pendulum-v1": [(None, 20_000)]}}, []),
    (
        parking,
        {"ppo": {"parking-v0": [(None, 2000)]}, "dqn": {"parking-v0": [(None, 2000)]}},
        [f"{name.upper()}_1 (TensorBoard rollout/ep_rew_mean) is of the same training as" for name in ("ppo", "dqn")],
    ),
    (parts, {"study": {"Pendulum-v1": [(0, 6000), (1, 6000)]}}, ["joined as one run"]),
    (pendulum_tries, {"PPO": {"environment not logged": [(None, 10_000)] * 6}}, ["PPO: 6 runs do not say their seed"]),
    (
        two_agents_in_one_folder,
        {"ppo": {"Pendulum-v1": [(None, 6000)]}, "a2c": {"Pendulum-v1": [(None, 6000)]}},
        ["not environments of one training"],
    ),
    (
        workers_and_another_environment,
        {"sac": {"Foo-v0": [(None, 18_000)], "Bar-v0": [(None, 6000)]}},
        ["not environments of one training"],
    ),
]


@pytest.mark.parametrize(("write", "expected", "said"), LAYOUTS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_layout_is_read_as_what_it_is(tmp_path, write, expected, said):
    write(tmp_path / "study")
    found = read_logs([str(tmp_path / "study")], join=write is parts)
    arms = arrange(found.logs, {}, "CartPole-v1" if write is a2c else None)
    read = {
        arm: {env: [(x.curve.seed, x.curve.axes["steps"][-1]) for x in members] for env, members in by_env.items()}
        for arm, by_env in arms.members.items()
    }
    assert read == expected
    comparison = compare(arms, remarks=found.remarks)
    everything = "\n".join([*comparison.warnings, *comparison.remarks])
    assert all(text in everything for text in said), everything
