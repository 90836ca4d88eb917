"""Where a run computes: the choice, its reasons, and what is said of a GPU that is not there."""

import re
from types import SimpleNamespace

import pytest

from rlsparse.device import Machine, look, memory_told, resolve, resumed
from rlsparse.errors import RlsparseError, UsageError
from rlsparse.recipe import Recipe

TWO = Machine(("NVIDIA H200", "NVIDIA L4"))
NONE = Machine((), "no NVIDIA driver, or no GPU that it can use")
HOST, GPU = Recipe(env="Hopper-v5"), Recipe(env="Hopper-v5", simulator="warp", num_envs=4096)


@pytest.mark.parametrize(
    ("device", "recipe", "machine", "chosen", "why"),
    [
        ("auto", HOST, NONE, "cpu", "^$"),
        ("auto", HOST, TWO, "cpu", "^$"),
        ("cpu", HOST, TWO, "cpu", "^$"),
        (
            "auto",
            Recipe(env="Hopper-v5", num_envs=512, num_seeds=4),
            TWO,
            "cpu",
            "2,048 environments may be faster with",
        ),
        ("auto", GPU, TWO, "cuda:0", r"simulating and learning on cuda:0 \(NVIDIA H200\)"),
        ("cuda", GPU, TWO, "cuda:0", "simulating and learning on cuda:0"),
        ("cuda:1", GPU, TWO, "cuda:1", r"cuda:1 \(NVIDIA L4\)"),
        ("cuda", HOST, TWO, "cuda:0", "simulating on the CPU, learning on cuda:0 .*; --agent ppo-gpu does both there"),
        ("auto", GPU, NONE, "cpu:0", "simulating on the CPU, which takes long with MuJoCo Warp: no NVIDIA driver"),
        ("cpu", GPU, TWO, "cpu:0", "simulating on the CPU, which takes long with MuJoCo Warp"),
    ],
)
def test_a_device_is_chosen_and_the_reason_is_told(device, recipe, machine, chosen, why):
    where, reason = resolve(device, recipe, machine)
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
        resolve(device, GPU, machine)
    assert str(raised.value) == message


def torch_that_sees(monkeypatch, cuda, available, warning=None):
    def is_available():
        if warning:
            import warnings

            warnings.warn(warning, stacklevel=1)
        return available

    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.__version__", "2.13.0")
    names = SimpleNamespace(
        is_available=is_available, device_count=lambda: 1, get_device_name=lambda i: f"GPU number {i}"
    )
    monkeypatch.setattr("torch.cuda", names)


def test_what_torch_sees(monkeypatch):
    torch_that_sees(monkeypatch, "13.0", True)
    assert look() == Machine(("GPU number 0",))


OLD = "CUDA initialization: The NVIDIA driver on your system is too old\n(found version 12020). (Triggered internally)"


@pytest.mark.parametrize(
    ("cuda", "warning", "why"),
    [
        (None, None, "torch 2.13.0 is built without CUDA: install one from https://pytorch.org"),
        ("13.0", None, "no NVIDIA driver, or no GPU that it can use (torch 2.13.0, CUDA 13.0)"),
        (
            "13.0",
            OLD,
            "CUDA initialization: The NVIDIA driver on your system is too old (found version 12020). "
            "(torch 2.13.0, CUDA 13.0)",
        ),
    ],
)
def test_why_torch_sees_no_gpu(monkeypatch, cuda, warning, why):
    torch_that_sees(monkeypatch, cuda, False, warning)
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
    "error", [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("Failed to allocate 8 bytes")]
)
def test_memory_that_is_used_up_is_told_in_one_line(error):
    expected = "cuda:0 has not enough memory for 1 seeds of 4,096 environments with rollouts of 256 steps: use fewer"
    with pytest.raises(RlsparseError, match=expected) as raised, memory_told(GPU, "cuda:0"):
        raise error
    assert raised.value.exit_code == 1


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="a bug"), memory_told(GPU, "cuda:0"):
        raise RuntimeError("a bug")
