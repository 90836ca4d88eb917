"""All that benchmarks/gpu.py needs on a machine that reaches no package registry, in parts that can be carried.

    python benchmarks/gpu_bundle.py --out bundle [--python 3.12 --arch 90 --part-size 60 --env HalfCheetah]
    bash bundle/install.sh                   # there, in an environment that has torch with CUDA, and numpy
    WARP_CACHE_PATH=bundle/kernels python benchmarks/gpu.py --minutes 12

Gathers the wheels of this package, of its extra `gpu` and of what they require, in the versions that are installed
here, for another Python; and the compiled kernels of the tasks. torch is left out, with what it requires: it must fit
the driver there. All is packed into parts of at most so many MiB, which install.sh puts together again.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OURS, EXTRA, THERE = "rlsparse", "gpu", "torch"

INSTALL = """#!/bin/sh
# Puts the parts together and installs what is in them, without a package registry.
set -e
cd "$(dirname "$0")"
cat part.* | tar -x
python -m pip install --no-index --no-deps --find-links wheels {packages}
"""


def required(name: str, extras: frozenset[str], python: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the packages that an installed one requires under that version of Python, with the extras asked of them."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        wanted = [{"extra": extra, "python_version": python} for extra in ("", *extras)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, wanted)):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def closure(python: str) -> dict[str, str]:
    """Return the versions of all packages that are needed, but for this one, torch, and what torch alone requires."""
    found: dict[tuple[str, frozenset[str]], None] = {}
    waiting = [(OURS, frozenset({EXTRA}))]
    while waiting:
        package = waiting.pop()
        if package not in found and package[0] != THERE:
            found[package] = None
            waiting += required(*package, python)
    return {name: metadata.version(name) for name, _ in found if name != OURS}


def gather_wheels(folder: Path, packages: dict[str, str], python: str) -> None:
    """Download the wheels for that version of Python on Linux, and build ours."""
    pip = [sys.executable, "-m", "pip", "-q"]
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux_2_28", "manylinux_2_34")]
    names = [f"{name}=={version}" for name, version in packages.items()]
    for_there = ["--only-binary=:all:", f"--python-version={python}", *platforms]
    subprocess.run([*pip, "download", "--no-deps", *for_there, "--dest", folder, *names], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)


def pack(out: Path, contents: list[str], part_size: int) -> list[Path]:
    """Pack folders within `out` into parts of at most so many bytes, and remove the folders."""
    whole = out / "whole.tar"
    with tarfile.open(whole, "w") as archive:
        for name in contents:
            archive.add(out / name, name)
            shutil.rmtree(out / name)
    parts = []
    with whole.open("rb") as file:
        while piece := file.read(part_size):
            parts.append(out / f"part.{len(parts):03d}")
            parts[-1].write_bytes(piece)
    whole.unlink()
    return parts


def main(arguments: list[str] | None = None) -> None:
    """Gather, compile, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bundle"))
    parser.add_argument("--python", default="3.12", help="version of Python there")
    parser.add_argument("--arch", default="90", help="architecture of the GPU there")
    parser.add_argument("--env", nargs="+", default=["HalfCheetah"])
    parser.add_argument("--part-size", type=int, default=60, help="MiB")
    flags = parser.parse_args(arguments)
    flags.out.mkdir(parents=True)
    packages = closure(flags.python)
    gather_wheels(flags.out / "wheels", packages, flags.python)
    kernels = ["compile", "--arch", flags.arch, "--out", flags.out / "kernels", "--env", *flags.env]
    subprocess.run([sys.executable, "-m", OURS, *kernels], check=True)
    parts = pack(flags.out, ["wheels", "kernels"], flags.part_size << 20)
    names = " ".join(sorted([OURS, *packages]))
    (flags.out / "install.sh").write_text(INSTALL.format(packages=names))
    for part in parts:
        print(f"{part}  {part.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
