"""The flags of `rlsparse sweep` have the words, kinds, nearest names and refusals of `rlsparse train`."""

from dataclasses import fields
from pathlib import Path

import pytest

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.flags import train_flags
from rlsparse.run.status import Settings
from rlsparse.study.file import FLAGS
from rlsparse.study.flags import RunFlags, parse
from rlsparse.study.study import cells

FILE = """
agents = ["ppo", "trpo"]
envs = ["HalfCheetah", "Hopper"]
num_seeds = 3
algorithm.learning_rate_decay = false
[sweep]
"advantage.gamma" = [0.9, 0.99]
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Write a study file beside the command; returns what it and further flags mean."""
    monkeypatch.chdir(tmp_path)

    def parsed(flags="", text=FILE):
        Path("gammas.toml").write_text(text)
        found, run = parse(["gammas.toml", *flags.split()])
        return cells(found, run.out)

    return parsed


def found_by(flags):
    words, run = parse(flags.split() if isinstance(flags, str) else flags)
    return cells(words, run.out).cells


def test_flags_alone_make_a_study():
    found = found_by(
        "--agents ppo trpo --envs HalfCheetah Hopper --num-seeds 5 --total-steps 1e6 --sweep.algorithm.learning-rate "
        "1e-4 3e-4 --sweep.advantage.gamma=0.99 0.995 --policy.actor-hidden 32 32"
    )
    assert len(found) == 2 * 2 * 2 * 2
    assert {cell.recipe.total_steps for cell in found} == {1_000_000}
    assert {cell.recipe.policy.actor_hidden for cell in found} == {(32, 32)}
    assert {cell.recipe.advantage.gamma for cell in found} == {0.99, 0.995}
    assert {cell.recipe.algorithm.learning_rate for cell in found} == {1e-4, 3e-4}


@pytest.mark.parametrize(
    "flags",
    [
        "--total-steps 1e5 --num_envs 4 --eval-every=500",
        "--algorithm.no-learning-rate-decay --algorithm.target-kl 0.02",
        "--algorithm.target-kl None --policy.actor-hidden 32",
        "--algorithm trpo --algorithm.solver.iterations 5",
        "--algorithm.objective cispo",
        "--advantage td-lambda --advantage.gamma 0.9",
        "--sparse rigl --sparsity 0.7 --sparse.rule.every 50",
        "--sparse.sparsity 0.7 --sparse set",
        "--explore explorler-ppo-racing --explore.start 0.5 --explore.probe.level 0.9",
        "--explore explorler --explore.proposal gaussian --explore.proposal.candidates 4",
        "--explore explorler --explore.workers ray",
        "--env-kwargs.healthy-reward 2 --env-kwargs.ctrl-cost-weight 1e-3",
        "--init ppo --init.log-std -1",
        "--wrappers gymnasium.wrappers.ClipAction gymnasium.wrappers.RescaleAction",
        "--device cuda --num-seeds 3",
    ],
)
def test_a_flag_says_the_same_as_to_train(flags):
    _, recipe, _ = train_flags(["--env", "Hopper", *flags.split()])
    (cell,) = found_by(f"--envs Hopper {flags}")
    assert cell.recipe == recipe


@pytest.mark.parametrize("flags", ["--sweep.num-envs 1 2", "--envs Hopper Walker2d", "--agents ppo trpo"])
def test_a_training_of_one_run_points_to_the_sweep(flags):
    with pytest.raises(UsageError, match="train every combination of values: use rlsparse sweep"):
        train_flags(["--env", "Hopper", *flags.split()])


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        ("--sweep.policy.actor-hidden|64 64|128|[32, 32]", [(64, 64), (128,), (32, 32)]),
        ("--sweep.algorithm.learning-rate-decay|true|false", [True, False]),
        ("--sweep.algorithm.target-kl|none|0.02", [None, 0.02]),
        ("--sweep.policy.log-std-init|-1|-0.5", [-1.0, -0.5]),
        ("--sweep.total_steps|1e5|2_000", [100_000, 2_000]),
        ("--sweep.env-kwargs.healthy-reward=1|2", [1, 2]),
        ("--sweep.algorithm|ppo|trpo", ["ppo", "trpo"]),
        ("--sweep.algorithm.objective|clip|cispo", ["clip", "cispo"]),
    ],
)
def test_values_are_read_as_those_of_the_field(flags, values):
    found = found_by(["--envs", "Hopper", *flags.split("|")])
    assert [*found[0].setting] == [flags.partition("|")[0].partition("=")[0][len("--sweep.") :].replace("-", "_")]
    assert [x for cell in found for x in cell.setting.values()] == values


@pytest.mark.parametrize("flag", ["--sparse.sparsity", "--sparsity"])
def test_flags_of_kinds_that_are_swept_are_known(flag):
    none, rigl = found_by(f"--envs Hopper --sweep.sparse none rigl {flag} 0.7")
    assert none.arm == rigl.arm == "ppo"
    assert none.recipe.sparse is None
    assert rigl.recipe.sparse.sparsity == 0.7


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "which environments? e.g. --envs HalfCheetah, or a study file before all flags"),
        ("--envs Hopper,Walker2d", "--envs Hopper,Walker2d: names have blanks between them, as --envs Hopper Walker2d"),
        ("--total-steps 3 a.toml", "a.toml: a study file stands before all flags, as rlsparse sweep a.toml"),
        ("--envs Hopper a.toml", "a.toml: a study file stands before all flags"),
        ("--envs Hopper --num-envs 1 2", "--num-envs takes one value: use --sweep.num-envs to train with each"),
        ("--envs Hopper --sweep.agents ppo trpo", "agents is no setting: agents lists them, each an arm"),
        ("--envs Hopper --sweep.explore.reach 1 2", "unknown field explore.reach: did you mean explore.proposal.reach"),
        ("--envs HalfCheetha", "unknown environment 'HalfCheetha': did you mean HalfCheetah-v5?"),
        ("--envs Hopper --agents ppoo", "unknown agent 'ppoo': did you mean ppo?"),
        ("--envs Hopper Hopper-v5", "the environment Hopper-v5 is there twice"),
        ("--envs Hopper --agents ppo PPO", "the arm ppo is there twice"),
        ("--envs Hopper --algorithm.epohcs 3", "unknown flag --algorithm.epohcs: did you mean --algorithm.epochs?"),
        ("--envs Hopper --lr 3", "unknown flag --lr: did you mean --algorithm.learning-rate?"),
        ("--envs Hopper --jobbs 3", "unknown flag --jobbs: did you mean --jobs?"),
        ("--envs Hopper --jobs 0", "--jobs is 0: expected a positive whole number"),
        ("--envs Hopper --jobs two", "--jobs two: expected a whole number or None"),
        ("--envs Hopper --device gpu", "--device gpu: expected auto, cpu, cuda or cuda:N"),
        ("--env Hopper", "--env is for rlsparse train: use --envs"),
        ("--envs Hopper --agent ppo", "--agent is for rlsparse train: use --agents"),
        ("--envs Hopper --env-workers 2", "--env-workers is for rlsparse train: use --jobs, which"),
        ("--resume runs/x", "--resume is for rlsparse train: use the same command, which goes on"),
        ("--envs Hopper --sweep 3", "--sweep needs a field and values"),
        ("--envs Hopper --sweep.algorithm.epochs", "--sweep.algorithm.epochs needs values"),
        ("--envs Hopper --sweep.algorithm.epochs 3 3.0", "sweep algorithm.epochs has the value 3.0 twice"),
        ("--envs Hopper --sweep.algoritm.epochs 3", "unknown field algoritm.epochs: did you mean algorithm.epochs?"),
        ("--envs Hopper --sweep.num-envs 1,2", "sweep num_envs: [1, 2] is no single value: list all values one by one"),
        ("--envs Hopper --sweep.seed 1 2", "seed is no setting"),
        ("--envs Hopper --sweep.num-envs 1 2 --num-envs 3", "num_envs is swept, so it cannot have one value too"),
        ("--envs Hopper --sparse.sparsity 0.5", "--sparse.sparsity needs --sparse"),
        ("--envs Hopper --like runs/x --agents ppo", "like and agents both say"),
        ("nosuch.toml", "cannot read nosuch.toml"),
        (".", ". is a folder: name a study file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(flags, said):
    with pytest.raises(UsageError) as told:
        found_by(flags)
    assert str(told.value).startswith(said)
    assert "\n" not in str(told.value)


def test_without_a_file_the_folder_is_called_sweep():
    assert parse(["--envs", "Hopper"])[1] == RunFlags(out=Path("runs/sweep"))


def test_the_folder_is_called_as_the_file(tmp_path):
    (tmp_path / "rates.toml").write_text('envs = ["Hopper"]')
    assert parse([str(tmp_path / "rates.toml")])[1].out == Path("runs/rates")
    assert parse([str(tmp_path / "rates.toml"), "--out", "x"])[1].out == Path("x")


def test_how_a_study_is_carried_out():
    flags = "--jobs 2 --on ray --part 2/10 --keep-checkpoints 3 --watch --quiet --json"
    _, run = parse(["--envs", "Hopper", *flags.split()])
    assert run == RunFlags(Path("runs/sweep"), 2, "ray", "2/10", keep_checkpoints=3, watch=True, quiet=True, json=True)


def test_what_says_how_a_study_is_carried_out_is_no_word_of_its_file():
    assert {f.name for f in fields(RunFlags)} == {*FLAGS}


def test_settings_of_every_run_have_a_flag():
    flags = "--explore explorler --explore.workers ray --checkpoint-every 5 --env-timeout 3"
    _, run = parse(["--envs", "Hopper", *flags.split()])
    assert Settings().changed_by(run) == Settings(checkpoint_every=5, env_timeout=3.0, explore_workers="ray")


def test_what_is_wrong_in_a_file_names_it(study):
    with pytest.raises(UsageError, match=r"^gammas\.toml: num_envs must be a whole number, not 'two'$"):
        study(text='envs = ["Hopper"]\nnum_envs = "two"')
    with pytest.raises(RunDirectoryError, match=r"^gammas\.toml: there is no run directory runs/none"):
        study(text='envs = ["Hopper"]\ninit = "runs/none"')


def test_a_file_is_a_study_and_flags_go_before_it(study):
    assert len(study().cells) == 2 * 2 * 2
    assert {cell.recipe.num_seeds for cell in study("--num-seeds 7").cells} == {7}
    assert {cell.recipe.env for cell in study("--envs Walker2d").cells} == {"Walker2d-v5"}
    assert {cell.arm for cell in study("--agents explorler-ppo").cells} == {"explorler-ppo"}


def test_a_flag_takes_the_place_of_what_the_file_sweeps_and_the_other_way_round(study):
    assert [cell.setting for cell in study("--advantage.gamma 0.5 --envs Hopper --agents ppo").cells] == [{}]
    swept = study("--sweep.algorithm.learning-rate-decay true false --envs Hopper --agents ppo").cells
    assert [cell.recipe.algorithm.learning_rate_decay for cell in swept] == [True, False, True, False]
    other = study("--sweep.advantage.gamma 0.8 --envs Hopper --agents ppo").cells
    assert [cell.recipe.advantage.gamma for cell in other] == [0.8]


def test_a_flag_goes_before_what_arms_say(study):
    text = 'envs = ["Hopper"]\n[arms.a]\nagent = "ppo"\nnum_envs = 4\n[arms.a.environments.Hopper]\nrollout_length = 64'
    (cell,) = study("--num-envs 2 --rollout-length 32", text).cells
    assert (cell.recipe.num_envs, cell.recipe.rollout_length) == (2, 32)


def test_the_help_tells_study_runs_and_recipe(capsys):
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for word in ("[STUDY.toml]", "--envs", "--agents", "--sweep.FIELD", "--jobs", "--algorithm.learning-rate", "--out"):
        assert word in told
    assert "--env " not in told


def test_train_points_to_sweep(capsys):
    with pytest.raises(SystemExit) as end, fail_in_one_line():
        train_flags(["--env", "Hopper", "--sweep.algorithm.epochs", "3", "5"])
    assert end.value.code == 2
    assert "use rlsparse sweep" in capsys.readouterr().err
