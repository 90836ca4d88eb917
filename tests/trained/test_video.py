"""Video files: what a decoder finds in them, what survives a failure, and how MuJoCo is made to draw."""

import ctypes.util
import itertools
import os
import resource
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image, ImageSequence

from rlsparse.errors import EnvironmentFailure, StorageError, UsageError
from rlsparse.sim.cpu import route_warnings
from rlsparse.trained import play, video


def pictures(count, height=40, width=60):
    """A white square on blue that moves one pixel to the right with each picture."""
    for i in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 2] = 200
        frame[10:20, i : i + 10] = 255
        yield frame


def write(path, frames, rate):
    with video.open_video(path, rate) as add:
        for frame in frames:
            add(frame)


def test_a_gif_shows_every_picture_at_its_time(tmp_path):
    path = tmp_path / "square.gif"
    write(path, pictures(7), rate=15)
    with Image.open(path) as gif:
        decoded = [frame.convert("RGB") for frame in ImageSequence.Iterator(gif)]
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert gif.info["loop"] == 0
    # 15 pictures a second are 66.67 ms each, and a GIF counts tens
    assert [sum(durations[:i]) for i in range(1, 8)] == [70, 130, 200, 270, 330, 400, 470]
    for frame, expected in zip(decoded, pictures(7), strict=True):
        np.testing.assert_allclose(np.asarray(frame, float), expected, atol=8)


def test_a_gif_is_scaled_to_300_pixels(tmp_path):
    path = tmp_path / "wide.gif"
    write(path, pictures(1, height=400, width=600), rate=20)
    with Image.open(path) as gif:
        assert gif.size == (300, 200)


@pytest.mark.parametrize(
    ("suffix", "fps", "stride"),
    [(".gif", 20, 1), (".gif", 125, 7), (".gif", 5, 1), (".MP4", 60, 1), (".mp4", 125, 3), (".mp4", 20, 1)],
)
def test_steps_are_left_out_above_20_pictures_a_second_in_a_gif_and_60_in_an_mp4(suffix, fps, stride):
    assert video.stride_of(Path(f"x{suffix}"), fps) == stride


# an odd size, which H.264 pads by a pixel
@pytest.mark.parametrize("size", [(40, 60), (41, 61)])
def test_an_mp4_plays_as_long_as_the_pictures_take(tmp_path, size):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "square.mp4"
    write(path, pictures(25, *size), rate=125 / 3)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (25, pytest.approx(0.6, abs=0.03))
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    assert (height, width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    first = np.frombuffer(next(reader), np.uint8).reshape(height, width, 3)[: size[0], : size[1]]
    reader.close()
    assert np.abs(first.astype(float) - next(pictures(1, *size))).mean() < 10


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize("error", [EnvironmentFailure, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path, suffix, error):
    path = tmp_path / f"square{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(error), video.open_video(path, 20) as add:
        for frame in pictures(3):
            add(frame)
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("count", [1, 3000])
def test_a_failure_of_ffmpeg_is_a_storage_error(tmp_path, capfd, count):
    """Whether it shows at a picture or only at the end."""
    pytest.importorskip("imageio_ffmpeg")
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(StorageError, match=r"^cannot write .*x\.mp4: ffmpeg failed after \d+ pictures"),
        video.open_video(folder / "x.mp4", 20) as add,
    ):
        folder.rmdir()
        for frame in itertools.islice(itertools.cycle(pictures(10)), count):
            add(frame)
    assert capfd.readouterr().err == "", "the error is the only line"


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_full_disk_is_a_storage_error_that_keeps_the_old_file(tmp_path, suffix):
    pytest.importorskip("imageio_ffmpeg")
    path, rng = tmp_path / f"noise{suffix}", np.random.default_rng(0)
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"^cannot write {path}: "):
            write(path, (rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(300)), rate=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_mp4_that_is_not_whole_does_not_replace_the_old_one(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def write_part(target, *_, **options):
        """End as ffmpeg does where the disk is full."""
        try:
            while True:
                yield
        finally:
            Path(target.removeprefix("file:")).write_bytes(b"part of a video")

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", write_part)
    path = tmp_path / "square.mp4"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="ffmpeg failed after 3 pictures; is the disk full?"):
        write(path, pictures(3), rate=20)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.mpg", r"should end in .mp4 or .gif: did you mean .*out\.mp4\?"),
        ("out.giff", r"should end in .mp4 or .gif: did you mean .*out\.gif\?"),
        ("out", r"should end in .mp4 or .gif$"),
        ("nowhere/out.gif", "there is no folder .*nowhere$"),
        ("taken.gif", "is a folder"),
    ],
)
def test_a_bad_path_is_refused(tmp_path, name, message):
    (tmp_path / "taken.gif").mkdir()
    with pytest.raises(UsageError, match=message):
        video.check_path(tmp_path / name)


def test_without_imageio_ffmpeg_an_mp4_is_refused_and_a_gif_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"pip install 'rlsparse\[video\]', or write a .gif"):
        video.check_path(tmp_path / "out.mp4")
    video.check_path(tmp_path / "out.gif")


@pytest.fixture
def headless(monkeypatch):
    """No display, MUJOCO_GL unset, and only the given shared libraries."""
    monkeypatch.setattr(video, "_fault", video._fault.__wrapped__)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MUJOCO_GL", "")

    def have(*libraries):
        monkeypatch.setattr(ctypes.util, "find_library", lambda name: name if name in libraries else None)

    return have


@pytest.mark.parametrize(
    ("libraries", "egl_works", "chosen"),
    [
        (["EGL", "OSMesa"], True, "egl"),
        (["EGL", "OSMesa"], False, "osmesa"),
        (["EGL"], True, "egl"),
        (["OSMesa"], False, "osmesa"),
        ([], False, ""),
    ],
)
def test_the_renderer_is_egl_then_osmesa(headless, monkeypatch, libraries, egl_works, chosen):
    headless(*libraries)
    answer = subprocess.CompletedProcess([], 0 if egl_works else 1, stderr="ImportError: no driver")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: answer)
    video.choose_renderer()
    assert os.environ["MUJOCO_GL"] == chosen


def test_the_users_choice_of_renderer_stays(headless, monkeypatch):
    headless("EGL")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    video.choose_renderer()
    assert os.environ["MUJOCO_GL"] == "osmesa"


def test_a_display_needs_no_choice(headless, monkeypatch):
    headless("EGL")
    monkeypatch.setenv("DISPLAY", ":0")
    video.choose_renderer()
    assert os.environ["MUJOCO_GL"] == ""


@pytest.fixture
def cheetah():
    route_warnings()
    env = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array")
    yield env
    env.close()


def test_where_nothing_can_draw_the_debian_packages_are_named(headless, cheetah):
    headless()
    video.choose_renderer()
    with pytest.raises(EnvironmentFailure) as failure:
        video.prepare(cheetah)
    assert "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 3


def test_a_renderer_that_does_not_work_names_the_debian_packages(headless, cheetah, monkeypatch, tmp_path):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", str(tmp_path))  # libEGL finds no driver there
    with pytest.raises(EnvironmentFailure, match="MUJOCO_GL=egl .*: apt-get install libegl1"):
        video.prepare(cheetah)


@pytest.mark.parametrize("renderer", ["nonsense", "osmesa"])
def test_a_renderer_that_mujoco_refuses_is_one_line(renderer):
    if renderer == "osmesa" and ctypes.util.find_library("OSMesa"):
        pytest.skip("libosmesa6 is there")
    code = (
        "from rlsparse.trained import play; play.find_policy = lambda *names: (None, None); "
        "play.main(['ppo', '--video', 'out.gif'])"
    )
    environment = {**os.environ, "MUJOCO_GL": renderer}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith(f"rlsparse: MuJoCo cannot draw with MUJOCO_GL={renderer} (")
    assert done.stderr.endswith("): apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6\n")


def test_the_renderer_is_chosen_before_the_file_of_an_environment_is_imported(monkeypatch):
    called = []

    def find(*_):
        called.append("import")
        raise UsageError("enough")

    monkeypatch.setattr(video, "choose_renderer", lambda: called.append("renderer"))
    monkeypatch.setattr(play, "find_policy", find)
    with pytest.raises(UsageError, match="enough"):
        play.run_command(["run", "--env", "arm.py:Arm", "--video", "arm.gif"])
    assert called == ["renderer", "import"]


def robot_pixels(frame):
    """The robot is the one thing in the picture that is not grey."""
    coloured = np.ptp(frame.astype(int), axis=2) > 30
    return np.argwhere(coloured)


@pytest.mark.skipif(not ctypes.util.find_library("EGL"), reason="needs libegl1")
def test_the_cheetah_stays_upright_in_the_picture_however_far_it_runs(cheetah, monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    video.prepare(cheetah)
    cheetah.reset(seed=0)
    start = robot_pixels(video.picture(cheetah))
    assert len(start) > 500

    task = cheetah.unwrapped
    task.data.qpos[0] += 30
    mujoco.mj_forward(task.model, task.data)
    far = robot_pixels(video.picture(cheetah))
    assert abs(far.mean(0) - start.mean(0)).max() < 30

    # the left of the picture is the back of the robot, the top is up: lifted, it is drawn higher
    task.data.qpos[1] += 0.5
    mujoco.mj_forward(task.model, task.data)
    assert robot_pixels(video.picture(cheetah)).mean(0)[0] < far.mean(0)[0] - 20


def test_drawing_fast_leaves_the_physics_alone(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("MUJOCO_GL", "")
    route_warnings()
    returns = []
    for prepared in (False, True):
        env = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array")
        if prepared:
            video.prepare(env)
            assert not env.unwrapped.model.light_castshadow.any()
        env.reset(seed=3)
        env.action_space.seed(4)
        returns.append([env.step(env.action_space.sample())[1] for _ in range(50)])
        env.close()
    assert returns[0] == returns[1]


class Blank(gymnasium.Env):
    """Draws what it is told to."""

    spec = None

    def __init__(self, drawing):
        self.drawing = drawing

    def render(self):
        if isinstance(self.drawing, Exception):
            raise self.drawing
        return self.drawing


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (RuntimeError("no\n pygame"), "Blank cannot be drawn: RuntimeError: no pygame"),
        (np.zeros((4, 4)), r"its rgb_array is float64 of shape \(4, 4\)"),
        (None, "its rgb_array is object"),
    ],
)
def test_an_environment_that_draws_no_picture_is_named(drawing, message):
    with pytest.raises(EnvironmentFailure, match=message):
        video.picture(Blank(drawing))
