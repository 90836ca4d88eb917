"""Kernels of the GPU simulator can be compiled without a GPU: which ones a GPU is given, and what is written."""

import math
import os
import re
import subprocess
import sys
from unittest.mock import patch

import pytest
from warp_envs import in_one_worker, make, random_actions

from rlsparse.errors import UsageError
from rlsparse.run import compile_kernels
from rlsparse.sim import warp_kernels, warp_physics
from rlsparse.sim.environment import Environment
from rlsparse.sim.tasks import TASKS
from rlsparse.sim.warp_physics import import_warp

pytestmark = in_one_worker
FOR_GPU = import_warp(on_cpu=False)
WARP, _ = import_warp(on_cpu=True)

needs_compiler = pytest.mark.skipif(not WARP.get_cuda_supported_archs(), reason="this build of Warp has no CUDA")
SMALL = ("_tendon_armature", "_qfrc_passive")
"""Kernels that are compiled within a second."""


def plain(names):
    """Names without the mark of how a kernel is compiled, which differs between devices."""
    return {re.sub("_[0-9a-f]{8}$", "", name) for name in names}


def launched(env_id):
    """Names of what Warp's CPU device is given in a step and at starts, in truth."""
    names = set()

    def seen(function):
        def launch(kernel, *arguments, **options):
            names.add(kernel.module.name)
            return function(kernel, *arguments, **options)

        return launch

    with patch.object(WARP, "launch", seen(WARP.launch)), patch.object(WARP, "launch_tiled", seen(WARP.launch_tiled)):
        env = make(env_id)
        env.reset(seed=0)
        env.step(random_actions(env, 1)[0])
    return names


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Pusher-v5"])
def test_all_that_a_simulation_launches_is_noted(env_id):
    noted = plain(warp_kernels.kernels(Environment(env_id)))
    assert len(noted) > 40
    assert plain(launched(env_id)) <= noted


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Humanoid-v5"])
def test_the_number_of_worlds_changes_no_kernel(env_id, monkeypatch):
    few = {name: block for name, (_, block) in warp_kernels.kernels(Environment(env_id)).items()}
    monkeypatch.setattr(warp_kernels, "WORLDS", 1000)
    assert {name: block for name, (_, block) in warp_kernels.kernels(Environment(env_id)).items()} == few


def test_noting_launches_nothing_and_leaves_no_trace():
    before = {name: getattr(WARP, name) for name in ("launch", "launch_tiled", "capture_while", "get_device")}
    with warp_kernels.noted_launches(WARP) as noted:
        assert WARP.get_device().is_cuda
        assert not WARP.get_device("cpu").is_cuda
    assert noted == {}
    assert {name: getattr(WARP, name) for name in before} == before


LAUNCHES = {"HalfCheetah-v5": (291, 50), "Hopper-v5": (885, 160), "Ant-v5": (1113, 200), "Humanoid-v5": (1318, 200)}
"""Kernels in the physics of a step, and of these as many again for each further iteration of the solver."""


@pytest.mark.parametrize(("env_id", "expected"), LAUNCHES.items())
def test_a_step_launches_as_many_kernels_as_its_estimate_counts(env_id, expected):
    counts, places = {"once": 0, "iteration": 0}, ["once"]

    def count(kernel, dim, *arguments, **options):
        counts[places[-1]] += math.prod(dim if isinstance(dim, tuple | list) else [dim]) > 0  # Warp leaves out the rest

    def once(condition, while_body, **arguments):
        places.append("iteration")
        while_body(**arguments)
        places.pop()

    with warp_kernels.noted_launches(WARP):
        instead = {"launch": count, "launch_tiled": count, "capture_while": once}
        with patch.multiple(WARP, **instead), patch.object(warp_physics, "import_warp", lambda on_cpu: FOR_GPU):
            physics = make(env_id)._physics
            counts.update(dict.fromkeys(counts, 0))
            physics._advance()
    assert (counts["once"], counts["iteration"]) == expected


@pytest.fixture
def few(monkeypatch):
    """Let every task have a few small kernels."""
    every = warp_kernels.kernels

    def small(environment):
        return {name: kernel for name, kernel in every(environment).items() if name.startswith(SMALL)}

    monkeypatch.setattr(warp_kernels, "kernels", small)


@needs_compiler
def test_the_command_writes_a_cache_that_warp_takes(tmp_path, few, capsys):
    folder, own = tmp_path / "kernels", WARP.config.kernel_cache_dir
    compile_kernels.main(["--env", "hopper", "--out", str(folder)])
    assert WARP.config.kernel_cache_dir == own
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Hopper-v5: 2 files of kernels, ")
    assert re.fullmatch(rf"2 files for sm_90, 0.\d MiB; use them with WARP_CACHE_PATH={folder}", last)
    cache = subprocess.run(
        [sys.executable, "-c", "import warp; warp.init(); print(warp.config.kernel_cache_dir)"],
        env={**os.environ, "WARP_CACHE_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[-1]
    written = {path.name: path for path in folder.rglob("*.cubin")}
    assert len(written) == 2
    for name, path in written.items():
        assert str(path.parent.parent) == cache
        assert name == f"{path.parent.name}.sm90.cubin"
        assert path.read_bytes()[:4] == b"\x7fELF"

    before = {path: path.stat().st_mtime_ns for path in written.values()}
    compile_kernels.main(["--env", "Hopper", "--out", str(folder)])
    assert {path: path.stat().st_mtime_ns for path in written.values()} == before


@needs_compiler
def test_kernels_that_run_on_the_cpu_go_on_as_they_were(tmp_path):
    found = warp_kernels.kernels(Environment("Hopper-v5"))
    name = next(name for name in found if name.startswith(SMALL))
    module, _ = found[name]
    usual = dict(WARP.get_module_options(module))
    list(warp_kernels.compile_ahead({name: (module, 32)}, 90, tmp_path, 1))
    assert WARP.get_module_options(module) == usual


@needs_compiler
@pytest.mark.long
def test_every_kernel_of_the_eleven_tasks_compiles(tmp_path):
    for env_id in TASKS:
        found = warp_kernels.kernels(Environment(env_id))
        assert len(list(warp_kernels.compile_ahead(found, 90, tmp_path, os.cpu_count() or 1))) == len(found)


def test_an_architecture_that_does_not_exist_is_refused(capsys):
    with pytest.raises(UsageError, match="--arch 91: Warp compiles for 75, "):
        warp_kernels.check_architecture(91)
    with pytest.raises(SystemExit, match="2"):
        compile_kernels.main(["--arch", "91"])
    assert capsys.readouterr().err.startswith("rlsparse: --arch 91: ")


def test_a_task_that_no_gpu_simulates_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        compile_kernels.main(["--env", "CartPole-v1"])
    assert "is not simulated on a GPU" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path, few, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="6"):
        compile_kernels.main(["--env", "Hopper", "--out", str(tmp_path / "file")])
    assert "cannot write" in capsys.readouterr().err
