"""Whatever a file of a run holds: what reads it refuses it in one line, or gives a result. By chance, not by a list.

A few seconds of it here, an hour by `pytest -m long`.
"""

import json
import shutil
from functools import partial
from pathlib import Path

import hostile
import pytest
import reading_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHORT = settings(max_examples=10)
LONG = settings(max_examples=40_000, derandomize=False, suppress_health_check=list(HealthCheck))

texts = st.text(max_size=20) | st.sampled_from(["kind", "recipe", "env", "sha256", "params", "\ud800", "../x", "cuda"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
changes = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "cut", "repeat", "end"]), st.floats(0, 1), st.binary(min_size=1, max_size=12)
    ),
    min_size=1,
    max_size=4,
)


def changed(content, changes):
    """Bytes after a few changes, each somewhere."""
    for kind, where, new in changes:
        at = int(where * len(content))
        if kind == "flip":
            content = content[:at] + bytes(x ^ 1 << new[0] % 8 for x in content[at : at + 1]) + content[at + 1 :]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "cut":
            content = content[:at] + content[at + len(new) :]
        elif kind == "repeat":
            content = content[:at] + content[max(0, at - 100 * len(new)) : at] + content[at:]
        else:
            content = content[:at]
    return content


def files(run_dir):
    return sorted(path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "run"


def fresh(good_run, scratch):
    """A copy of the run, as it was."""
    shutil.rmtree(scratch, ignore_errors=True)
    return Path(shutil.copytree(good_run, scratch))


def fuzz(good_run, scratch):
    """The fuzzers of all files: one changes bytes, the other, where there is a seal, what was sealed."""

    @given(st.sampled_from(files(good_run)), changes)
    def bytes_of_any_file(name, changes):
        run_dir = fresh(good_run, scratch)
        (run_dir / name).write_bytes(changed((run_dir / name).read_bytes(), changes))
        reading_all.refusal(partial(reading_all.everything, run_dir))

    @given(st.data(), plain)
    def values_of_sealed_files(data, value):
        run_dir = fresh(good_run, scratch)
        (folder,) = (run_dir / "checkpoint").iterdir()
        file = data.draw(
            st.sampled_from([folder / "manifest.json", run_dir / "status.json", run_dir / "versions.json"])
        )
        place = data.draw(st.sampled_from(list(hostile.places(json.loads(file.read_text())))[1:]))
        hostile.resealed(file, lambda body: hostile.changed(body, place, value))
        reading_all.refusal(partial(reading_all.everything, run_dir))

    @given(st.data(), plain)
    def values_of_policies(data, value):
        run_dir = fresh(good_run, scratch)
        file = run_dir / "policy.safetensors"
        recorded, arrays = hostile.policy_parts(file.read_bytes())
        place = data.draw(st.sampled_from(list(hostile.places(recorded))))
        file.write_bytes(hostile.policy_file._encode(hostile.changed(recorded, place, value), arrays))
        reading_all.refusal(partial(reading_all.play, run_dir))

    return bytes_of_any_file, values_of_sealed_files, values_of_policies


@pytest.mark.parametrize("which", range(3), ids=["bytes", "sealed values", "policies"])
def test_chance_finds_nothing_but_refusals(which, good_run, scratch):
    with reading_all.a_gigabyte():
        SHORT(fuzz(good_run, scratch)[which])()


@pytest.mark.long
@pytest.mark.parametrize("which", range(3), ids=["bytes", "sealed values", "policies"])
def test_an_hour_of_chance_finds_nothing_but_refusals(which, good_run, scratch):
    with reading_all.a_gigabyte():
        LONG(fuzz(good_run, scratch)[which])()
