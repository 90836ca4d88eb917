"""Write pictures of an environment to .mp4 or .gif, on machines without a display too."""

import contextlib
import ctypes.util
import difflib
import importlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rlsparse.errors import EnvironmentFailure, StorageError, UsageError
from rlsparse.run.storage import storage_errors, sync_directory

if TYPE_CHECKING:  # imported once MUJOCO_GL is chosen and the command line is known to be good
    import gymnasium
    import numpy as np

SUFFIXES = (".mp4", ".gif")
MAX_FPS = {".mp4": 60.0, ".gif": 20.0}
GIF_WIDTH = 300
"""Wider pictures are scaled down to this many pixels."""

RENDERERS = {"egl": "EGL", "osmesa": "OSMesa"}
"""MuJoCo's ways to draw without a display, and the shared library of each."""
PACKAGES = "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, or libosmesa6"


def check_path(path: Path) -> None:
    """Raise UsageError unless a video can be written at `path`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = difflib.get_close_matches(suffix, SUFFIXES, 1, cutoff=0.5)
        hint = f": did you mean {path.with_suffix(near[0])}?" if near else ""
        raise UsageError(f"--video {path} should end in .mp4 or .gif{hint}")
    if path.is_dir():
        raise UsageError(f"--video {path} is a folder: expected a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--video {path}: there is no folder {path.parent}")
    if suffix == ".mp4":
        _ffmpeg()


def choose_renderer() -> None:
    """Set MUJOCO_GL, where it is not and there is no display, to a way of drawing that works, if there is one.

    To be called before mujoco is imported, which reads it. Raises EnvironmentFailure if mujoco then refuses it.
    """
    if not os.environ.get("MUJOCO_GL") and not _has_display():
        found = [name for name, library in RENDERERS.items() if ctypes.util.find_library(library)]
        if found:
            # libEGL without a driver is common; only a second choice makes it worth asking a process of its own
            os.environ["MUJOCO_GL"] = found[0] if len(found) == 1 or _draws(found[0]) else found[1]
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        raise _cannot_draw(os.environ.get("MUJOCO_GL", ""), error) from error


def prepare(env: "gymnasium.Env") -> None:
    """Make drawing a MuJoCo environment possible, and fast in software; leave any other one as it is.

    Raises EnvironmentFailure, naming the missing Debian packages, if nothing can draw here.
    """
    model = getattr(env.unwrapped, "model", None)
    if not hasattr(env.unwrapped, "mujoco_renderer") or model is None:
        return
    renderer = os.environ.get("MUJOCO_GL", "")
    if renderer in RENDERERS:
        _try_renderer(renderer)
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


class Writer(Protocol):
    """Takes every `stride`-th picture of an episode, so that the video keeps the real speed."""

    stride: int

    def add(self, frame: "np.ndarray") -> None:
        """Append a picture [H, W, 3] uint8, always of the same size."""

    def close(self) -> None:
        """Complete the file; raises StorageError if that fails."""

    def abort(self) -> None:
        """Let go of the file, which is of no use."""


@contextmanager
def open_video(path: Path, fps: float) -> Iterator[Writer]:
    """Write a video of an environment with `fps` steps a second; it appears at `path` when it is whole.

    Until then, and for good if anything fails, what was at `path` stays. Raises StorageError.
    """
    suffix = path.suffix.lower()
    beside = path.with_name(f".{path.stem}.tmp{suffix}")
    stride = max(1, math.ceil(fps / MAX_FPS[suffix]))
    writer: Writer
    try:
        writer = (_Gif if suffix == ".gif" else _Mp4)(path, beside, fps / stride, stride)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.abort()
            raise
        with storage_errors(path):
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
            sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


class _Mp4:
    """H.264 through a pipe to ffmpeg."""

    def __init__(self, path: Path, beside: Path, rate: float, stride: int) -> None:
        self.stride = stride
        self._path, self._beside, self._rate = path, beside, rate
        self._ffmpeg: subprocess.Popen[bytes] | None = None

    def add(self, frame: "np.ndarray") -> None:
        if self._ffmpeg is None:
            self._ffmpeg = self._start(frame.shape[1], frame.shape[0])
        assert self._ffmpeg.stdin is not None
        try:
            self._ffmpeg.stdin.write(frame.tobytes())
        except BrokenPipeError:
            self.close()

    def close(self) -> None:
        if self._ffmpeg is None:
            raise StorageError(f"cannot write {self._path}: there are no pictures")
        _, complaints = self._ffmpeg.communicate()
        if self._ffmpeg.returncode:
            lines = complaints.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit status {self._ffmpeg.returncode}"
            raise StorageError(f"cannot write {self._path}: ffmpeg: {reason}")

    def abort(self) -> None:
        if self._ffmpeg is not None and self._ffmpeg.poll() is None:
            self._ffmpeg.kill()
            self._ffmpeg.communicate()

    def _start(self, width: int, height: int) -> "subprocess.Popen[bytes]":
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{self._rate:.6f}", "-i", "-"]
        # most players want colours at half the resolution, hence even sizes
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
        coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        command = [_ffmpeg(), "-y", "-loglevel", "error", *raw, *even, *coded, f"file:{self._beside}"]
        with storage_errors(self._path):
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us to handle
            )


class _Gif:
    """One picture at a time, each with its own 64 colours; Pillow's own writer would hold all of them."""

    def __init__(self, path: Path, beside: Path, rate: float, stride: int) -> None:
        self.stride = stride
        self._path, self._rate = path, rate
        self._frames = 0
        with storage_errors(path):
            self._file = open(beside, "wb")  # noqa: SIM115 - open as long as the writer is

    def add(self, frame: "np.ndarray") -> None:
        from PIL import GifImagePlugin, Image

        image = Image.fromarray(frame)
        if image.width > GIF_WIDTH:
            image = image.resize((GIF_WIDTH, round(image.height * GIF_WIDTH / image.width)), Image.Resampling.BOX)
        image = image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        with storage_errors(self._path):
            if self._frames == 0:
                self._file.writelines(GifImagePlugin.getheader(image.copy(), info={"loop": 0})[0])
            # a GIF counts hundredths of a second: rounding the times, not the durations, keeps the speed
            start, end = (round(100 * count / self._rate) for count in (self._frames, self._frames + 1))
            self._file.writelines(GifImagePlugin.getdata(image, duration=10 * (end - start), include_color_table=True))
        self._frames += 1

    def close(self) -> None:
        if self._frames == 0:
            raise StorageError(f"cannot write {self._path}: there are no pictures")
        with storage_errors(self._path):
            self._file.write(b";")
            self._file.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            "writing .mp4 needs imageio-ffmpeg: pip install 'rlsparse[video]', or write a .gif, which works without"
        ) from error


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or sys.platform != "linux"


def _draws(renderer: str) -> bool:
    """Whether MuJoCo can draw with it; asked in a process of its own, for one process cannot change over."""
    code = f"from mujoco.{renderer} import GLContext; GLContext(8, 8).make_current()"
    environment = {**os.environ, "MUJOCO_GL": renderer}
    try:
        answer = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, timeout=60)
    except subprocess.SubprocessError:
        return False
    return answer.returncode == 0


def _try_renderer(renderer: str) -> None:
    try:
        context = importlib.import_module(f"mujoco.{renderer}").GLContext(8, 8)
        context.make_current()
        context.free()
    except Exception as error:
        raise _cannot_draw(renderer, error) from error


def _cannot_draw(renderer: str, error: Exception) -> EnvironmentFailure:
    message = " ".join(str(error).split())[:200]
    return EnvironmentFailure(f"MuJoCo cannot draw with MUJOCO_GL={renderer} ({message}): {PACKAGES}")
