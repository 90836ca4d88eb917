"""Every hostile file ends in one line and the exit code of a refusal; none runs, hangs or takes a gigabyte.

A sample is read here, all of them by `pytest -m long`.
"""

import shutil
import tomllib
from functools import partial
from itertools import islice
from pathlib import Path

import hostile
import pytest
import reading_all
import safetensors.numpy
import tomli_w

from rlsparse.run import cards, policy_file
from rlsparse.run.checkpoint import encode_arrays
from rlsparse.run.reading import read_json, seal
from rlsparse.run.recipe import from_dict


def some(every):
    """Read only so many of the attacks, unless all are asked for."""
    return pytest.mark.parametrize(
        "every", [pytest.param(every, id="a sample"), pytest.param(1, id="all", marks=pytest.mark.long)]
    )


@pytest.fixture
def run_dir(good_run, tmp_path):
    return Path(shutil.copytree(good_run, tmp_path / "run"))


def refusals(attacks, act, every):
    """Lay out every so many of the attacks, each a name and a function; the names of the refused, and of the others."""
    refused, harmless = set(), set()
    with reading_all.a_gigabyte():
        for name, lay in islice(attacks, every // 2, None, every):
            try:
                lay()
                (harmless if reading_all.refusal(act) is None else refused).add(name)
            except BaseException as error:
                error.add_note(f"the attack: {name}")
                raise
    return refused, harmless


def written(file, contents):
    """Attacks that replace a file, each a name and its bytes, or what makes them."""

    def write(content):
        file.write_bytes(content if isinstance(content, bytes) else content())

    return ((name, partial(write, content)) for name, content in contents)


def as_toml(good):
    """Hostile TOML files, but for those that no TOML file can say."""
    yield from hostile.NOT_TOML.items()
    for name, body in hostile.junk(good):
        if not name.endswith("is nothing"):
            yield name, lambda body=body: tomli_w.dumps(body()).encode("utf-8", "surrogatepass")


def as_json(good):
    """Hostile JSON files, sealed if they are any."""
    yield from hostile.NOT_JSON.items()
    for name, body in hostile.junk(good):
        yield name, lambda body=body: seal(body()).encode()


@some(21)
def test_policies(every, run_dir):
    path = run_dir / "policy.safetensors"
    attacks = written(path, hostile.policies(path.read_bytes()))
    refused, harmless = refusals(attacks, partial(reading_all.play, run_dir), every)
    assert len(refused) > 900 // every
    of_training = {name for name in harmless if name.startswith("recipe.")}
    # any number may be a parameter
    assert harmless - of_training <= {
        *("obs_clip is nothing", "obs_clip is one and a half", "obs_clip is 65 bits", "obs_clip is beyond float32"),
        *("seeds.0 is zero", "params low", "obs_mean low", "obs_inv_std low"),
        *(f"{name} low" for name in policy_file.STATISTICS),
    }


@some(40)
def test_recipes_of_runs(every, run_dir):
    file = run_dir / "recipe.toml"
    attacks = written(file, as_toml(tomllib.loads(file.read_text())))
    refused, harmless = refusals(attacks, partial(reading_all.resume, run_dir), every)
    assert len(refused) > 500 // every
    assert all(reading_all.says_the_same(name) for name in harmless), harmless


@some(40)
def test_recipes_of_runs_that_others_are_like(every, run_dir):
    file = run_dir / "recipe.toml"
    attacks = written(file, as_toml(tomllib.loads(file.read_text())))
    refused, _ = refusals(attacks, partial(reading_all.like, run_dir), every)
    assert len(refused) > 400 // every, len(refused)


@some(20)
@pytest.mark.parametrize("name", ["status.json", "versions.json"])
def test_json_of_runs(every, name, run_dir):
    file = run_dir / name
    attacks = written(file, as_json(read_json(file)))
    refused, _ = refusals(attacks, partial(reading_all.reopen, run_dir), every)
    assert len(refused) > 50 // every


@some(60)
def test_manifests(every, run_dir):
    folder = reading_all.newest(run_dir)
    attacks = written(folder / "manifest.json", as_json(hostile.manifest_of(folder)))
    refused, _ = refusals(attacks, partial(reading_all.resume, run_dir), every)
    assert len(refused) > 1500 // every


@some(150)
def test_arrays_of_checkpoints(every, run_dir):
    folder = reading_all.newest(run_dir)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}

    def put(name, content):
        for file, good in kept.items():
            (folder / file).write_bytes(good)
        hostile.replace_file(folder, name, content)

    def attacks():
        for name in sorted(kept.keys() - {"manifest.json"}):
            for what, arrays in hostile.other_arrays(safetensors.numpy.load(kept[name])):
                yield f"{name} {what}", partial(put, name, encode_arrays(arrays))
            for what, content in hostile.broken_headers(kept[name]):
                yield f"{name} {what}", partial(put, name, content)

    refused, harmless = refusals(attacks(), partial(reading_all.resume, run_dir), every)
    assert len(refused) > 1000 // every
    # numbers may be any, and a name may be there twice; stats and metrics are only told, what grows may be empty, and
    # what callbacks take is theirs to say
    for name in harmless:
        assert name.startswith(("stats", "metrics", "callbacks", "collector.safetensors env.")) or name.endswith(
            ("not finite", "low", "twice", "none")
        )


@some(40)
def test_agent_cards(every, tmp_path):
    file = tmp_path / "card.toml"
    good = tomllib.loads(cards.agent("ppo").path.read_text())

    def recipe():
        card = cards.agent(str(file))
        return from_dict({"env": "Walker2d-v5", **card.recipe_for("Walker2d-v5")}, str(file))

    refused, _ = refusals(written(file, as_toml(good)), recipe, every)
    assert len(refused) > 300 // every


@some(40)
def test_environment_cards(every, tmp_path):
    file = tmp_path / "env.toml"
    good = tomllib.loads(cards.environment("Hopper").path.read_text())
    refused, _ = refusals(written(file, as_toml(good)), partial(cards.read_environment_card, file), every)
    assert len(refused) > 500 // every


@some(8)
def test_entries_that_are_no_files(every, run_dir, tmp_path):
    """Pipes, devices, links and folders in the place of every file of a run."""
    good = tmp_path / "good"
    shutil.copytree(run_dir, good)

    def put(name, make):
        shutil.rmtree(run_dir)
        shutil.copytree(good, run_dir)
        (run_dir / name).unlink()
        make(run_dir / name)

    def attacks():
        for name in sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file()):
            for what, make in hostile.entries():
                yield f"{name} is {what}", partial(put, name, make)

    refused, harmless = refusals(attacks(), partial(reading_all.everything, run_dir), every)
    assert len(refused) > 50 // every
    assert not any(name.startswith(("recipe", "policy", "checkpoint")) for name in harmless), harmless


def test_a_manifest_names_no_file_of_others(run_dir, tmp_path):
    """Neither one that is read, nor a table that is written."""
    folder = reading_all.newest(run_dir)
    good = hostile.manifest_of(folder)
    described = next(iter(good["files"].values()))
    for name in ("/dev/zero", "../../recipe.toml", "x/y.safetensors", "Learner.safetensors", ".safetensors"):
        hostile.resealed(
            folder / "manifest.json", lambda body, name=name: hostile.changed(good, ("files", name), described)
        )
        assert "names files that a checkpoint does not have" in reading_all.refusal(
            partial(reading_all.resume, run_dir)
        )
    for name in ("../stolen.csv", "/tmp/stolen.csv", ".bashrc"):
        records = {**good["values"]["records"], name: "x"}
        hostile.resealed(
            folder / "manifest.json",
            lambda body, records=records: hostile.changed(good, ("values", "records"), records),
        )
        assert "is not of this run" in reading_all.refusal(partial(reading_all.resume, run_dir))
    assert not (tmp_path / "stolen.csv").exists()
