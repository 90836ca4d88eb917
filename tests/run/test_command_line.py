"""A command line that cannot be run gets one line that says what to write instead, at once, and the right exit code."""

import errno
import io
import json
import os
import re
import subprocess
import sys

import pytest
import tiny

from rlsparse import __main__, train
from rlsparse.errors import StorageError, UsageError
from rlsparse.run import command_line, device, directory
from rlsparse.run.other_names import OTHER_NAMES


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run `rlsparse <arguments>` in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rlsparse", *map(str, arguments)])
        try:
            __main__.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


CHEETAH = ("train", "--env", "HalfCheetah")
EXPLORLER = (*CHEETAH, "--explore", "explorler")

UNKNOWN_NAMES = {
    ("trian",): "unknown command trian: did you mean train?",
    ("--trian",): "unknown command --trian",
    ("dance",): "unknown command dance: the commands are train, ",
    ("train",): "which environment? e.g. --env HalfCheetah (rlsparse envs lists them)",
    ("train", "--num-seeds", "3"): "which environment? e.g. --env HalfCheetah",
    ("train", "--env"): "--env needs a value",
    ("play",): "RUN_DIR_or_CARD is missing: A run directory, a folder whose newest run is meant, or an agent card",
    ("train", "--env", ""): "unknown environment ''",
    ("train", "--env", "HalfCheeta"): "unknown environment 'HalfCheeta': did you mean HalfCheetah-v5?",
    ("train", "--env", "hafcheetah-v5"): "unknown environment 'hafcheetah-v5': did you mean HalfCheetah-v5?",
    ("train", "--env", "HalfCheetah-v2"): "HalfCheetah-v2 has moved out of Gymnasium: its successor is HalfCheetah-v5",
    ("train", "--env", "Pendulm-v1"): "unknown environment 'Pendulm-v1': did you mean Pendulum-v1?",
    ("train", "--env", "Hopper-v99"): "unknown environment 'Hopper-v99': did you mean Hopper-v5?",
    ("train", "--env", "no_such_module:X-v0"): "cannot import no_such_module: No module named 'no_such_module'",
    ("train", "--evn", "Hopper"): "unknown flag --evn: did you mean --env?",
    (*CHEETAH, "--num-sed", "3"): "unknown flag --num-sed: did you mean --num-seeds?",
    (*CHEETAH, "--total-step=5"): "unknown flag --total-step: did you mean --total-steps?",
    (*CHEETAH, "--learning-rate", "1"): "unknown flag --learning-rate: did you mean --algorithm.learning-rate?",
    (*CHEETAH, "--algoritm.gamma", "1"): "unknown flag --algoritm.gamma: did you mean --advantage.gamma?",
    (*CHEETAH, "--gamma", "1"): "unknown flag --gamma: did you mean --advantage.gamma?",
    (*CHEETAH, "--learnin_rate", "1"): "unknown flag --learnin_rate: did you mean --algorithm.learning-rate?",
    (*CHEETAH, "--lr=1e-3"): "unknown flag --lr: did you mean --algorithm.learning-rate?",
    (*CHEETAH, "--n_steps", "1"): "unknown flag --n_steps: did you mean --rollout-length?",
    (*CHEETAH, "--ent-coef", "0"): "unknown flag --ent-coef: did you mean --algorithm.entropy-coef?",
    (*CHEETAH, "--batch-size", "64"): "did you mean --algorithm.minibatches, the number of equal parts of a rollout?",
    (*CHEETAH, "--total-timesteps", "64"): "unknown flag --total-timesteps: did you mean --total-steps?",
    (*CHEETAH, "--wandb"): "unknown flag --wandb: did you mean --callbacks rlsparse:WeightsAndBiases?",
    (*CHEETAH, "--xyzzy"): "unknown flag --xyzzy: rlsparse train --help lists the flags",
    (*CHEETAH, "Hopper"): "unknown argument Hopper: rlsparse train --help lists the flags",
    ("train", "Hopper", "--seed", "3"): "unknown argument Hopper: did you mean --env Hopper?",
    (*CHEETAH, "--agent", "pp"): "unknown agent 'pp': did you mean ppo?",
    (*CHEETAH, "--agent", "none/card.toml"): "no agent card at 'none/card.toml'",
    (*CHEETAH, "--algorithm"): "--algorithm needs a value",
    (*CHEETAH, "--algorithm", "trp"): "--algorithm trp: expected one of ppo, trpo, n-pg-igt, n-harpg",
    (*CHEETAH, "--algorithm", "trpo", "--algorithm.clip-range", "1"): (
        "unknown flag --algorithm.clip-range: --algorithm trpo has none, use ppo"
    ),
    (*CHEETAH, "--advantage", "submodular", "--advantage.gamma", "0.999"): (
        "unknown flag --advantage.gamma: did you mean --advantage.inner.gamma?"
    ),
    (*CHEETAH, "--algorithm", "trpo", "--algorithm.solver", "qr"): "--algorithm.solver qr: expected one of cg, mfac",
    (*CHEETAH, "--algorithm", "trpo", "--algorithm.kl-reduction", "max"): (
        "--algorithm.kl-reduction max: expected one of sum, mean_dims"
    ),
    (*CHEETAH, "--device", "gpu"): "--device gpu: expected auto, cpu, cuda or cuda:N",
    (*CHEETAH, "--explore"): "--explore needs a value",
    (*CHEETAH, "--explore", "explorlr"): (
        "--explore explorlr: unknown agent 'explorlr': did you mean explorler-ppo? (rlsparse agents lists them); "
        "--explore takes none, explorler, explorler-ppo, "
    ),
    (*CHEETAH, "--explore", "ppo"): (
        "--explore ppo: the agent ppo has no [recipe.explore]; --explore takes none, explorler, explorler-ppo, "
    ),
    (*CHEETAH, "--explore", "my/card.toml"): "--explore my/card.toml: no agent card at 'my/card.toml'",
    (*CHEETAH, "--explore.every", "5"): "--explore.every needs --explore, for example --explore explorler",
    (*CHEETAH, "--explore.probe=racing"): "--explore.probe needs --explore, for example --explore explorler",
    (
        *CHEETAH,
        "--agent",
        "explorler-ppo",
        "--explore",
        "none",
        "--explore.start",
        "0",
    ): "--explore.start needs --explore",
    ("train", "--explore", "explorler"): "which environment? e.g. --env HalfCheetah",
    (*EXPLORLER, "--explore.evry", "5"): "unknown flag --explore.evry: did you mean --explore.every?",
    (
        *EXPLORLER,
        "--explore.probe",
        "episodes",
        "--explore.probe.duel",
        "5",
    ): "unknown flag --explore.probe.duel: --explore.probe episodes has none, use racing",
    (*EXPLORLER, "--explore.probe", "race"): (
        "--explore.probe race: expected one of episodes, racing, in-rollout, surrogate"
    ),
    (*EXPLORLER, "--explore.proposal", "gauss"): "--explore.proposal gauss: expected one of empty-space, random-walk, ",
    (*EXPLORLER, "--explore.proposal", "gaussian", "--explore.proposal.unit", "mile"): (
        "--explore.proposal.unit mile: expected one of absolute, spread, update"
    ),
}

BAD_VALUES = {
    ("--total-steps", "15e-1"): "--total-steps 15e-1: expected a whole number",
    ("--total-steps", "1e99"): "--total-steps 1e99: expected a whole number",
    ("--total-steps", "1e13"): "--total-steps is 10000000000000: expected at most 1,000,000,000,000",
    ("--total-steps", "9" * 30): "9: expected at most 1,000,000,000,000",
    ("--total-steps", "inf"): "--total-steps inf: expected a whole number",
    ("--total-steps", "many"): "--total-steps many: expected a whole number",
    ("--total-steps", "x" * 200): f"--total-steps {'x' * 200}: expected a whole number",
    ("--total_steps=1.5",): "--total-steps 1.5: expected a whole number",
    ("--total-steps", ""): "--total-steps '': expected a whole number",
    ("--total-steps",): "--total-steps needs a value",
    ("--total-steps", "0"): "--total-steps is 0: expected a positive whole number",
    ("--total-steps", "-5"): "--total-steps is -5: expected a positive whole number",
    ("--num-envs", "0"): "--num-envs is 0: expected a positive whole number",
    ("--num-seeds", "-1"): "--num-seeds is -1: expected a positive whole number",
    ("--seed", "-1"): "--seed is -1: expected zero or a positive whole number",
    ("--rollout-length", "0"): "--rollout-length is 0",
    ("--eval-episodes", "0"): "--eval-episodes is 0",
    ("--eval-every", "0"): "--eval-every is 0: expected a positive number of steps",
    ("--eval-every", "often"): "--eval-every often: expected a whole number or None",
    ("--algorithm.learning-rate", "nan"): "--algorithm.learning-rate is nan: expected a positive number",
    ("--algorithm.learning-rate", "-1e-3"): "--algorithm.learning-rate is -0.001: expected a positive number",
    ("--algorithm.learning-rate", "inf"): "--algorithm.learning-rate is inf: expected a positive number",
    ("--algorithm.learning-rate", "fast"): "--algorithm.learning-rate fast: expected a number",
    ("--algorithm.epochs", "0"): "--algorithm.epochs is 0: expected a positive whole number",
    ("--algorithm.clip-range", "0"): "--algorithm.clip-range is 0.0: expected a positive number",
    ("--algorithm.target-kl", "little"): "--algorithm.target-kl little: expected a number or None",
    ("--algorithm.target-kl", "nan"): "--algorithm.target-kl is nan: expected a positive number",
    ("--advantage.gamma", "1.5"): "--advantage.gamma is 1.5: expected a number from 0 to 1",
    ("--advantage.gamma", "nan"): "--advantage.gamma is nan: expected a number from 0 to 1",
    ("--policy.actor-hidden", "64", "0"): "--policy.actor-hidden is 64 0: expected widths from 1 to 8192",
    ("--policy.actor-hidden", "wide", "deep"): "--policy.actor-hidden wide deep: expected whole numbers",
    ("--policy.log-std-init", "inf"): "--policy.log-std-init is inf: expected a finite number",
    ("--dry-run", "yes"): "unknown argument yes",
    ("--algorithm.minibatches", "7"): (
        "--algorithm.minibatches 7 does not divide the rollout of 8 environments x 256 steps = 2048 samples: "
        "the nearest number that does is 8"
    ),
    ("--algorithm", "trpo", "--algorithm.target-kl", "0"): "--algorithm.target-kl is 0.0: expected a positive number",
    ("--algorithm", "trpo", "--algorithm.backtrack-factor", "1"): (
        "--algorithm.backtrack-factor is 1.0: expected a number between 0 and 1"
    ),
    ("--algorithm", "trpo", "--algorithm.solver.iterations", "0"): (
        "--algorithm.solver.iterations is 0: expected a positive whole number"
    ),
    ("--algorithm", "trpo", "--num-envs", "8", "--rollout-length", "100", "--algorithm.critic-minibatches", "7"): (
        "--algorithm.critic-minibatches 7 does not divide the rollout of 8 environments x 100 steps = 800 samples: "
        "the nearest number that does is 8"
    ),
    ("--algorithm", "trpo", "--algorithm.solver", "mfac", "--algorithm.damping", "0"): (
        "--algorithm.damping is 0.0: expected a positive number, which mfac divides by"
    ),
    (
        "--algorithm",
        "trpo",
        "--sparse",
        "dcil",
    ): "--sparse dcil works minibatch by minibatch, and needs a policy that learns from minibatches",
    (
        "--algorithm",
        "trpo",
        "--sparse",
        "ast",
    ): "--sparse ast works minibatch by minibatch, and needs a policy that learns from minibatches",
    ("--algorithm.objective", "reinforce"): (
        "--algorithm.objective reinforce: expected one of clip, a2c, gspo, cispo, cloning, hpt, sso, reuse"
    ),
    ("--algorithm.objective", "gspo"): (
        "--algorithm.objective gspo weighs whole episodes, which --algorithm.minibatches 32 would tear apart: use "
        "--algorithm.minibatches 1"
    ),
    ("--algorithm.objective", "sso", "--algorithm.objective.output-step", "0"): (
        "--algorithm.objective.output-step is 0.0: expected a positive number"
    ),
    ("--algorithm.optimiser", "lion"): "--algorithm.optimiser lion: expected one of adam, diffgrad, adamp, sgdp",
    ("--algorithm.optimiser", "adamp", "--sparse", "dcil"): (
        "--sparse dcil trains absent weights by Adam too, and needs the moments of Adam to exchange, which "
        "--algorithm.optimiser adamp does not give: use --algorithm.optimiser adam, or --sparse rigl, set, static, "
        "magnitude or others"
    ),
    ("--algorithm.minibatches", "9" * 30): "the nearest number that does is 2048",
    ("--num-envs", "9" * 30): "environments: expected at most 1,048,576",
    ("--num-seeds", "9" * 12): "environments: expected at most 1,048,576",
    ("--eval-episodes", "9" * 9): "environments: expected at most 1,048,576",
    ("--rollout-length", "9" * 15): "steps: expected at most 1,073,741,824",
    ("--policy.critic-hidden", "9" * 9): "expected widths from 1 to 8192",
    ("--explore", "explorler", "--explore.every", "0"): "--explore.every is 0: expected a positive whole number",
    ("--explore", "explorler", "--explore.every", "often"): "--explore.every often: expected a whole number",
    ("--explore", "explorler", "--explore.probe.level", "1"): "--explore.probe.level is 1.0: expected a number between",
    ("--explore", "explorler", "--explore.probe", "racing", "--explore.probe.episodes", "1", "0"): (
        "--explore.probe.episodes is 1 0: expected one or more positive whole numbers"
    ),
    ("--explore", "explorler", "--explore.probe", "racing", "--explore.probe.episodes"): (
        "--explore.probe.episodes is empty: expected one or more positive whole numbers"
    ),
    ("--explore", "explorler-ppo-honest", "--explore.probe", "in-rollout", "--num-envs", "1"): (
        "--explore.probe.share 0.5 of --num-envs 1 leaves the incumbent no environment"
    ),
    ("--explore", "explorler", "--explore.proposal", "gaussian", "--explore.proposal.candidates", "9" * 9): (
        "candidates or episodes at once: expected at most 1,048,576"
    ),
}

OF_OTHERS = {flag for name in OTHER_NAMES.values() for flag in re.findall(r"--[\w.-]+\w", name)}

WHOLE_NUMBERS = {"1e6": 1_000_000, "1_000_000": 1_000_000, "2.5e5": 250_000, "3000.0": 3_000}

UNSUITABLE_ENVIRONMENTS = {
    "CartPole-v1": "CartPole-v1 has the action space Discrete(2)",
    "fake_envs:Discrete-v0": "Discrete-v0 has the action space Discrete(2)",
    "fake_envs:Unbounded-v0": "Unbounded-v0 has the action space Box(-inf, inf",
    "fake_envs:Picture-v0": "Picture-v0 has observations of shape (8, 8, 3)",
}


def assert_one_line(result, code, message):
    given_code, out, err = result
    assert err.startswith("rlsparse: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert out == ""
    assert given_code == code


@pytest.mark.parametrize("arguments", UNKNOWN_NAMES, ids=" ".join)
def test_an_unknown_name_gets_the_nearest_valid_one(arguments, run, tmp_path):
    assert_one_line(run(*arguments), 2, UNKNOWN_NAMES[arguments])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", BAD_VALUES, ids=lambda arguments: " ".join(arguments)[:50])
def test_a_bad_value_gets_what_is_expected(arguments, run, tmp_path):
    assert_one_line(run(*CHEETAH, *arguments), 2, BAD_VALUES[arguments])
    assert list(tmp_path.iterdir()) == []


def test_what_stands_for_other_libraries_flags_exists(run):
    known = run("train", "--help")[1] + run("play", "--help")[1] + "--env-kwargs.NAME "
    assert [flag for flag in sorted(OF_OTHERS) if f"{flag} " not in known and f"{flag}," not in known] == []


@pytest.mark.parametrize("given", WHOLE_NUMBERS)
def test_whole_numbers_may_have_an_exponent_or_underscores(given, run):
    code, out, _ = run(*CHEETAH, "--total-steps", given, "--dry-run")
    assert code == 0
    assert f"total_steps = {WHOLE_NUMBERS[given]}\n" in out


@pytest.mark.parametrize("env", UNSUITABLE_ENVIRONMENTS)
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_an_environment_that_cannot_be_learned_is_refused_by_name(env, dry_run, run, tmp_path):
    assert_one_line(run("train", "--env", env, *dry_run), 2, UNSUITABLE_ENVIRONMENTS[env])
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_cannot_be_built_says_why(run, tmp_path):
    message = "environment 0 failed in make with FileNotFoundError: meshes/leg.stl is missing"
    assert_one_line(run("train", "--env", "fake_envs:Unbuildable-v0"), 3, message)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_is_not_replaced_in_silence(run, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "look", lambda: device.Machine((), "there is no GPU"))
    message = "--device cuda: there is no GPU; or use --device cpu"
    assert_one_line(run(*CHEETAH, "--device", "cuda"), 2, message)
    assert list(tmp_path.iterdir()) == []


# Run directories


def test_a_directory_that_holds_something_is_not_overwritten(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("")
    result = run("train", *tiny.FLAGS, "--run-dir", "mine")
    assert_one_line(result, 2, "mine exists already: name a new --run-dir, or go on with it by --resume mine")


def test_a_place_that_cannot_be_written_is_named_before_training(run, tmp_path):
    (tmp_path / "file").write_text("")
    for flags in (("--out", "file/runs"), ("--run-dir", "file/run")):
        assert_one_line(run("train", *tiny.FLAGS, *flags), 4, "cannot make the run directory file/run")


def test_what_cannot_be_resumed_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        message = f"{name} is not a run directory: it holds no recipe.toml"
        assert_one_line(run("train", "--resume", name), 4, message)
    assert_one_line(run("train", "--resume"), 2, "--resume needs a value")


@pytest.mark.parametrize("flag", [("--rollout-length", "9"), ("--out", "x"), ("--dry-run",)])
def test_a_resumed_run_takes_no_recipe(flag, run):
    only = "--env, --wrappers, --trust, --total-steps, --device, --keep-checkpoints, --checkpoint-every, "
    only += "--env-timeout, --callbacks, --env-workers, --explore.workers, --strict, --quiet and --json"
    message = f"unknown flag {flag[0]}: a resumed run keeps its recipe, so only {only} go with --resume"
    assert_one_line(run("train", "--resume", "run", *flag), 2, message)


# What is answered before anything heavy is imported

HEAVY = {"torch", "gymnasium", "mujoco", "matplotlib", "scipy", "safetensors", "tensorboard", "stable_baselines3"}

LIGHT = [
    ["--help"],
    ["--version"],
    ["trian"],
    ["train", "--help"],
    ["train", "--resume", "x", "--help"],
    ["tensorboard", "--help"],
    ["train"],
    ["train", "--env", "HalfCheeta"],
    ["train", "--env", "HalfCheetah-v2"],
    [*CHEETAH, "--agent", "pp"],
    [*CHEETAH, "--num-sed", "3"],
    [*CHEETAH, "--total-steps", "many"],
    [*CHEETAH, "--total-steps", "0"],
    [*CHEETAH, "--algorithm.minibatches", "7"],
    [*CHEETAH, "--device", "gpu"],
    [*EXPLORLER, "--explore.probe", "racing", "--help"],
    [*CHEETAH, "--explore", "explorlr"],
    [*CHEETAH, "--explore.every", "3"],
    [*EXPLORLER, "--explore.probe", "race"],
    [*EXPLORLER, "--explore.probe.level", "1"],
]


def test_help_and_typing_errors_import_neither_torch_nor_a_simulator(tmp_path):
    code = f"""
import json, sys
from rlsparse.__main__ import main
codes = []
for arguments in {LIGHT!r}:
    sys.argv = ["rlsparse", *arguments]
    try:
        main()
        codes.append(0)
    except SystemExit as stop:
        codes.append(stop.code or 0)
heavy = sorted({HEAVY!r} & set(sys.modules))
print(json.dumps([codes, heavy]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=True, cwd=tmp_path)
    codes, heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    asks_for_help = [bool({"--help", "--version"} & set(arguments)) for arguments in LIGHT]
    assert codes == [0 if helps else 2 for helps in asks_for_help]


def test_help_names_every_flag_and_what_is_required(run):
    code, out, err = run("train", "--help")
    assert (code, err) == (0, "")
    flags = ("env", "agent", "seed", "num-seeds", "total-steps", "num-envs", "eval-every", "eval-episodes", "device")
    for flag in (*flags, "out", "run-dir", "resume", "dry-run", "quiet", "json", "algorithm.learning-rate"):
        assert re.search(rf"--{flag}[ ,]", out)
    assert re.search(r"--env STR.*\(required\)", out, re.DOTALL)


@pytest.mark.parametrize(
    "command, words", [("train", ("card", "member", "probe", "anchors", "candidates")), ("compare", ("arm", "method"))]
)
def test_help_says_what_its_words_mean(command, words, run):
    said = " ".join(run(command, "--help")[1].partition("options")[0].split())
    assert all(f" {word}" in said for word in words)
    assert "docs/glossary.md" in said


def test_help_shows_the_defaults_of_the_chosen_environment(run):
    assert "(default: Humanoid-v5)" in run("train", "--env", "humanoid", "--help")[1]


def test_help_shows_the_flags_of_the_chosen_probing(run):
    _, out, _ = run("train", "--explore", tiny.PROBING, "--help")
    assert "--explore.proposal {empty-space,random-walk,averages,gaussian,line," in out
    assert "--explore.probe {episodes,racing,in-rollout,surrogate}" in out
    for flag in ("every", "budget-fraction", "proposal.fractions", "probe.episodes", "probe.accept"):
        assert re.search(rf"--explore\.{flag}[ ,]", out)
    assert "--explore.proposal.agents" not in out
    assert "subcommand" not in out
    assert re.search(r"--env STR.*\(required\)", out, re.DOTALL)


def test_help_without_probing_says_how_to_get_it(run):
    _, out, _ = run("train", "--help")
    assert "none, explorler" in out
    assert set(re.findall(r"--explore\.\S+", out)) == {"--explore.workers"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("flags", [("--total-steps", "many"), ("--eval-every", "often"), ("--env",)], ids=" ".join)
def test_the_line_is_the_same_in_any_locale(flags, encoding, run, monkeypatch):
    """The parser draws boxes, in characters that depend on it."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    _, _, err = run(*CHEETAH, *flags)
    assert err == f"rlsparse: {BAD_VALUES.get(flags, '--env needs a value')}\n"


def test_a_command_is_needed(run):
    assert run() == run("--help")
    assert run()[0] == 0


# How a failing command ends


@pytest.mark.parametrize(
    "error, code, line",
    [
        (UsageError("no such thing"), 2, "rlsparse: no such thing\n"),
        (StorageError("cannot write x: disk full"), 6, "rlsparse: cannot write x: disk full\n"),
        (KeyboardInterrupt(), 130, "rlsparse: interrupted\n"),
        (MemoryError("89 GiB"), 1, "rlsparse: out of memory (89 GiB): use fewer environments or smaller networks\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_with_one_line_and_its_code(error, code, line, capsys):
    with pytest.raises(SystemExit) as stop, command_line.fail_in_one_line():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr().err == line


def test_a_bug_shows_its_traceback():
    with pytest.raises(ZeroDivisionError), command_line.fail_in_one_line():
        raise ZeroDivisionError


def test_python_m_rlsparse_train_is_rlsparse_train(run, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--env", "HalfCheeta"])
    assert (stop.value.code, *capsys.readouterr()) == run("train", "--env", "HalfCheeta")


# A reader that goes away, as `| head -1` does


def read_one_line(arguments, cwd, stderr=subprocess.PIPE):
    """Start a command, read one line of its stdout, close that end; returns line, exit code and stderr."""
    command = [sys.executable, "-m", "rlsparse", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=tiny.environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        line = process.stdout.readline()
        process.stdout.close()
        rest = process.stderr.read() if process.stderr else ""
        return line, process.wait(timeout=60), rest


def test_help_cut_short_by_its_reader_ends_in_silence(tmp_path):
    line, code, err = read_one_line(["train", "--help"], tmp_path)
    assert line.startswith("usage: rlsparse train")
    assert (code, err) == (0, "")


def test_the_list_of_commands_that_nobody_reads_ends_in_silence(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-u", "-m", "rlsparse", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=tiny.environment(), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_training_outlives_the_reader_of_its_progress(tmp_path):
    line, code, _ = read_one_line(["train", *tiny.FLAGS, "--run-dir", "run"], tmp_path, stderr=subprocess.STDOUT)
    assert line == "ppo on fake_envs:Point-v0, seed 0, 96 steps each: run\n"
    assert code == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


# Streams that are closed, full, or of a terminal that is very narrow


@pytest.mark.parametrize(
    "streams",
    [
        pytest.param("<&- >/dev/full 2>&-", id="closed and full"),
        pytest.param("<&- >&- 2>&-", id="closed", marks=pytest.mark.long),
        pytest.param(">/dev/full 2>/dev/full", id="full", marks=pytest.mark.long),
    ],
)
def test_training_goes_on_without_anybody_who_could_read_it(streams, tmp_path):
    flags = " ".join([*tiny.FLAGS, "--run-dir", "run"])
    shell = f"{sys.executable} -m rlsparse train {flags} {streams}"
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=tiny.environment(), timeout=120, check=False)
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    tiny.train(tmp_path / "sound", directory.read_recipe(tmp_path / "run"))
    assert tiny.outcome(tmp_path / "run")["policy"] == tiny.outcome(tmp_path / "sound")["policy"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPIPE, errno.EBADF])
def test_what_a_stream_does_not_take_is_lost_and_nothing_else(code):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(code, os.strerror(code))

        def fileno(self):
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    stream = Full()
    with command_line.ignore_lost_reader(stream):
        print("news", file=stream)
    os.close(spare)


def test_a_stream_that_is_not_there_becomes_one_that_leads_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, None)
            command_line.prepare_streams()
            assert getattr(sys, name).name == os.devnull
            getattr(sys, name).close()


@pytest.mark.parametrize("width", [1, 2, 4, 8, 19])
def test_a_terminal_of_a_few_columns_hangs_nothing(width, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = run("train", "--help")
    assert (code, err) == (0, "")
    assert "--num-seeds" in out
    monkeypatch.setenv("COLUMNS", str(width))
    assert_one_line(run(*CHEETAH, "--num-envs", "x"), 2, "--num-envs x: expected a whole number")


# Arguments of the environment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("2", 2), ("0.5", 0.5), ("-1e-3", -1e-3), ("true", True), ("False", False), ("[0.2, 1.0]", [0.2, 1.0])),
        *(("(0.7, inf)", (0.7, float("inf"))), ("{distance = 4.0}", {"distance": 4.0}), ("my_ant.xml", "my_ant.xml")),
        *(('"2"', "2"), ("", ""), ("2020-01-01", "2020-01-01"), ("[1, x]", "[1, x]"), ("1\ny = 2", "1\ny = 2")),
        *(("[" * 10_000, "[" * 10_000), ("__import__('os')", "__import__('os')")),
    ],
)
def test_a_text_means_what_it_means_in_toml_or_python(text, value):
    read = command_line.literal(text)
    assert (read, type(read)) == (value, type(value))


def test_arguments_of_the_environment_become_one_flag():
    given = ["RUN", "--env-kwargs.healthy-reward", "-2", "--x", "1", "--env_kwargs.main_body=torso=1"]
    together = ["RUN", "--x", "1", "--env-kwargs", '["healthy_reward=-2", "main_body=torso=1"]']
    assert command_line.with_arguments_together(given) == together


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--env-kwargs", "healthy_reward", "2"), "--env-kwargs needs a name and a value: --env-kwargs.NAME VALUE"),
        (("--env-kwargs.drag",), "--env-kwargs.drag needs a value"),
        (("--env-kwargs.forward-reward-wight", "2"), "did you mean forward_reward_weight?"),
        (("--env-kwargs.forward-reward-weight", "None"), "is None: expected text, a number, true or false"),
    ],
)
def test_arguments_of_the_environment_that_cannot_be_taken_are_told_in_one_line(flags, message, run):
    code, out, err = run(*CHEETAH, *flags, "--dry-run")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_arguments_of_the_environment_are_part_of_the_recipe(run):
    flags = ("--env-kwargs.forward-reward-weight", "2", "--env-kwargs.max-episode-steps=50")
    code, out, _ = run(*CHEETAH, *flags, "--dry-run")
    assert code == 0
    assert "[env_kwargs]\nforward_reward_weight = 2\nmax_episode_steps = 50\n" in out
