"""Where a run computes: what the machine has, what was asked for, and why one or the other was taken."""

import ctypes
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.learner.kinds import kind_of
from rlsparse.learner.layout import Layout
from rlsparse.run import cards
from rlsparse.run.recipe import Recipe

TENSORS_ON_CPU = "cpu:0"
"""The CPU as torch names it: there MuJoCo Warp runs without a GPU, slowly; "cpu" alone means numpy's arrays."""

DRIVER = Path("/proc/driver/nvidia/version")
"""Where Linux shows NVIDIA's driver: to ask torch for a GPU takes seconds."""

MANY = 1024
"""Fewer environments than this leave a GPU idle; the CPU then is faster."""


ON_GPU = "-gpu"
"""How the card is called that trains as the card without it does, but in environments on a GPU."""


@dataclass(frozen=True)
class Machine:
    """The GPUs that torch can use, by name, or why there are none."""

    gpus: tuple[str, ...]
    why_none: str = ""


def look() -> Machine:
    """Ask torch what there is."""
    import torch

    if torch.version.cuda is None:
        return Machine((), f"torch {torch.__version__} is built without CUDA: install one from https://pytorch.org")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.cuda.init()
        except RuntimeError as error:
            return Machine((), _why_none(str(error), f"torch {torch.__version__}, built for CUDA {torch.version.cuda}"))
        return Machine(tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))


def _why_none(error: str, built: str) -> str:
    """Put what torch says into one line, and say what helps."""
    error = " ".join(error.split())
    if "no NVIDIA driver" in error:
        return f"{built}, finds no NVIDIA driver: install the driver of your GPU"
    if found := re.search(r"driver on your system is too old(?: \(found version (\d+)\))?", error):
        knows = f", which knows CUDA {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}," if found[1] else ""
        return f"the NVIDIA driver{knows} is too old for {built}: update it, or install torch for an older CUDA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f" with CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
    return f"{built}, can use no GPU{hidden}: {error}"


def check_name(device: str) -> None:
    """Raise UsageError unless the device has one of the names that --device takes."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")


def wants_gpu(chosen: Mapping[str, str]) -> bool:
    """Whether the command line, which says `chosen`, asks for environments on a GPU, in so far as there are any."""
    device, simulator = chosen.get("device", "auto"), chosen.get("simulator")
    return simulator == "warp" if device == "auto" else device.startswith("cuda") and simulator != "mujoco"


def gpu_variant(agent: str) -> str:
    """Return the agent's card for environments on a GPU, itself if there is none."""
    return agent + ON_GPU if agent + ON_GPU in cards.agents() else agent


def gpu_agent(recipe: Recipe) -> tuple[str, int] | None:
    """Return the card that trains this algorithm in environments on a GPU, and how many it has; None: there is none."""
    name = kind_of(type(recipe.algorithm)) + ON_GPU
    if recipe.env not in cards.environments() or name not in cards.agents():
        return None
    return name, cards.agent(name).recipe_for(recipe.env)["num_envs"]


def resolve(
    device: str, recipe: Recipe, gpu_agent: tuple[str, int] | None = None, machine: Machine | None = None
) -> tuple[str, str]:
    """Return the device that arrays live on, and a line that says why, or none where it is what anyone expects.

    `gpu_agent` is the card that would have its environments on a GPU, and how many, where there is one. Raises
    UsageError for a GPU that is not there; the `machine` is looked at only where it matters.
    """
    check_name(device)
    warp = recipe.simulator == "warp"
    if device == "cpu":
        return (TENSORS_ON_CPU, _slow("that is for trying things out")) if warp else ("cpu", "")
    if device == "auto" and not warp and (gpu_agent is None or not (machine or DRIVER.exists())):
        return "cpu", ""
    machine = machine or look()
    if device == "auto" and not warp:
        return "cpu", _idle(recipe, *gpu_agent) if gpu_agent and machine.gpus else ""
    if not machine.gpus:
        if device == "auto":
            return TENSORS_ON_CPU, _slow(machine.why_none)
        raise UsageError(f"--device {device}: {machine.why_none}; or use --device cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= len(machine.gpus):
        there = ", ".join(f"cuda:{i} ({name})" for i, name in enumerate(machine.gpus))
        raise UsageError(f"--device {device} is not there: expected one of {there}")
    name = f"cuda:{index} ({machine.gpus[index]})"
    if warp:
        return f"cuda:{index}", f"simulating and learning on {name}"
    both = f"; --agent {gpu_agent[0]} does both there" if gpu_agent else ""
    return f"cuda:{index}", f"simulating on the CPU, learning on {name}{both}"


def _slow(why: str) -> str:
    return f"simulating on the CPU, which takes long with MuJoCo Warp: {why}"


def _idle(recipe: Recipe, agent: str, num_envs: int) -> str:
    """What a GPU that is not used could do."""
    few = recipe.num_envs * recipe.num_seeds
    why = f"{few:,} environment{'s' * (few > 1)} would leave a GPU idle" if few < MANY else "as MuJoCo simulates there"
    return f"training on the CPU, {why}; --device cuda trains {num_envs:,} on the GPU with agent {agent}"


def resumed(begun_on: str, device: str, recipe: Recipe) -> str:
    """Return what to resolve for a resumed run; raises UsageError where it cannot go on there.

    What MuJoCo Warp's runs draw at random on one kind of device cannot be drawn on another.
    """
    check_name(device)
    begun = "cpu" if begun_on.startswith("cpu") else begun_on
    if device == "auto":
        return begun
    if recipe.simulator == "warp" and device.partition(":")[0] != begun.partition(":")[0]:
        raise UsageError(f"--device {device}: the run began on {begun} and can only go on there")
    return device


def gpu_name(device: str) -> str | None:
    """Return what a GPU is called; None for the CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device)


def memory_of(device: str) -> str:
    """Return how much memory a GPU has, in words; nothing for the CPU."""
    if not device.startswith("cuda"):
        return ""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return f" ({gpu_name(device)}, {total / 2**30:.0f} GiB, {free / 2**30:.0f} GiB of them free)"


@contextmanager
def explain_out_of_memory(recipe: Recipe, device: str, resume: str) -> Iterator[None]:
    """Say in one line when a device's memory is used up; the last checkpoint stays, and `resume` goes on from it."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"out of memory|failed to allocate|can't allocate memory", str(error), re.IGNORECASE):
            raise
        seeds = "1 seed" if recipe.num_seeds == 1 else f"{recipe.num_seeds} seeds"
        raise RlsparseError(
            f"{device}{memory_of(device)} has not enough memory for {seeds} of {recipe.num_envs:,} environments with "
            f"rollouts of {recipe.rollout_length} steps: use fewer --num-envs or --num-seeds, or a shorter "
            f"--rollout-length; if another program filled it, go on with: {resume}"
        ) from error


PER_PROCESS, PER_ENVIRONMENT, PER_PARAMETER = 1e8, 2e3, 50
"""Bytes of memory on the CPU, measured by benchmarks/size.py: Python with its libraries; one simulated robot; and the
parameter, moments, gradient, what an iteration that is stopped goes back to, and a checkpoint while it is written."""


def memory_needed(recipe: Recipe, layout: Layout) -> float:
    """Return the most memory in bytes, about, that a run takes on the CPU at a time."""
    width = max(max(slot.shape) for slot in layout.slots)
    sample = 28 * layout.obs_size + 16 * layout.action_size + 8 * width + 150
    each = PER_ENVIRONMENT + sample * (recipe.rollout_length + recipe.algorithm.second_length)
    return PER_PROCESS + recipe.num_seeds * (PER_PARAMETER * layout.size + each * recipe.num_envs)


def memory_here() -> float:
    """Return the bytes of memory of this machine; infinite where nobody tells."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return math.inf


def foresee_out_of_memory(recipe: Recipe, layout: Layout) -> str | None:
    """Say so if a run needs more memory than this machine has; what a GPU has is found out there."""
    needed, here = memory_needed(recipe, layout), memory_here()
    if recipe.simulator == "warp" or needed <= here:
        return None
    return (
        f"about {needed / 1e9:,.0f} GB of memory are needed, and this machine has {here / 1e9:,.0f}: use fewer "
        "--num-seeds or --num-envs, or a shorter --rollout-length"
    )


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 28


def prepare(device: str = "cpu") -> threadpool_limits:
    """Use one BLAS thread, and keep freed memory for the next minibatch; make a GPU torch's current one.

    What is returned can put the number of BLAS threads back.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_device(device)  # where streams are made that nobody gives a device
    # by default glibc gives arrays above 128 KiB back to the kernel, which clears every page of them anew:
    # a minibatch of 2,048 samples then takes 1.6 times as long
    with suppress(OSError, AttributeError, TypeError):  # of other C libraries, and of Windows
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    # products this small lose more to waking threads than they gain
    return threadpool_limits(1, "blas")


_blas = threading.Lock()
_before: list[threadpool_limits] = []


@contextmanager
def prepared(device: str = "cpu") -> Iterator[None]:
    """As `prepare`, and give the BLAS threads back in the end; of several threads that train, the last one does."""
    with _blas:
        _before.append(prepare(device))
    try:
        yield
    finally:
        with _blas:
            limits = _before.pop()
            if not _before:  # the first one, which knows how many there were before all
                limits.restore_original_limits()
