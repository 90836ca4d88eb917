"""`rlsparse export`: what is written acts as the trained policy in its environment, or nothing is written."""

import json
import re

import gymnasium
import numpy as np
import pytest
import safetensors.numpy
import torch
from gymnasium.spaces import Box

import rlsparse
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.sparsity import DENSE
from rlsparse.run import policy_file
from rlsparse.run.recipe import Recipe
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.rules import Static
from rlsparse.trained import export, numpy_policy
from rlsparse.trained.export_formats import FORMS

SIZES = (4, 16, 12, 2)
LOW, HIGH = np.array([-1.0, 0.0], np.float32), np.array([2.0, 0.6], np.float32)


class Drift(gymnasium.Env):
    """Four numbers drift about; observations as float64, actions with ranges that are not symmetric."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    action_space = Box(LOW, HIGH, dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.standard_normal(4)
        return self.state.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.state += 0.1 * self.np_random.standard_normal(4)
        return self.state.copy(), 0.0, False, False, {}


@pytest.fixture
def env(register):
    gymnasium.register("Drift-v0", Drift, max_episode_steps=50, disable_env_checker=True)
    yield "Drift-v0"
    del gymnasium.registry["Drift-v0"]


@pytest.fixture
def trained(env, tmp_path):
    """Write a run of seeds 3 and 4, dense or sparse; `change` may spoil its parameters. Returns its directory."""

    def save(sparsity=0.8, change=lambda learner: None, **hidden):
        hidden = ActorCritic(SIZES[1:-1], (3,), **hidden)
        sparse = Sparse(sparsity, rule=Static()) if sparsity else DENSE
        learner = Learner(hidden, SIZES[0], SIZES[-1], [3, 4], sparse=sparse)
        rng = np.random.default_rng(5)
        learner.params *= rng.uniform(1.0, 2.0, learner.params.shape).astype(np.float32)
        learner.layout.view(learner.params, learner.layout.slots[5])[...] = 0.3  # bias of the actions
        learner.obs_moments.update(rng.standard_normal((2, 100, 4)) * [1.0, 5.0, 0.1, 1.0] + [0.0, 3.0, 7.0, -1.0])
        change(learner)
        folder = tmp_path / "run"
        folder.mkdir()
        policy_file.save(folder / "policy.safetensors", Recipe(env, seed=3, num_seeds=2, policy=hidden), learner)
        return folder

    return save


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        export.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def fails(capsys):
    """The one line and the exit code that a command ends with."""

    def fail(*arguments):
        with pytest.raises(SystemExit) as stop:
            export.main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return stop.value.code, lines[0].removeprefix("rlsparse: ")

    return fail


def own_actions(folder, member, obs, hidden=np.tanh):
    """What the policy file says to do, written out here in float64."""
    arrays = safetensors.numpy.load_file(folder / "policy.safetensors")
    params, mean, inv_std = (arrays[name][member].astype(float) for name in ("params", "obs_mean", "obs_inv_std"))
    x, start = np.clip((obs - mean) * inv_std, -10, 10), 0
    for fan_in, fan_out in zip(SIZES, SIZES[1:], strict=False):
        stop = start + fan_in * fan_out
        x = x @ params[start:stop].reshape(fan_in, fan_out) + params[stop : stop + fan_out]
        x = hidden(x) if fan_out != SIZES[-1] else x
        start = stop + fan_out
    return np.clip(LOW + (x + 1) / 2 * (HIGH - LOW), LOW, HIGH)


OBS = np.random.default_rng(6).standard_normal((300, 4)) * [2.0, 10.0, 2.0, 2.0] + [0.0, 3.0, 7.0, -1.0]


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 0.97])
@pytest.mark.parametrize(("member", "flags"), [(0, []), (1, ["--seed", 4])])
def test_every_format_is_the_policy_of_its_seed(run, trained, tmp_path, sparsity, member, flags):
    pytest.importorskip("onnxruntime")
    folder, out = trained(sparsity), tmp_path / "new" / "out"
    run(folder, "--format", "numpy", "onnx", "--precision", "fp32", "--out", out, *flags)
    expected = own_actions(folder, member, OBS)
    for form in FORMS.values():
        actions = form.load(out / form.files[0])(OBS.astype(np.float32))
        np.testing.assert_allclose(actions, expected, rtol=0, atol=5e-6)
    assert {path.name for path in out.iterdir()} == {"policy.rlsp", "numpy_policy.py", "policy.onnx"}


def test_what_is_exported_of_a_policy_with_deviations_of_the_state_is_its_mean(run, trained, tmp_path):
    folder, out = trained(0.8, state_dependent_std=True), tmp_path / "out"
    run(folder, "--precision", "fp32", "--out", out)
    policy = rlsparse.load(folder)
    observations = OBS.astype(np.float32)
    np.testing.assert_allclose(numpy_policy.load(out / "policy.rlsp")(observations), policy(observations), atol=2e-5)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "elu", "relu", "silu"])
def test_every_format_has_the_hidden_units_of_the_policy(run, trained, tmp_path, activation, normalised):
    pytest.importorskip("onnxruntime")
    folder, out = trained(0.95, activation=activation, layer_normalisation=normalised), tmp_path / "out"
    run(folder, "--format", "numpy", "onnx", "--precision", "fp32", "--out", out)

    def hidden(x):
        x = torch.tensor(x)
        x = torch.nn.functional.layer_norm(x, x.shape[-1:]) if normalised else x
        return getattr(torch.nn.functional, activation)(x).numpy()

    expected = own_actions(folder, 0, OBS, hidden)
    for form in FORMS.values():
        actions = form.load(out / form.files[0])(OBS.astype(np.float32))
        np.testing.assert_allclose(actions, expected, rtol=0, atol=2e-5)


def test_half_precision_is_the_default_and_near(run, trained, tmp_path):
    folder = trained()
    result = json.loads(run(folder, "--out", tmp_path, "--json"))
    (written,) = result["written"]
    actions = numpy_policy.load(tmp_path / "policy.rlsp")(OBS)
    difference = np.abs(actions - own_actions(folder, 0, OBS)) / ((HIGH - LOW) / 2)
    assert 1e-6 < difference.max() < 1e-2
    assert written["weights"] == "fp16"
    assert 0 < written["error"] < 1e-2
    assert written["files"] == [str(tmp_path / "policy.rlsp"), str(tmp_path / "numpy_policy.py")]
    assert written["bytes"] == (tmp_path / "policy.rlsp").stat().st_size


def enlarge(learner):
    """Make a first weight larger than half precision knows."""
    learner.params[:, np.flatnonzero(learner.sparsity.masks.active[0])[0]] = 1e6


def steepen(learner):
    """Make actions change so fast that the digits of half precision are too few."""
    learner.layout.view(learner.params, learner.layout.slots[4])[...] *= 1e4


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (enlarge, "a weight is too large for fp16"),
        (steepen, r"with fp16 weights an action would differ by \d\.\de[+-]\d\d of half its range"),
    ],
)
def test_what_half_precision_is_too_little_for_is_written_in_single(run, trained, tmp_path, change, remark):
    folder = trained(change=change)
    text = run(folder, "--out", tmp_path / "a")
    assert re.search(f"numpy: {remark}", text)
    assert re.search(r"policy\.rlsp.* fp32 ", text)
    policy = numpy_policy.load(tmp_path / "a" / "policy.rlsp")
    np.testing.assert_allclose(policy(OBS), own_actions(folder, 0, OBS.astype(np.float32)), atol=2e-4)


def test_a_policy_that_float32_itself_rounds_badly_is_exported(run, trained, tmp_path):
    def cancel(learner):
        """Two units that are always 1 are added and subtracted in a great multiple."""
        _, (_, bias), (last, _) = learner.layout.layers(learner.params, "actor")
        bias[:, [0, 11]] = 30.0
        last[:, 0], last[:, 11] = 12345.0, -12345.0

    folder = trained(0.0, change=cancel)
    (written,) = json.loads(run(folder, "--out", tmp_path, "--json", "--precision", "fp32"))["written"]
    assert written["weights"] == "fp32"
    assert export.TOLERANCE["fp32"] < max(written["error"], written["random_error"])


def test_half_precision_is_written_where_it_is_asked_for(run, trained, tmp_path):
    text = run(trained(change=steepen), "--out", tmp_path / "a", "--precision", "fp16")
    assert re.search(r"policy\.rlsp.* fp16 ", text)


def test_half_precision_that_cannot_be_is_refused(fails, trained, tmp_path):
    folder = trained(change=enlarge)
    code, line = fails(folder, "--out", tmp_path / "b", "--precision", "fp16")
    assert (code, line) == (1, "numpy: a weight is too large for fp16: nothing was written")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("flags", [["--precision", "fp32"], ["--format", "onnx", "--precision", "fp16"]])
def test_weights_in_single_precision_that_act_otherwise_are_refused(fails, trained, tmp_path, monkeypatch, flags):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export, "TOLERANCE", {"fp16": 0.0, "fp32": 0.0})
    monkeypatch.setattr(export, "ROUNDING", 0.0)
    code, line = fails(trained(), "--out", tmp_path / "out", *flags)
    assert code == 1
    assert re.search("with fp32 weights an action would differ by .* of half its range: nothing was written", line)
    assert not (tmp_path / "out").exists()


def test_the_account_counts_what_is_left(run, trained, tmp_path):
    def cut(learner):
        """The third observation unread, two units of the first layer constant and one of the second unread."""
        for member in range(2):
            (first, _), (second, _), (last, _) = learner.layout.layers(learner.params[member], "actor")
            for weight in (first, second, last):
                weight[...] = 0.5
            first[2] = 0
            first[:, :2] = 0
            last[7] = 0

    result = json.loads(run(trained(0.0, cut), "--out", tmp_path, "--json"))
    assert result["observations_read"] == [0, 1, 3]
    assert result["widths"] == list(SIZES)
    assert result["widths_left"] == [3, 14, 11, 2]
    assert result["weights"] == 3 * 14 + 16 * 12 + 11 * 2
    assert result["weights_left"] == 3 * 14 + 14 * 11 + 11 * 2
    assert result["dense_bytes"] == 4 * (4 * 16 + 16 * 12 + 12 * 2 + 16 + 12 + 2)
    text = run(tmp_path / "run", "--out", tmp_path / "again")
    assert "policy of seed 3 (of seeds 3 to 4; --seed chooses) on Drift-v0" in text
    assert "reads 3 of 4 observations, not 2; 3 of 28 hidden units were dead" in text
    about = numpy_policy.load(tmp_path / "policy.rlsp").about
    assert (about["env"], about["seed"], about["source"]) == ("Drift-v0", 3, str(tmp_path / "run"))
    assert (about["weights"], about["weights_if_dense"]) == (result["weights"], 280)


def test_a_shipped_card_is_exported(run, tmp_path):
    result = json.loads(run("ppo", "--env", "Hopper", "--out", tmp_path, "--json"))
    assert (result["env"], result["widths"]) == ("Hopper-v5", [11, 64, 64, 3])
    assert result["written"][0]["error"] < 2e-3


def test_no_file_is_replaced(run, fails, trained, tmp_path):
    pytest.importorskip("onnxruntime")
    folder, out = trained(), tmp_path / "out"
    out.mkdir()
    (out / "numpy_policy.py").write_text("mine")
    code, line = fails(folder, "--out", out, "--format", "onnx", "numpy")
    assert (code, line) == (2, f"{out / 'numpy_policy.py'} exists already: name a new --out, or remove it")
    assert [path.name for path in out.iterdir()] == ["numpy_policy.py"]
    run(folder, "--out", out, "--format", "onnx")
    assert (out / "numpy_policy.py").read_text() == "mine"


def test_a_policy_with_a_number_that_is_not_finite_is_refused(fails, trained, tmp_path):
    def spoil(learner):
        learner.params[:, learner.layout.slots[1].start] = np.nan

    code, line = fails(trained(change=spoil), "--out", tmp_path / "out")
    assert (code, "not finite" in line) == (5, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--format", "onxx"], 2, "--format onxx: expected one of numpy, onnx"),
        (["--format"], 2, "--format needs a value: one or more of numpy, onnx"),
        (["--precision", "fp8"], 2, "--precision fp8: expected one of auto, fp16, fp32"),
        (["--seed", "9"], 2, "--seed 9: .*policy.safetensors holds seeds 3 to 4"),
        (["--env", "Hopper"], 2, "Hopper-v5 has 11 observations and 3 actions, but the policy, trained on Drift-v0"),
        (["--out", "taken"], 2, "--out taken is a file: expected a folder"),
        (["--out", "taken/under"], 6, "cannot write in .*taken"),
        (["--oot", "x"], 2, r"unknown flag --oot: did you mean --out\?"),
    ],
)
def test_bad_flags(fails, trained, tmp_path, monkeypatch, flags, code, message):
    folder = trained()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    got, line = fails(folder, *flags)
    assert got == code
    assert re.search(message, line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "taken"]


def test_onnx_without_its_packages_is_one_line(fails, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    code, line = fails("ppo", "--env", "Hopper", "--format", "onnx")
    assert (code, line) == (2, "--format onnx needs onnx and onnxruntime: pip install 'rlsparse[onnx]'")
