"""A changed bit in any file of a run is found, or changes nothing that is read; two thousand of them by -m long."""

import shutil

import numpy as np
import pytest
import reading_all


def readers(name):
    """Who reads a file."""
    if name.parts[0] == "checkpoint":
        return (reading_all.resume,)
    if name.suffix == ".safetensors" or name.name == "summary.json":
        return (reading_all.play if name.suffix == ".safetensors" else reading_all.tables,)
    return (reading_all.compare, reading_all.tables if name.suffix == ".csv" else reading_all.resume)


def outcome(reader, run_dir):
    """What a reader gives, or None if it refuses."""
    results = []
    refused = reading_all.refusal(lambda: results.append(reader(run_dir)))
    return None if refused else results[0]


@pytest.mark.parametrize("flips", [60, pytest.param(2000, marks=pytest.mark.long)])
def test_no_flip_is_silent(flips, good_run, tmp_path):
    rng = np.random.default_rng(flips)
    run_dir, expected = tmp_path / "run", {}
    names = sorted(path.relative_to(good_run) for path in good_run.rglob("*") if path.is_file())
    names = [name for name in names if name.name not in (".lock", "curve.png")]
    for i in range(flips):
        name = names[i % len(names)]
        content = bytearray((good_run / name).read_bytes())
        at, bit = int(rng.integers(len(content))), int(rng.integers(8))
        content[at] ^= 1 << bit
        for reader in readers(name):
            for flipped in (False, True) if reader not in expected else (True,):
                shutil.copytree(good_run, run_dir)
                (run_dir / name).write_bytes(content if flipped else (good_run / name).read_bytes())
                found = outcome(reader, run_dir)
                shutil.rmtree(run_dir)
                good = expected.setdefault(reader, found)
                assert good is not None
                assert found in (None, good), f"{reader.__name__} does not notice bit {bit} of byte {at} of {name}"
