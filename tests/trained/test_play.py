"""`rlsparse play`: a small trained population against rollouts of the same networks written out here."""

import json
import math
import os
import re
import shlex
import shutil
import signal

import gymnasium
import numpy as np
import pytest
import safetensors.numpy
from gymnasium.spaces import Box
from PIL import Image

from rlsparse import sim, train
from rlsparse.errors import DivergenceError
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import ActorCritic
from rlsparse.learner.streams import env_seeds
from rlsparse.run import policy_file
from rlsparse.run.recipe import Recipe
from rlsparse.sim import episodes as evaluate
from rlsparse.trained import play
from rlsparse.trained.policy import run_episode

HIDDEN = 8
SIZES = (2, HIDDEN, HIDDEN, 1)


class Pull(gymnasium.Env):
    """Pull a weight towards 0: observes (position, speed), an action from -1 to 3, of which 1 does nothing."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1.0, 3.0, (1,), np.float32)

    def __init__(self, render_mode=None, endless=False, broken_at=None, exits=False):
        self.render_mode, self.endless, self.broken_at, self.exits = render_mode, endless, broken_at, exits

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        self.steps = 0
        return self.state.astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.broken_at:
            raise SystemExit(7) if self.exits else RuntimeError("the rope\nis torn")
        position, speed = self.state
        speed = speed + 0.2 * (float(action[0]) - 1)
        self.state = np.array([position + 0.2 * speed, speed])
        out = abs(self.state[0]) > 2 and not self.endless
        return self.state.astype(np.float32), 1.0 - self.state[0] ** 2, bool(out), False, {}

    def render(self):
        frame = np.zeros((30, 50, 3), np.uint8)
        frame[:, int(np.clip(25 + 10 * self.state[0], 0, 49))] = 255
        return frame


VARIANTS = {
    "Pull-v0": {"max_episode_steps": 40},
    "PullOn-v0": {"kwargs": {"endless": True}},
    "PullTorn-v0": {"kwargs": {"broken_at": 5}},
    "PullExits-v0": {"kwargs": {"broken_at": 5, "exits": True}},
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    for env_id, options in VARIANTS.items():
        gymnasium.register(env_id, entry_point=Pull, disable_env_checker=True, **options)
    yield
    for env_id in VARIANTS:
        del gymnasium.registry[env_id]


@pytest.fixture(scope="module")
def run_dir(registered, tmp_path_factory):
    """A finished run of two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "pull"
    hidden = [text for net in ("actor", "critic") for text in (f"--policy.{net}-hidden", str(HIDDEN), str(HIDDEN))]
    small = shlex.split(
        "--num-envs 2 --rollout-length 64 --algorithm.minibatches 4 --algorithm.epochs 2 --eval-episodes 1"
    )
    budget = shlex.split("--env Pull-v0 --seed 3 --num-seeds 2 --total-steps 2000 --eval-every 1000 --quiet")
    train.main([*budget, *small, *hidden, "--run-dir", str(folder)])
    return folder


@pytest.fixture
def run(capsys):
    def run_command(*arguments):
        capsys.readouterr()
        play.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return run_command


def result_of(run, *arguments):
    return json.loads(run(*arguments, "--json"))


def rollout(policy_path, member, seed):
    """Return and length of a deterministic episode, through Gymnasium's own wrappers and a network of its own."""
    arrays = safetensors.numpy.load_file(policy_path)
    params, mean, inv_std = (arrays[name][member].astype(float) for name in ("params", "obs_mean", "obs_inv_std"))
    layers, start = [], 0
    for fan_in, fan_out in zip(SIZES, SIZES[1:], strict=False):
        weight = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += weight.size
        layers.append((weight, params[start : start + fan_out]))
        start += fan_out

    env = gymnasium.wrappers.ClipAction(gymnasium.wrappers.RescaleAction(gymnasium.make("Pull-v0"), -1, 1))
    obs, _ = env.reset(seed=seed)
    episode_return = 0.0
    for length in range(1, 41):
        x = np.clip((obs - mean) * inv_std, -10, 10)
        for i, (weight, bias) in enumerate(layers):
            x = x @ weight + bias
            x = np.tanh(x) if i < len(layers) - 1 else x
        obs, reward, terminated, truncated, _ = env.step(np.clip(x, -1, 1).astype(np.float32))
        episode_return += reward
        if terminated or truncated:
            return episode_return, length
    raise AssertionError("an episode of Pull-v0 ends after 40 steps")


@pytest.mark.parametrize(("member", "flags"), [(0, []), (1, ["--seed", 4])])
def test_returns_are_those_of_an_independent_rollout(run, run_dir, member, flags):
    result = result_of(run, run_dir, "--episodes", 3, *flags)
    assert result["seed"] == 3 + member
    assert result["env"] == "Pull-v0"
    assert len(result["episodes"]) == 3
    for episode in result["episodes"]:
        expected = rollout(run_dir / "policy.safetensors", member, episode["seed"])
        assert (episode["episode_return"], episode["length"]) == (pytest.approx(expected[0], abs=1e-4), expected[1])
    returns = [episode["episode_return"] for episode in result["episodes"]]
    assert result["return_mean"] == pytest.approx(np.mean(returns))
    assert result["return_std"] == pytest.approx(np.std(returns))


def test_a_folder_of_runs_plays_the_newest(run, run_dir, capsys):
    expected = result_of(run, run_dir)
    play.main([str(run_dir.parent), "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out) == expected
    assert err.startswith(f"{run_dir.parent}: taking its newest run, {run_dir}\n")


def test_seeds_are_neither_those_of_training_nor_of_evaluation(run, run_dir):
    played = {episode["seed"] for episode in result_of(run, run_dir, "--episodes", 20)["episodes"]}
    assert len(played) == 20
    for purpose in ("train_env", "eval_env"):
        assert not played & {seed for member in (3, 4) for seed in env_seeds(member, purpose, 1000)}


def test_the_table_and_its_last_line(run, run_dir, tmp_path, capsys):
    path = tmp_path / "pull.gif"
    lines = run(run_dir, "--episodes", 2, "--video", path).splitlines()
    result = result_of(run, run_dir, "--episodes", 2)
    assert lines[0].split() == ["episode", "return", "steps"]
    for number, episode in enumerate(result["episodes"], 1):
        expected = [str(number), f"{episode['episode_return']:,.2f}", str(episode["length"])]
        assert lines[number].split() == expected
    assert lines[3].split()[:4] == ["mean", f"{result['return_mean']:,.2f}", "+-", f"{result['return_std']:,.2f}"]
    assert lines[4:] == [str(path)]


def test_the_member_that_plays_is_named(run_dir, capsys):
    play.main([str(run_dir), "--episodes", "1"])
    assert "policy of seed 3 (of seeds 3 to 4; --seed chooses)" in capsys.readouterr().err


def test_a_gif_has_every_third_step_at_50_steps_a_second(run, run_dir, tmp_path):
    path = tmp_path / "pull.gif"
    result = result_of(run, run_dir, "--episodes", 2, "--video", path)
    assert result["video"] == str(path)
    with Image.open(path) as gif:
        assert gif.n_frames == sum(1 + episode["length"] // 3 for episode in result["episodes"])


def test_an_mp4_has_every_step_at_50_steps_a_second(run, run_dir, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "pull.mp4"
    episodes = result_of(run, run_dir, "--episodes", 2, "--video", path)["episodes"]
    count = sum(1 + episode["length"] for episode in episodes)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (count, pytest.approx(count / 50, abs=0.03))


def test_a_video_is_of_one_episode_unless_more_are_asked_for(run, run_dir, tmp_path):
    assert len(result_of(run, run_dir, "--video", tmp_path / "pull.gif")["episodes"]) == 1
    assert len(result_of(run, run_dir)["episodes"]) == 5


@pytest.mark.parametrize("live", [True, False])
def test_on_a_terminal_it_is_told_how_far_an_episode_is_filmed(live, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: live)
    play.main([str(run_dir), "--video", str(tmp_path / "pull.gif"), "--episodes", "2"])
    drawn = capsys.readouterr().err.split("\r\x1b[2K")[1:]
    assert [text for text in drawn if text.endswith("episode 2: 0 steps")] == ["filming episode 2: 0 steps"] * live
    assert drawn[-1:] == [""] * live


def test_a_video_changes_no_return(run, run_dir, tmp_path):
    watched = result_of(run, run_dir, "--video", tmp_path / "pull.gif", "--episodes", 5)
    assert watched["episodes"] == result_of(run, run_dir)["episodes"]


def test_an_endless_environment_is_stopped_at_the_cap(run, run_dir, monkeypatch):
    assert evaluate.STEP_CAP == 10_000
    monkeypatch.setattr(evaluate, "STEP_CAP", 57)
    episodes = result_of(run, run_dir, "--env", "PullOn-v0", "--episodes", 2)["episodes"]
    assert [episode["length"] for episode in episodes] == [57, 57]


@pytest.fixture
def cheetah_policy(tmp_path):
    """The file of an untrained policy for HalfCheetah-v5."""
    path = tmp_path / "policy.safetensors"
    policy_file.save(path, Recipe("HalfCheetah-v5", seed=7), Learner(ActorCritic(), 17, 6, [7]))
    return path


def test_mujoco_episodes_are_those_of_the_batched_simulator(run, cheetah_policy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (episode,) = result_of(run, cheetah_policy, "--episodes", 1)["episodes"]
    scores = evaluate.evaluate(
        sim.make("HalfCheetah-v5", 1, autoreset=False), Learner(ActorCritic(), 17, 6, [7]).actors(), [episode["seed"]]
    )
    assert episode["length"] == scores.lengths[0, 0] == 1000
    assert episode["episode_return"] == pytest.approx(scores.returns[0, 0], abs=1e-9)
    assert list(tmp_path.iterdir()) == [cheetah_policy], "no MUJOCO_LOG.TXT, nothing else"


@pytest.fixture
def card(run_dir, tmp_path):
    """An agent card with a trained policy for each of the given environments."""

    def make(*env_ids):
        folder = tmp_path / "puller"
        for env_id in env_ids:
            (folder / env_id).mkdir(parents=True)
            shutil.copy(run_dir / "policy.safetensors", folder / env_id)
        folder.mkdir(exist_ok=True)
        (folder / "card.toml").write_text('name = "puller"\ndescription = "It pulls."\n')
        return folder

    return make


def test_a_card_with_one_policy_plays_it(run, run_dir, card):
    assert result_of(run, card("Pull-v0"))["episodes"] == result_of(run, run_dir)["episodes"]


def test_a_card_with_several_policies_plays_that_of_env(run, card):
    folder = card("Pull-v0", "Hopper-v5")
    result = result_of(run, folder, "--env", "pull-v0", "--episodes", 1)
    assert (result["env"], result["policy"]) == ("Pull-v0", str(folder / "Pull-v0" / "policy.safetensors"))


@pytest.fixture
def fails(capsys):
    """The one line and the exit code that a command ends with."""

    def fail(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            play.main([str(argument) for argument in arguments])
        lines = [line for line in capsys.readouterr().err.splitlines() if ", policy of seed " not in line]
        assert len(lines) == 1, lines
        return stop.value.code, lines[0].removeprefix("rlsparse: ")

    return fail


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--episodes", "0"], 2, "--episodes is 0: expected a positive whole number"),
        (["--episodes", "two"], 2, "--episodes"),
        (["--vidoe", "a.gif"], 2, r"unknown flag --vidoe: did you mean --video\?"),
        (["--video", "a.avi"], 2, "--video a.avi should end in .mp4 or .gif"),
        (["--video", "nowhere/a.gif"], 2, "there is no folder nowhere"),
        (["--seed", "9"], 2, "--seed 9: .*policy.safetensors holds seeds 3 to 4"),
        (["--env", "HalfCheeta"], 2, "did you mean HalfCheetah-v5"),
        (
            ["--env", "Hopper"],
            2,
            "Hopper-v5 has 11 observations and 3 actions, but the policy, trained on Pull-v0, has 2",
        ),
        (["--env", "CartPole-v1"], 2, "CartPole-v1 has the action space Discrete"),
        (["--env", "PullTorn-v0"], 3, "PullTorn-v0 failed with RuntimeError: the rope is torn"),
        (["--env", "PullExits-v0"], 3, "PullExits-v0 failed with SystemExit: 7"),
    ],
)
def test_bad_flags(fails, run_dir, flags, code, message):
    got, line = fails(run_dir, *flags)
    assert got == code
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("ppoo", 2, r"unknown agent 'ppoo': did you mean ppo\?"),
        ("runs/absent", 4, "there is no run directory runs/absent"),
        ("empty", 4, "empty is neither a run directory, which has a policy.safetensors, nor an agent card"),
        ("begun", 4, "begun has no policy.safetensors yet"),
        ("damaged", 4, "damaged/policy.safetensors is not a policy file, or is damaged"),
        ("notes.txt", 4, "notes.txt is neither a run directory, which has a policy.safetensors, nor an agent card"),
    ],
)
def test_what_is_no_run_and_no_card(fails, run_dir, tmp_path, monkeypatch, name, code, message):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "begun", "damaged"):
        (tmp_path / folder).mkdir()
    shutil.copy(run_dir / "recipe.toml", tmp_path / "begun")
    (tmp_path / "damaged" / "policy.safetensors").write_bytes((run_dir / "policy.safetensors").read_bytes()[:-4])
    (tmp_path / "notes.txt").touch()
    got, line = fails(name)
    assert got == code
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("trained", "flags", "message"),
    [
        ([], [], "the agent puller ships no trained policy: name a run directory"),
        (["Pull-v0", "Ant-v5"], [], "several trained policies: add --env, one of Ant-v5, Pull-v0"),
        (["Pull-v0", "Ant-v5"], ["--env", "Hopper"], "no trained policy for Hopper-v5, only for Ant-v5, Pull-v0"),
    ],
)
def test_cards_without_the_policy(fails, card, trained, flags, message):
    code, line = fails(card(*trained), *flags)
    assert code == 2
    assert re.search(message, line)


def test_a_video_that_fails_keeps_the_old_one(fails, run_dir, tmp_path):
    path = tmp_path / "pull.gif"
    path.write_bytes(b"old")
    assert fails(run_dir, "--env", "PullTorn-v0", "--video", path)[0] == 3
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_environment_that_draws_nothing_is_named(fails, run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(Pull, "render", lambda self: None)
    code, line = fails(run_dir, "--video", tmp_path / "pull.gif")
    assert (code, line[:26]) == (3, "Pull-v0 cannot be drawn: i")
    assert list(tmp_path.iterdir()) == []


def test_an_action_that_is_not_finite_stops_the_episode(run_dir):
    actors = policy_file.load(run_dir / "policy.safetensors").actors
    actors.params[1] = math.nan
    env = gymnasium.make("Pull-v0")
    run_episode(env, actors.only(0), 1)
    with pytest.raises(DivergenceError, match="not finite at step 0 of the episode with seed 1"):
        run_episode(env, actors.only(1), 1)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize(("number", "says"), [(signal.SIGINT, "rlsparse: stopped\n"), (signal.SIGTERM, "")])
def test_signals_end_quietly_and_leave_no_half_video(run_dir, tmp_path, monkeypatch, capsys, suffix, number, says):
    step = Pull.step

    def step_and_stop(self, action):
        if self.steps == 9:
            os.kill(os.getpid(), number)
        return step(self, action)

    monkeypatch.setattr(Pull, "step", step_and_stop)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        play.main([str(run_dir), "--video", str(tmp_path / f"pull{suffix}")])
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err.partition("1 episode\n")[2] == says
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
