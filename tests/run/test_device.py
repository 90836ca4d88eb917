"""Where a run computes: the choice, its reasons, and what is said of a GPU that is not there."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch

from rlsparse.errors import RlsparseError, UsageError
from rlsparse.run import device as machine
from rlsparse.run.device import Machine, explain_out_of_memory, look, resolve, resumed
from rlsparse.run.recipe import Recipe

TWO = Machine(("NVIDIA H200", "NVIDIA L4"))
NONE = Machine((), "no NVIDIA driver, or no GPU that it can use")
MANY = Recipe(env="Hopper-v5", num_envs=512, num_seeds=4)
HOST, GPU = Recipe(env="Hopper-v5"), Recipe(env="Hopper-v5", simulator="warp", num_envs=4096)


@pytest.mark.parametrize(
    ("device", "recipe", "machine", "chosen", "why"),
    [
        ("auto", HOST, NONE, "cpu", "^$"),
        ("auto", HOST, TWO, "cpu", "8 environments would leave a GPU idle; --device cuda trains 4,096 on the GPU with"),
        ("auto", replace(HOST, num_envs=1), TWO, "cpu", "1 environment would leave a GPU idle"),
        ("cpu", HOST, TWO, "cpu", "^$"),
        (
            "auto",
            MANY,
            TWO,
            "cpu",
            "^training on the CPU, as MuJoCo simulates there; --device cuda trains 4,096 on the GPU with agent ppo-gpu",
        ),
        ("auto", MANY, NONE, "cpu", "^$"),
        ("auto", GPU, TWO, "cuda:0", r"simulating and learning on cuda:0 \(NVIDIA H200\)"),
        ("cuda", GPU, TWO, "cuda:0", "simulating and learning on cuda:0"),
        ("cuda:1", GPU, TWO, "cuda:1", r"cuda:1 \(NVIDIA L4\)"),
        ("cuda", HOST, TWO, "cuda:0", "simulating on the CPU, learning on cuda:0 .*; --agent ppo-gpu does both there"),
        ("auto", GPU, NONE, "cpu:0", "simulating on the CPU, which takes long with MuJoCo Warp: no NVIDIA driver"),
        ("cpu", GPU, TWO, "cpu:0", "simulating on the CPU, which takes long with MuJoCo Warp"),
    ],
)
def test_a_device_is_chosen_and_the_reason_is_told(device, recipe, machine, chosen, why):
    where, reason = resolve(device, recipe, ("ppo-gpu", 4096), machine)
    assert where == chosen
    assert re.search(why, reason)


@pytest.mark.parametrize(
    ("device", "machine", "message"),
    [
        ("gpu", TWO, "--device gpu: expected auto, cpu, cuda or cuda:N"),
        ("cuda:", TWO, "--device cuda:: expected auto, cpu, cuda or cuda:N"),
        ("cuda:2", TWO, "--device cuda:2 is not there: expected one of cuda:0 (NVIDIA H200), cuda:1 (NVIDIA L4)"),
        ("cuda", NONE, "--device cuda: no NVIDIA driver, or no GPU that it can use; or use --device cpu"),
    ],
)
def test_a_gpu_that_is_not_there_is_told_in_one_line(device, machine, message):
    with pytest.raises(UsageError) as raised:
        resolve(device, GPU, None, machine)
    assert str(raised.value) == message


def test_where_no_agent_could_use_a_gpu_nothing_is_said_of_it():
    assert resolve("auto", HOST, None, TWO) == ("cpu", "")
    assert resolve("cuda", HOST, None, TWO)[1] == "simulating on the CPU, learning on cuda:0 (NVIDIA H200)"


def torch_that_sees(monkeypatch, cuda, error=None):
    def init():
        if error:
            raise RuntimeError(error)

    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.__version__", "2.13.0")
    names = SimpleNamespace(init=init, device_count=lambda: 1, get_device_name=lambda i: f"GPU number {i}")
    monkeypatch.setattr("torch.cuda", names)


def test_what_torch_sees(monkeypatch):
    torch_that_sees(monkeypatch, "13.0")
    assert look() == Machine(("GPU number 0",))


# torch's own words
NO_DRIVER = """Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver
from http://www.nvidia.com/Download/index.aspx"""
OLD_DRIVER = """The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by
downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"""


@pytest.mark.parametrize(
    ("cuda", "error", "why"),
    [
        (None, None, "torch 2.13.0 is built without CUDA: install one from https://pytorch.org"),
        (
            "13.0",
            NO_DRIVER,
            "torch 2.13.0, built for CUDA 13.0, finds no NVIDIA driver: install the driver of your GPU",
        ),
        (
            "13.0",
            OLD_DRIVER,
            "the NVIDIA driver, which knows CUDA 12.2, is too old for torch 2.13.0, built for CUDA 13.0: update it, or "
            "install torch for an older CUDA",
        ),
        (
            "13.0",
            "No CUDA GPUs are available",
            "torch 2.13.0, built for CUDA 13.0, can use no GPU with CUDA_VISIBLE_DEVICES=: No CUDA GPUs are available",
        ),
    ],
    ids=["torch without CUDA", "no driver", "old driver", "hidden"],
)
def test_why_torch_sees_no_gpu(monkeypatch, cuda, error, why):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torch_that_sees(monkeypatch, cuda, error)
    assert look() == Machine((), why)


@pytest.mark.parametrize(
    ("recipe", "begun_on", "device", "expected"),
    [
        (HOST, "cpu", "auto", "cpu"),
        (HOST, "cuda:0", "cpu", "cpu"),
        (HOST, "cpu", "cuda:1", "cuda:1"),
        (GPU, "cpu:0", "auto", "cpu"),
        (GPU, "cuda:1", "auto", "cuda:1"),
        (GPU, "cuda:1", "cuda:0", "cuda:0"),
        (GPU, "cpu:0", "cpu", "cpu"),
    ],
)
def test_a_run_is_resumed_where_it_was_or_as_told(recipe, begun_on, device, expected):
    assert resumed(begun_on, device, recipe) == expected


@pytest.mark.parametrize(("begun_on", "device"), [("cuda:0", "cpu"), ("cpu:0", "cuda")])
def test_a_run_whose_random_numbers_are_the_devices_does_not_change_its_kind(begun_on, device):
    with pytest.raises(UsageError, match=f"--device {device}: the run began on .* and can only go on there"):
        resumed(begun_on, device, GPU)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."),
        RuntimeError("Failed to allocate 8589934592 bytes on device 'cuda:0'"),  # Warp's
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
    ids=["torch", "warp", "torch on the CPU"],
)
def test_memory_that_is_used_up_is_told_in_one_line(error, monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda name: (2 * 2**30, 141 * 2**30))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda name: "NVIDIA H200")
    with pytest.raises(RlsparseError) as raised, explain_out_of_memory(GPU, "cuda:0", "rlsparse train --resume run"):
        raise error
    assert raised.value.exit_code == 1
    assert str(raised.value) == (
        "cuda:0 (NVIDIA H200, 141 GiB, 2 GiB of them free) has not enough memory for 1 seed of 4,096 environments with "
        "rollouts of 256 steps: use fewer --num-envs or --num-seeds, or a shorter --rollout-length; if another program "
        "filled it, go on with: rlsparse train --resume run"
    )


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="a bug"), explain_out_of_memory(GPU, "cuda:0", ""):
        raise RuntimeError("a bug")


def test_memory_that_a_run_will_not_find_is_told_with_what_helps(monkeypatch):
    monkeypatch.setattr(machine, "memory_here", lambda: 8e9)
    large, small = (tiny.recipe(num_seeds=n, num_envs=4096, rollout_length=16) for n in (1000, 10))
    line = machine.foresee_out_of_memory(large, large.layout(4, 1))
    assert re.fullmatch(r"about \d+ GB of memory are needed, and this machine has 8: use fewer --num-seeds .*", line)
    assert machine.foresee_out_of_memory(small, small.layout(4, 1)) is None


def test_a_machine_tells_how_much_memory_it_has():
    assert 1e8 < machine.memory_here() < 1e14
