"""`rlsparse compile`: the kernels of the GPU simulator, compiled on a machine that needs no GPU."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsparse.learner.bounds import Count
from rlsparse.run.cards import environments, resolve_environment
from rlsparse.run.command_line import fail_in_one_line, parse
from rlsparse.run.storage import storage_errors
from rlsparse.sim.environment import Environment
from rlsparse.sim.user_classes import shown_name


@dataclass(frozen=True)
class CompileFlags:
    """Compile the kernels of the GPU simulator ahead of their first use; no GPU is needed."""

    env: tuple[str, ...] = ()
    """Tasks, such as HalfCheetah or file.py:Class; unless given, all that have a card."""
    arch: int = 90
    """Architecture of the GPU: 80 for A100, 89 for L40 and RTX 40, 90 for H100 and H200, 100 for B200."""
    out: Path = Path("kernels")
    """Folder to write; the variable WARP_CACHE_PATH names it where the kernels are used."""
    jobs: Count = 1
    """Files compiled at once."""


def main(arguments: Sequence[str]) -> None:
    """Compile, and tell what was done."""
    with fail_in_one_line():
        flags = parse(CompileFlags, arguments, prog="rlsparse compile")
        tasks = [resolve_environment(name) for name in flags.env] or list(environments())
        from rlsparse.sim import warp_kernels

        warp_kernels.check_architecture(flags.arch)
        folder, start, files = flags.out.resolve(), time.monotonic(), set[Path]()
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            found = warp_kernels.kernels(Environment(task))
            with storage_errors(folder):
                files |= set(warp_kernels.compile_ahead(found, flags.arch, folder, flags.jobs))
            seconds = time.monotonic() - start
            print(f"{shown_name(task)}: {len(found)} files of kernels, {seconds:.0f} s", flush=True)
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} files for sm_{flags.arch}, {size / 2**20:.1f} MiB; use them with WARP_CACHE_PATH={folder}")
