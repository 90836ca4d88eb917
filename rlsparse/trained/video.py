"""Write pictures of an environment to .mp4 or .gif, on machines without a display too."""

import contextlib
import ctypes.util
import difflib
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rlsparse.errors import EnvironmentFailure, StorageError, UsageError
from rlsparse.run.storage import storage_errors, sync_directory

if TYPE_CHECKING:  # imported once MUJOCO_GL is chosen and the command line is known to be good
    import gymnasium
    import numpy as np

MAX_FPS = {".mp4": 60.0, ".gif": 20.0}
"""Most pictures a second, by the ending of the file's name."""
DEFAULT_FPS = 30.0
"""Of an environment that does not say how many of its steps make a second."""
GIF_WIDTH = 300
"""Wider pictures are scaled down to this many pixels."""

RENDERERS = {"egl": "EGL", "osmesa": "OSMesa"}
"""MuJoCo's ways to draw without a display, and the shared library of each."""
PACKAGES = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6"

AddPicture = Callable[["np.ndarray"], None]
"""Appends a picture [H, W, 3] uint8, always of the same size."""


def check_path(path: Path) -> None:
    """Raise UsageError unless a video can be written at `path`."""
    suffix = path.suffix.lower()
    if suffix not in MAX_FPS:
        near = difflib.get_close_matches(suffix, MAX_FPS, 1, cutoff=0.5)
        hint = f": did you mean {path.with_suffix(near[0])}?" if near else ""
        raise UsageError(f"--video {path} should end in .mp4 or .gif{hint}")
    if path.is_dir():
        raise UsageError(f"--video {path} is a folder: expected a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--video {path}: there is no folder {path.parent}")
    if suffix == ".mp4":
        try:
            importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        except (ImportError, RuntimeError) as error:
            without = "or write a .gif, which works without"
            raise UsageError(f"writing .mp4 needs imageio-ffmpeg: pip install 'rlsparse[video]', {without}") from error


def choose_renderer() -> None:
    """Set MUJOCO_GL, where it is not and there is no display, to a way of drawing that works, if there is one.

    To be called before mujoco is imported, which reads it. Raises EnvironmentFailure if mujoco then refuses it.
    """
    if not os.environ.get("MUJOCO_GL") and not _has_display():
        found = [name for name, library in RENDERERS.items() if ctypes.util.find_library(library)]
        if found:  # libEGL without a driver is common
            os.environ["MUJOCO_GL"] = next((name for name in found if _fault(name) is None), found[-1])
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        raise _cannot_draw(os.environ.get("MUJOCO_GL", ""), str(error)) from error


def prepare(env: "gymnasium.Env") -> None:
    """Make drawing a MuJoCo environment possible, and fast in software; leave any other one as it is.

    Raises EnvironmentFailure, naming the missing Debian packages, if nothing can draw here.
    """
    model = getattr(env.unwrapped, "model", None)
    if not hasattr(env.unwrapped, "mujoco_renderer") or model is None:
        return
    renderer = os.environ.get("MUJOCO_GL", "")
    if renderer in RENDERERS:
        if (fault := _fault(renderer)) is not None:
            raise _cannot_draw(renderer, fault)
    elif not _has_display():
        raise EnvironmentFailure(f"MuJoCo cannot draw without a display or a software renderer: {PACKAGES}")
    # in software these take 9/10 of the time; none of them is part of the physics
    model.light_castshadow[:] = False
    model.mat_reflectance[:] = 0.0
    model.vis.quality.offsamples = 0


def picture(env: "gymnasium.Env") -> "np.ndarray":
    """Draw the environment, [H, W, 3] uint8; raises EnvironmentFailure if it cannot be drawn."""
    import numpy as np

    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    _follow(env)
    try:
        frame = np.asarray(env.render())
    except Exception as error:
        message = " ".join(str(error).split())
        raise EnvironmentFailure(f"{name} cannot be drawn: {type(error).__name__}: {message}") from error
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise EnvironmentFailure(f"{name} cannot be drawn: its rgb_array is {frame.dtype} of shape {frame.shape}")
    return frame


def _follow(env: "gymnasium.Env") -> None:
    """Keep a robot that the model has a tracking camera for in the picture; Gymnasium's own camera stands still."""
    viewer = getattr(getattr(env.unwrapped, "mujoco_renderer", None), "viewer", None)
    if viewer is None:  # before the first picture, when the robot is where the camera looks
        return
    import mujoco

    model, data = env.unwrapped.model, env.unwrapped.data  # type: ignore[attr-defined]
    tracking = (model.cam_mode == mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM).nonzero()[0]
    if tracking.size:
        viewer.cam.lookat[:2] = data.subtree_com[model.cam_bodyid[tracking[0]]][:2]


@contextmanager
def filming(env: "gymnasium.Env", path: Path) -> Iterator[Callable[[int], None]]:
    """Write a video of `env` at its real speed; yields what to call with the number of steps made, after each of them.

    Raises EnvironmentFailure if the environment cannot be drawn, StorageError if the video cannot be written.
    """
    prepare(env)
    fps = float(env.metadata.get("render_fps") or DEFAULT_FPS)
    stride = stride_of(path, fps)
    with open_video(path, fps / stride) as add:

        def watch(step: int) -> None:
            if step % stride == 0:
                add(picture(env))

        yield watch


def stride_of(path: Path, fps: float) -> int:
    """Return of how many steps one is shown, where `fps` steps make a second."""
    return max(1, math.ceil(fps / MAX_FPS[path.suffix.lower()]))


@contextmanager
def open_video(path: Path, rate: float) -> Iterator[AddPicture]:
    """Write a video of `rate` pictures a second, which appears at `path` when it is whole; yields what adds a picture.

    Until then, and for good if anything fails, what was at `path` stays. Raises StorageError.
    """
    suffix = path.suffix.lower()
    beside = path.with_name(f".{path.stem}.tmp{suffix}")
    try:
        with (_gif if suffix == ".gif" else _mp4)(path, beside, rate) as add:
            yield add
        with storage_errors(path):
            with open(beside, "rb+") as file:  # Windows syncs no file that is only read
                os.fsync(file.fileno())
            os.replace(beside, path)
            sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def _gif(path: Path, beside: Path, rate: float) -> Iterator[AddPicture]:
    """Write one picture at a time, each with its own 64 colours; Pillow's own writer would hold all of them."""
    from PIL import GifImagePlugin, Image

    count = 0

    def add(frame: "np.ndarray") -> None:
        nonlocal count
        image = Image.fromarray(frame)
        if image.width > GIF_WIDTH:
            image = image.resize((GIF_WIDTH, round(image.height * GIF_WIDTH / image.width)), Image.Resampling.BOX)
        image = image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        # a GIF counts hundredths of a second: rounding the times, not the durations, keeps the speed
        start, end = round(100 * count / rate), round(100 * (count + 1) / rate)
        with storage_errors(path):
            if count == 0:
                file.writelines(GifImagePlugin.getheader(image.copy(), info={"loop": 0})[0])
            file.writelines(GifImagePlugin.getdata(image, duration=10 * (end - start), include_color_table=True))
        count += 1

    with storage_errors(path):
        file = open(beside, "wb")  # noqa: SIM115 - open as long as the writer is
    try:
        yield add
        with storage_errors(path):
            file.write(b";")
            file.close()
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextmanager
def _mp4(path: Path, beside: Path, rate: float) -> Iterator[AddPicture]:
    """Write H.264; then count the pictures in the file, for `write_frames` does not say whether ffmpeg failed."""
    import imageio_ffmpeg  # type: ignore[import-untyped]

    count, target = 0, f"file:{beside}"
    pictures: Generator[None, np.ndarray | None, None] | None = None

    def failed() -> StorageError:
        return StorageError(f"cannot write {path}: ffmpeg failed after {count} pictures; is the disk full?")

    def add(frame: "np.ndarray") -> None:
        nonlocal count, pictures
        if pictures is None:
            # most players want colours at half the resolution, hence even sizes
            output = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart"]
            options = {"quality": None, "macro_block_size": 1, "ffmpeg_log_level": "quiet", "output_params": output}
            size = frame.shape[1], frame.shape[0]
            pictures = imageio_ffmpeg.write_frames(target, size, fps=rate, codec="libx264", **options)
            pictures.send(None)
        try:
            pictures.send(frame.copy())  # in C order
        except OSError as error:
            raise failed() from error
        count += 1

    try:
        yield add
    finally:
        if pictures is not None:
            pictures.close()
    with contextlib.suppress(RuntimeError):  # raised for a file that is not a video
        if imageio_ffmpeg.count_frames_and_secs(target)[0] == count:
            return
    raise failed()


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or sys.platform != "linux"


@cache
def _fault(renderer: str) -> str | None:
    """Return why MuJoCo cannot draw with it; asked in a process of its own, for one process cannot change over."""
    code = f"from mujoco.{renderer} import GLContext; GLContext(8, 8).make_current()"
    environment = {**os.environ, "MUJOCO_GL": renderer}
    command = [sys.executable, "-P", "-c", code]
    try:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.SubprocessError as error:
        return str(error)
    return None if answer.returncode == 0 else answer.stderr.strip().rpartition("\n")[2].partition(": ")[2]


def _cannot_draw(renderer: str, fault: str) -> EnvironmentFailure:
    message = " ".join(fault.split())[:200]
    return EnvironmentFailure(f"MuJoCo cannot draw with MUJOCO_GL={renderer} ({message}): {PACKAGES}")
