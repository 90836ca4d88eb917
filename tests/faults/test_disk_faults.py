"""Whatever call to the disk fails, and wherever a run is killed, it ends as one to which nothing happened."""

import random
import shutil
from pathlib import Path

import pytest
import tiny

from faults import disk

pytestmark = pytest.mark.xdist_group("disk")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The outcome of the run, and how many calls change the disk, or concern it."""
    disk.warm_up(tmp_path_factory.mktemp("warm"))
    outcomes, calls = [], {}
    for fault in (disk.KILL, "EIO"):
        folder = tmp_path_factory.mktemp("sound")
        code, calls[fault] = disk.in_child(folder, disk.TRAIN, fault=fault)
        assert code == 0, (folder / "said").read_text()
        outcomes.append(tiny.outcome(folder / "run"))
    assert outcomes[0] == outcomes[1]
    assert min(calls.values()) > 100
    return outcomes[0], calls


def sample(count, of, long, fault):
    """Numbers of calls: some, of each fault others, the same every time; or all."""
    return range(1, of + 1) if long else sorted(random.Random(fault).sample(range(1, of + 1), count))


def check_killed(folder, at, expected, fault):
    code, _ = disk.in_child(folder, disk.TRAIN, at, fault)
    assert code == -9, f"call {at} was not made"
    assert disk.newest(folder / "run") >= disk.promised(folder), f"{fault} at call {at} lost a whole save"
    outcome, code = disk.recover(folder)
    assert code == 0, f"{fault} at call {at}: {(folder / 'said').read_text()}"
    assert outcome == expected, f"{fault} at call {at}"


def check_failed(folder, at, fault, expected):
    code, _ = disk.in_child(folder, disk.TRAIN, at, fault)
    said = f"{fault} at call {at}: {(folder / 'said').read_text()}"
    assert code == 0, said
    assert tiny.outcome(folder / "run") == expected, said


def check_full(folder, at, expected):
    code, _ = disk.in_child(folder, disk.TRAIN, at, disk.FULL)
    said = f"full from call {at} on: {(folder / 'said').read_text()}"
    assert code in (0, 4, 6), said
    assert "Traceback" not in said, said
    assert (tiny.outcome(folder / "run") if code == 0 else disk.recover(folder)[0]) == expected, said


def check_resume(folder, interrupted, at, fault, expected, command=disk.RESUME):
    shutil.copytree(interrupted, folder, dirs_exist_ok=True)
    code, _ = disk.in_child(folder, command, at, fault)
    said = f"{fault} at call {at} of the resumed run: {(folder / 'said').read_text()}"
    assert code in {disk.KILL: (-9,), disk.POWER: (-9,), disk.FULL: (0, 4, 6)}.get(fault, (0,)), said
    assert "Traceback" not in said, said
    outcome = tiny.outcome(folder / "run") if code == 0 else disk.recover(folder, command)[0]
    assert outcome == expected, said


@pytest.fixture(scope="module")
def interrupted(sound, tmp_path_factory):
    """A run that was killed in its third save."""
    folder = tmp_path_factory.mktemp("interrupted")
    disk.in_child(folder, disk.TRAIN, sound[1][disk.KILL] * 6 // 10, disk.KILL)
    (folder / "said").unlink()
    return folder


@pytest.fixture(scope="module")
def calls_of_resumed(interrupted, tmp_path_factory):
    """How many calls of the resumed run change the disk, or concern it."""
    calls = {}
    for fault in (disk.KILL, "EIO"):
        folder = shutil.copytree(interrupted, tmp_path_factory.mktemp("resumed"), dirs_exist_ok=True)
        _, calls[fault] = disk.in_child(folder, disk.RESUME, fault=fault)
    return calls


def trials(count):
    """So many calls, and all of them."""
    return [pytest.param(count, False, id="some"), pytest.param(0, True, id="all", marks=pytest.mark.long)]


@pytest.mark.parametrize(("count", "every"), trials(4))
@pytest.mark.parametrize("fault", [disk.KILL, disk.POWER])
def test_killed_at_any_call_and_resumed_it_is_the_same(fault, count, every, sound, tmp_path):
    """Or after a power failure that takes all that was not waited for."""
    expected, calls = sound
    for at in sample(count, calls[disk.KILL], every, fault):
        folder = Path(tmp_path, str(at))
        folder.mkdir()
        check_killed(folder, at, expected, fault)
        shutil.rmtree(folder)


@pytest.mark.parametrize(("count", "every"), trials(1))
@pytest.mark.parametrize("fault", disk.CODES)
def test_a_call_that_fails_once_is_made_good_or_told(fault, count, every, sound, tmp_path):
    expected, calls = sound
    for at in sample(count, calls["EIO"], every, fault):
        folder = Path(tmp_path, str(at))
        folder.mkdir()
        check_failed(folder, at, fault, expected)
        shutil.rmtree(folder)


@pytest.mark.parametrize(("count", "every"), trials(2))
def test_a_disk_that_is_full_from_some_call_on_costs_no_result(count, every, sound, tmp_path):
    expected, calls = sound
    for at in sample(count, calls["EIO"], every, disk.FULL):
        folder = Path(tmp_path, str(at))
        folder.mkdir()
        check_full(folder, at, expected)
        shutil.rmtree(folder)


@pytest.mark.parametrize(("count", "every"), trials(1))
@pytest.mark.parametrize("fault", [disk.KILL, disk.FULL, *disk.CODES])
def test_what_happens_to_a_resumed_run_is_survived_as_well(
    fault, count, every, sound, interrupted, calls_of_resumed, tmp_path
):
    calls = calls_of_resumed.get(fault, calls_of_resumed["EIO"])
    for at in sample(count, calls, every, fault):
        folder = Path(tmp_path, str(at))
        check_resume(folder, interrupted, at, fault, sound[0])
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def extended(sound, tmp_path_factory):
    """A finished run, the outcome of the same after an extension, and how many calls that makes."""
    finished, folder, calls = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("extended"), {}
    assert disk.in_child(finished, disk.TRAIN)[0] == 0
    for fault in (disk.KILL, "EIO"):
        shutil.copytree(finished, folder / fault)
        code, calls[fault] = disk.in_child(folder / fault, disk.EXTEND, fault=fault)
        assert code == 0, (folder / fault / "said").read_text()
    return finished, tiny.outcome(folder / disk.KILL / "run"), calls


@pytest.mark.parametrize(("count", "every"), trials(2))
@pytest.mark.parametrize("fault", [disk.KILL, disk.POWER, disk.FULL])
def test_what_happens_to_a_run_that_is_extended_is_survived_as_well(fault, count, every, extended, tmp_path):
    finished, expected, calls = extended
    for at in sample(count, calls["EIO" if fault == disk.FULL else disk.KILL], every, fault):
        folder = Path(tmp_path, str(at))
        check_resume(folder, finished, at, fault, expected, disk.EXTEND)
        shutil.rmtree(folder)
