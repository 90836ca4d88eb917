"""Where a run computes: what the machine has, what was asked for, and why one or the other was taken."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.recipe import Recipe

TENSORS_ON_CPU = "cpu:0"
"""The CPU as torch names it: there MuJoCo Warp runs without a GPU, slowly; "cpu" alone means numpy's arrays."""

MANY = 1024
"""Fewer environments than this leave a GPU idle; the CPU then is faster."""


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
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if there:
        return Machine(tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))
    reason = " ".join(str(told[0].message).split()) if told else "no NVIDIA driver, or no GPU that it can use"
    return Machine((), f"{reason.split(' (Triggered')[0]} (torch {torch.__version__}, CUDA {torch.version.cuda})")


def check_name(device: str) -> None:
    """Raise UsageError unless the device has one of the names that --device takes."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")


def resolve(device: str, recipe: Recipe, machine: Machine | None = None) -> tuple[str, str]:
    """Return the device that arrays live on, and a line that says why, or none where it is what anyone expects.

    Raises UsageError for a GPU that is not there; the `machine` is looked at only where it matters.
    """
    check_name(device)
    warp = recipe.simulator == "warp"
    if device == "cpu" or (device == "auto" and not warp):
        return _on_cpu(recipe, device)
    machine = machine or look()
    if not machine.gpus:
        if device == "auto":
            return TENSORS_ON_CPU, f"simulating on the CPU, which takes long with MuJoCo Warp: {machine.why_none}"
        raise UsageError(f"--device {device}: {machine.why_none}; or use --device cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= len(machine.gpus):
        there = ", ".join(f"cuda:{i} ({name})" for i, name in enumerate(machine.gpus))
        raise UsageError(f"--device {device} is not there: expected one of {there}")
    name = f"cuda:{index} ({machine.gpus[index]})"
    if warp:
        return f"cuda:{index}", f"simulating and learning on {name}"
    return f"cuda:{index}", f"simulating on the CPU, learning on {name}; --agent ppo-gpu does both there"


def _on_cpu(recipe: Recipe, device: str) -> tuple[str, str]:
    if recipe.simulator == "warp":
        return TENSORS_ON_CPU, "simulating on the CPU, which takes long with MuJoCo Warp: that is for trying things out"
    environments = recipe.num_envs * recipe.num_seeds
    if device == "auto" and environments >= MANY:
        return "cpu", f"training on the CPU with MuJoCo; {environments:,} environments may be faster with --device cuda"
    return "cpu", ""


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


@contextmanager
def memory_told(recipe: Recipe, device: str) -> Iterator[None]:
    """Say in one line when a GPU's memory is used up; the last checkpoint stays."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"out of memory|failed to allocate", str(error), re.IGNORECASE):
            raise
        raise RlsparseError(
            f"{device} has not enough memory for {recipe.num_seeds} seeds of {recipe.num_envs:,} environments with "
            f"rollouts of {recipe.rollout_length} steps: use fewer --num-envs or --num-seeds, or a shorter "
            "--rollout-length"
        ) from error
