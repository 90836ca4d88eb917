"""Who is compared with whom: agents, variants and groups; every seed once."""

import shutil

import numpy as np
import pytest
from foreign_runs import episodes, write_evaluations, write_events, write_monitor
from synthetic_runs import write_run

from rlsparse.compare.arms import arrange
from rlsparse.compare.logs import read_logs
from rlsparse.errors import UsageError

GENERATOR = np.random.default_rng(0)


def curves(seeds=3, points=11):
    return GENERATOR.normal(size=(seeds, points))


def arms_of(folder, groups=(), env=None):
    named = {name: read_logs([str(pattern)]).logs for name, pattern in groups}
    return arrange(read_logs([str(folder)]).logs, named, env)


def seeds(arms, name, env="Pendulum-v1"):
    return [member.curve.seed for member in arms.members[name][env]]


def test_an_agent_is_an_arm_over_all_its_runs_and_environments(tmp_path):
    write_run(tmp_path / "a", curves())
    write_run(tmp_path / "b", {3: curves()[0], 4: curves()[1]})
    write_run(tmp_path / "c", curves(), env="Hopper-v5")
    write_run(tmp_path / "d", curves(), agent="trpo")
    arms = arms_of(tmp_path)
    assert arms.names == ["ppo", "trpo"]
    assert arms.environments == ["Hopper-v5", "Pendulum-v1"]
    assert seeds(arms, "ppo") == [0, 1, 2, 3, 4]
    assert arms.remarks == []


def test_runs_of_an_agent_are_named_by_what_differs_from_its_card(tmp_path):
    write_run(tmp_path / "a", curves(), algorithm__learning_rate=1e-4)
    write_run(tmp_path / "b", curves(), algorithm__learning_rate=3e-4)
    write_run(tmp_path / "c", curves(), env="Hopper-v5", algorithm__learning_rate=1e-4)
    arms = arms_of(tmp_path)
    assert arms.names == ["ppo learning_rate=0.0001", "ppo"], "3e-4 is the card's"
    assert seeds(arms, "ppo learning_rate=0.0001", "Hopper-v5") == [0, 1, 2]


def test_what_all_runs_in_an_environment_share_of_its_arguments_and_wrappers_names_no_arm(tmp_path):
    task = {"env_kwargs": {"max_episode_steps": 50}, "wrappers": ["own:A"]}
    write_run(tmp_path / "a", curves(), **task)
    write_run(tmp_path / "b", curves(), **task, agent="trpo")
    write_run(tmp_path / "c", curves(), env="Hopper-v5")
    assert arms_of(tmp_path).names == ["ppo", "trpo"]


def test_other_arguments_and_wrappers_make_another_environment(tmp_path):
    write_run(tmp_path / "a", curves(), env_kwargs={"g": 5.0, "max_episode_steps": 50})
    write_run(tmp_path / "b", {3: curves()[0]}, env_kwargs={"g": 5.0, "max_episode_steps": 50})
    write_run(tmp_path / "c", curves(), wrappers=["own:A", "own:B"])
    write_run(tmp_path / "d", curves(), env_kwargs={"points": list(range(300))})
    write_run(tmp_path / "e", curves())
    arms = arms_of(tmp_path)
    usual, first, points, wrapped = arms.environments
    assert arms.names == ["ppo"]
    assert usual == "Pendulum-v1"
    assert first == f"{usual} g=5.0 max_episode_steps=50"
    assert wrapped == f"{usual} wrappers=['own:A', 'own:B']"
    assert points.startswith(f"{usual} points=[0, 1, 2") and len(points) < 130
    assert seeds(arms, "ppo", first) == [0, 1, 2, 3]
    assert arms_of(tmp_path, env="Pendulum-v1").environments == [usual]
    assert arms_of(tmp_path, env=first).environments == [first]


def test_seeds_and_evaluation_intervals_make_no_other_method(tmp_path):
    write_run(tmp_path / "a", curves(), eval_every=1000)
    write_run(tmp_path / "b", {7: curves()[0]}, eval_every=2000)
    assert arms_of(tmp_path).names == ["ppo"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"advantage": {"kind": "nstep", "n": 8}}, "ppo nstep n=8"),
        ({"advantage": {"kind": "nstep"}}, "ppo nstep"),
        ({"algorithm__objective": {"kind": "cispo"}}, "ppo cispo"),
        ({"algorithm__learning_rate_decay": False}, "ppo no learning_rate_decay"),
        ({"algorithm__clip_range": 0.1}, "ppo clip_range=0.1"),
        ({"policy__actor_hidden": [64, 32]}, "ppo actor_hidden=64-32"),
        ({"sparse": {"sparsity": 0.8}}, "ppo sparse sparsity=0.8"),
        ({"explore": {"num_anchors": 4}}, "ppo explore num_anchors=4"),
        ({"total_steps": 30_000}, "ppo"),
        ({"num_envs": 3, "advantage": {"kind": "nstep", "n": 8}}, "ppo nstep num_envs=3 n=8"),
    ],
)
def test_one_run_alone_is_named_by_what_differs_from_its_card(tmp_path, settings, name):
    write_run(tmp_path / "a", curves(), **settings)
    assert arms_of(tmp_path).names == [name]


@pytest.mark.parametrize(
    ("agent", "settings", "name"),
    [
        ("ppo+nstep", {"advantage": {"kind": "nstep", "n": 8}}, "ppo nstep n=8"),
        ("ppo+rigl", {"sparse": {"rule": {"kind": "rigl"}}}, "ppo+rigl"),
        ("ppo+rigl", {"sparse": {"sparsity": 0.8, "rule": {"kind": "rigl"}}}, "ppo+rigl sparsity=0.8"),
        ("ppo+rigl+cispo", {"sparse": {}, "algorithm__objective": {"kind": "cispo"}}, "ppo+rigl cispo"),
        ("ppo+n-pg-igt", {"algorithm": {"kind": "n-pg-igt"}}, "ppo+n-pg-igt"),
        ("ppo+my-probing", {"explore": {"num_anchors": 4}}, "ppo+my-probing"),
        ("mine+nstep", {"advantage": {"kind": "nstep"}}, "mine+nstep"),
    ],
)
def test_a_run_whose_name_tells_kinds_is_named_by_what_differs_from_what_it_began_with(tmp_path, agent, settings, name):
    write_run(tmp_path / "a", curves(), agent=agent, **settings)
    assert arms_of(tmp_path).names == [name]


def test_runs_of_one_method_are_one_arm_whether_or_not_their_names_tell_its_kinds(tmp_path):
    write_run(tmp_path / "a", curves(), agent="ppo", advantage={"kind": "nstep"})
    write_run(tmp_path / "b", {3: curves()[0]}, agent="ppo+nstep", advantage={"kind": "nstep"})
    arms = arms_of(tmp_path)
    assert arms.names == ["ppo nstep"]
    assert seeds(arms, "ppo nstep") == [0, 1, 2, 3]


def test_a_run_that_began_with_a_policy_is_named_by_it(tmp_path):
    first = {"policy": "/runs/Hopper-v5/ppo/20261120-201348-3059/policy.safetensors", "sha256": "abcdef" + 58 * "0"}
    write_run(tmp_path / "a", curves(), agent="ppo+init", init=first)
    write_run(tmp_path / "b", curves(), agent="ppo+init", init={**first, "policy": "ppo", "seed": 3})
    write_run(tmp_path / "c", curves())
    names = ["ppo init=20261120-201348-3059:abcdef", "ppo init=ppo:abcdef init_seed=3", "ppo"]
    assert arms_of(tmp_path).names == names
    assert arms_of(tmp_path / "a").names == names[:1]


def test_what_only_the_card_has_is_named_as_absent(tmp_path):
    write_run(tmp_path / "a", curves(), agent="sparse-ppo")
    write_run(tmp_path / "b", curves(), agent="sparse-ppo", without=["sparse"])
    assert arms_of(tmp_path).names == ["sparse-ppo", "sparse-ppo without sparse"]


def test_budgets_make_arms_only_where_they_differ(tmp_path):
    write_run(tmp_path / "a", curves(), total_steps=30_000)
    write_run(tmp_path / "b", curves(), total_steps=60_000)
    assert arms_of(tmp_path).names == ["ppo total_steps=30000", "ppo total_steps=60000"]


def test_many_settings_that_all_runs_share_are_counted(tmp_path):
    shared = {f"algorithm__{name}": 0.125 for name in ("value_coef", "entropy_coef", "clip_range", "max_grad_norm")}
    write_run(tmp_path / "a", curves(), rollout_length=128, **shared)
    write_run(tmp_path / "b", curves(), rollout_length=128, **shared, algorithm__epochs=3)
    assert arms_of(tmp_path).names == ["ppo (5 settings changed)", "ppo epochs=3 (5 settings changed)"]


def test_an_agent_without_a_card_is_named_by_what_its_runs_differ_in_and_never_by_none(tmp_path):
    write_run(tmp_path / "a", curves(), agent="mine", advantage={"kind": "nstep", "n": 8})
    write_run(tmp_path / "b", curves(), agent="mine")
    assert arms_of(tmp_path).names == ["mine nstep n=8", "mine gae gae_lambda=0.95"]


def test_a_group_is_an_arm_whatever_is_in_it(tmp_path):
    write_run(tmp_path / "a", curves(), algorithm__learning_rate=1e-4)
    write_run(tmp_path / "b", {5: curves()[0]}, agent="trpo")
    write_run(tmp_path / "c", curves(), agent="other")
    arms = arms_of(tmp_path / "c", [("mine", tmp_path / "[ab]")])
    assert arms.names == ["other", "mine"]
    assert seeds(arms, "mine") == [0, 1, 2, 5]


def test_a_run_in_two_groups_is_refused(tmp_path):
    write_run(tmp_path / "a", curves())
    with pytest.raises(UsageError, match="is in both --group x and --group y"):
        arms_of(tmp_path / "a", [("x", tmp_path / "a"), ("y", tmp_path / "*")])


def test_a_copied_run_counts_once(tmp_path):
    same = curves()
    write_run(tmp_path / "a", same)
    write_run(tmp_path / "copy", same)
    arms = arms_of(tmp_path)
    assert seeds(arms, "ppo") == [0, 1, 2]
    assert len(arms.remarks) == 1
    assert "holds the same data as" in arms.remarks[0]


def test_of_two_runs_of_a_seed_the_finished_longest_newest_counts(tmp_path):
    old, new = curves(2), curves(2)
    write_run(tmp_path / "crashed", {0: curves()[0]}, state="failed", started="2026-11-23T00:00:00+00:00")
    write_run(tmp_path / "old", old, started="2026-11-20T00:00:00+00:00")
    write_run(tmp_path / "new", new, started="2026-11-21T00:00:00+00:00")
    arms = arms_of(tmp_path)
    members = arms.members["ppo"]["Pendulum-v1"]
    np.testing.assert_array_equal([member.curve.returns for member in members], new)
    assert len(arms.remarks) == 2
    assert all("is left out, for" in text and text.count("new") == 1 for text in arms.remarks)


def test_different_seeds_with_equal_returns_are_kept_and_said(tmp_path):
    same = curves(1)[0]
    write_run(tmp_path / "a", {0: same, 1: same})
    arms = arms_of(tmp_path)
    assert seeds(arms, "ppo") == [0, 1]
    assert "equals seed 0" in arms.remarks[0]


def test_two_arms_with_equal_returns_are_said(tmp_path):
    same = curves()
    write_run(tmp_path / "a", same)
    write_run(tmp_path / "b", same, agent="null-probe")
    assert arms_of(tmp_path).remarks == ["ppo and null-probe have identical returns on Pendulum-v1 in 3 of their seeds"]


def test_flat_curves_are_no_copies(tmp_path):
    write_run(tmp_path / "a", {0: [1000.0] * 5, 1: [1000.0] * 5})
    assert arms_of(tmp_path).remarks == []


def test_an_agent_of_another_library_with_the_same_name_is_another_arm(tmp_path):
    write_run(tmp_path / "ours", curves())
    folder = tmp_path / "ppo" / "Pendulum-v1_1"
    folder.mkdir(parents=True)
    np.savez(folder / "evaluations.npz", timesteps=np.arange(5), results=curves(5, 3))
    assert set(arms_of(tmp_path).names) == {"ppo", "ppo (SB3 evaluations.npz)"}


def test_env_chooses_and_names_what_does_not_say(tmp_path):
    write_run(tmp_path / "a", curves(), env="Hopper-v5")
    write_run(tmp_path / "b", curves(), env="Ant-v5")
    (tmp_path / "unknown").mkdir()
    np.savez(tmp_path / "unknown" / "evaluations.npz", timesteps=np.arange(5), results=curves(5, 3))
    arms = arms_of(tmp_path, env="hopper")
    assert arms.environments == ["Hopper-v5"]
    assert arms.names == ["ppo", "unknown"]
    with pytest.raises(UsageError, match="--env Walker2d-v5: no log is of this environment, there is Hopper-v5$"):
        arms_of(tmp_path / "a", env="Walker2d")


def test_env_says_which_arguments_it_leaves_nothing_of(tmp_path):
    write_run(tmp_path / "runs" / "a", curves(), env="Hopper-v5")
    write_run(tmp_path / "runs" / "b", curves(), env="Ant-v5")
    write_run(tmp_path / "c", curves(), env="Ant-v5", agent="trpo")
    write_run(tmp_path / "d", curves(), env="Walker2d-v5", agent="other")
    logs = read_logs([str(tmp_path / name) for name in ("runs", "c")]).logs
    arms = arrange(logs, {"mine": read_logs([str(tmp_path / "d")]).logs}, "Hopper")
    assert arms.names == ["ppo"]
    left_out = [f"{tmp_path / 'c'} is of Ant-v5", f"{tmp_path / 'd'} is of Walker2d-v5"]
    assert arms.remarks == [f"left out: {text}, not of Hopper-v5" for text in left_out]


def test_the_next_file_of_a_run_is_read_for_a_damaged_one_unless_returns_would_be_mixed(tmp_path):
    write_monitor(tmp_path / "sac" / "Pendulum-v1_1" / "0.monitor.csv", episodes())
    (tmp_path / "sac" / "Pendulum-v1_1" / "evaluations.npz").write_bytes(b"PK")
    arms = arms_of(tmp_path)
    assert arms.names == ["sac"]
    (remark,) = arms.remarks
    assert remark.startswith("not read: cannot read") and "SB3 monitor.csv is used instead" in remark
    write_evaluations(tmp_path / "td3" / "Pendulum-v1_1", [1, 2], [3.0, 4.0])
    arms = arms_of(tmp_path)
    assert arms.names == ["td3"]
    assert "would not be the same measure" in arms.remarks[0]


def test_one_training_of_two_programs_counts_once_and_trainings_alike_stay_two(tmp_path):
    returns = np.cumsum(GENERATOR.normal(size=200))
    rows = [(x, 50, 5.0 * (i + 1)) for i, x in enumerate(returns)]
    write_monitor(tmp_path / "ppo" / "Pendulum-v1_1" / "monitor.csv", rows, start=100.0)
    means = [(50 * i, float(np.mean(returns[max(0, i - 100) : i]))) for i in range(10, 200, 10)]
    write_events(tmp_path / "tb" / "Pendulum-v1" / "PPO_1", "rollout/ep_rew_mean", means)
    write_run(tmp_path / "empty", [[np.nan]], agent="broken", state="failed")
    arms = arms_of(tmp_path)
    assert arms.names == ["broken", "ppo"]
    assert "is of the same training as" in arms.remarks[0]
    shutil.rmtree(tmp_path / "empty")
    others = [(x, y + 0.5) for x, y in means]
    write_events(tmp_path / "tb" / "Pendulum-v1" / "PPO_2", "rollout/ep_rew_mean", others)
    arms = arms_of(tmp_path)
    assert arms.names == ["ppo", "PPO"]
    assert "ppo and PPO may be the same trainings, logged by two programs: then name only one" in arms.remarks


def test_a_piece_of_a_run_that_is_left_out_for_another_hints_at_joining(tmp_path):
    for i in range(2):
        points = [(2000 * i + 500 * k, float(k + i)) for k in (1, 2, 3, 4)]
        write_events(tmp_path / "Pendulum-v1" / "seed_1" / f"PPO_{i}", "rollout/ep_rew_mean", points)
    (remark,) = arms_of(tmp_path).remarks
    assert "PPO_0 is left out, for " in remark and ", and --join is not given" in remark


def test_runs_that_do_not_say_their_seed_are_said(tmp_path):
    for i in (1, 2):
        write_evaluations(tmp_path / "ppo" / f"Pendulum-v1_{i}", [1, 2], [3.0, 4.0 + i])
    (remark,) = arms_of(tmp_path).remarks
    assert remark.startswith("ppo: 2 runs do not say their seed (Pendulum-v1_1, Pendulum-v1_2)")
    assert seeds(arms_of(tmp_path), "ppo") == [None, None]
