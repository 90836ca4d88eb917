"""Kernels of the GPU simulator compiled where there is no GPU, so that its first start elsewhere compiles none.

Warp compiles a kernel once it is launched. Here a simulation is stepped that launches nothing, but notes what a GPU
would be given. Warp needs neither a GPU nor its driver to compile.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from rlsparse import sim
from rlsparse.errors import UsageError
from rlsparse.sim import warp_physics
from rlsparse.sim.environment import Environment
from rlsparse.sim.warp_physics import import_warp

Kernels = dict[str, tuple[Any, int]]
"""Modules of kernels, which are compiled as a whole, and how many threads each block has, by the module's name."""

WORLDS = 2
"""Simulated worlds: their number changes no kernel."""


@dataclass(frozen=True)
class _Gpu:
    """What MuJoCo Warp asks about its device; the number of multiprocessors changes no kernel."""

    is_cuda: bool = True
    sm_count: int = 100


@contextmanager
def noted_launches(warp: ModuleType) -> Iterator[Kernels]:
    """Note what a GPU would be given to launch, and launch nothing."""
    noted: Kernels = {}
    device_of = warp.get_device

    def note(kernel: Any, *arguments: Any, block_dim: int = 256, **options: Any) -> None:
        noted[kernel.module.name] = kernel.module, block_dim

    def once(condition: Any, while_body: Callable[..., None], **arguments: Any) -> None:
        while_body(**arguments)

    def present(*named: Any) -> Any:
        return device_of(*named) if named else _Gpu()

    loops = {"capture_while": once, "is_conditional_graph_supported": lambda: True}
    instead = {"launch": note, "launch_tiled": note, "get_device": present, **loops}
    with ExitStack() as stack:
        for name, function in instead.items():
            stack.enter_context(patch.object(warp, name, function))
        yield noted


def kernels(environment: Environment) -> Kernels:
    """Return the kernels that the simulation of a task launches on a GPU.

    They have the names of a GPU's only in a process that has not simulated on Warp's CPU device: Warp names a kernel
    once, and by how it is to be compiled too. Raises as `sim.make` does.
    """
    as_for_gpu = import_warp(on_cpu=False)
    with patch.object(warp_physics, "import_warp", lambda on_cpu: as_for_gpu), noted_launches(as_for_gpu[0]) as noted:
        sim.make(environment, WORLDS, simulator="warp", device="cpu").close()
    return noted


def check_architecture(architecture: int) -> None:
    """Raise UsageError unless Warp can compile for GPUs of this architecture, such as 90 for an H100."""
    warp, _ = import_warp(on_cpu=False)
    known = warp.get_cuda_supported_archs()
    if architecture not in known:
        named = ", ".join(map(str, known)) or "none, as this build of Warp has no CUDA"
        raise UsageError(f"--arch {architecture}: Warp compiles for {named}")


def compile_ahead(found: Kernels, architecture: int, folder: Path, jobs: int) -> Iterator[Path]:
    """Compile kernels for GPUs of an architecture into a folder that Warp takes as its cache; yields each file written.

    What is there is not compiled again. `WARP_CACHE_PATH` names the folder where the kernels are used.
    """
    warp, _ = import_warp(on_cpu=False)
    own = warp.config.kernel_cache_dir
    warp.config.kernel_cache_dir = str(folder / warp.config.version)

    def compiled(module: Any, block: int) -> Path:
        usual = warp.get_module_options(module)["block_dim"]
        warp.set_module_options({"block_dim": block}, module)
        try:
            return Path(*warp.compile_aot_module(module, arch=architecture, use_ptx=False))
        finally:
            warp.set_module_options({"block_dim": usual}, module)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            for done in as_completed([pool.submit(compiled, *one) for one in found.values()]):
                yield done.result()
    finally:
        warp.config.kernel_cache_dir = own
