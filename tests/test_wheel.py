"""What is built and installed: every card and weight, one import name, one command, no one else's folders.

Everything is built from a copy of the tree with weights added, under an ignore file that matches weights.
"""

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import hatch_build
from rlsparse import __version__

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("rlsparse", "agents", "envs", "tests", "benchmarks", "docs")
CARDS = {
    str(path.relative_to(ROOT))
    for pattern in (
        "envs/*.toml",
        "agents/*/card.toml",
        "agents/*/*/policy.safetensors",
        "agents/*/*/curve.csv",
    )
    for path in ROOT.glob(pattern)
}
WEIGHTS = "agents/ppo/Demo-v0/policy.safetensors"


def copy_tree(target):
    target.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, target)
        elif path.name in SOURCES:
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))


def build(tree, out, kind):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out], cwd=tree, check=True)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("source") / "rlsparse-source"
    copy_tree(tree)
    (tree / WEIGHTS).parent.mkdir()
    (tree / WEIGHTS).write_bytes(b"weights")
    with (tree / ".gitignore").open("a") as ignore:
        ignore.write("\n*.safetensors\n")
    return tree


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture
def installed(wheel, tmp_path):
    target = tmp_path / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", target, wheel], check=True)
    return target


def python(installed, cwd, *args):
    """Run Python with the installed package before any other, in a folder of its own."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    cwd.mkdir()
    return subprocess.run([sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True)


def contents(archive):
    with zipfile.ZipFile(archive) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def metadata(wheel):
    (name,) = (name for name in contents(wheel) if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(contents(wheel)[name])


def test_the_wheel_holds_every_card_and_weight(wheel):
    assert {f"rlsparse/_cards/{card}" for card in {*CARDS, WEIGHTS}} <= set(contents(wheel))


def test_the_wheel_says_that_it_is_typed(wheel):
    assert "rlsparse/py.typed" in contents(wheel)
    assert "Typing :: Typed" in metadata(wheel).get_all("Classifier")


def test_the_wheel_installs_one_name_and_one_command(wheel):
    files = contents(wheel)
    (info,) = {name.split("/")[0] for name in files} - {"rlsparse"}
    assert info.endswith(".dist-info")
    scripts = configparser.ConfigParser()
    scripts.read_string(files[f"{info}/entry_points.txt"].decode())
    assert {section: dict(scripts[section]) for section in scripts.sections()} == {
        "console_scripts": {"rlsparse": "rlsparse.__main__:main"}
    }


def test_the_sdist_holds_what_building_and_testing_need(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    documents = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml"}
    documents |= {"Makefile", "constraints.txt", "mkdocs.yml", "hatch_build.py"}
    assert {*CARDS, WEIGHTS, *documents, "tests/test_wheel.py", "benchmarks/random_returns.py"} <= names


def test_a_wheel_built_from_the_sdist_is_the_same(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert contents(build(unpacked, tmp_path / "out", "wheel")) == contents(wheel)


def test_the_installed_command_lists_its_own_cards_from_anywhere(installed, tmp_path):
    (installed / "rlsparse" / "_cards" / "envs" / "hopper.toml").unlink()
    done = python(installed, tmp_path / "elsewhere", "-m", "rlsparse", "envs")
    assert done.returncode == 0, done.stderr
    assert "HalfCheetah-v5" in done.stdout
    assert "Hopper-v5" not in done.stdout


def test_an_installation_without_cards_reads_no_neighbouring_folder(installed, tmp_path):
    shutil.rmtree(installed / "rlsparse" / "_cards")
    for folder in ("agents", "envs"):
        shutil.copytree(ROOT / folder, installed / folder)
    done = python(installed, tmp_path / "elsewhere", "-m", "rlsparse", "envs")
    assert done.returncode == 1
    assert "cards are missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_it_is_light(installed, tmp_path):
    script = "import rlsparse, sys; print(rlsparse.__file__, *{'numpy', 'torch', 'gymnasium'} & set(sys.modules))"
    done = python(installed, tmp_path / "elsewhere", "-c", script)
    assert done.stdout.split() == [str(installed / "rlsparse" / "__init__.py")], done.stderr


def test_an_installation_trains_and_has_policies(installed, tmp_path):
    few = "--total-steps 2000 --eval-every 2000 --eval-episodes 1 --quiet"
    for number, words in enumerate((f"train --env InvertedPendulum {few}", "export ppo --env Hopper --out robot")):
        done = python(installed, tmp_path / str(number), "-m", "rlsparse", *words.split())
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1" / "robot" / "policy.rlsp").exists()


# What a package index and those who cite it read


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_link_of_the_index_page_leads_nowhere(wheel):
    page = metadata(wheel)
    assert page["Description-Content-Type"] == "text/markdown"
    assert "# rlsparse" in page.get_payload()
    assert hatch_build.RELATIVE.findall(page.get_payload()) == []


def test_links_and_pictures_lead_to_the_files_of_the_release():
    text = "![curve](a/b.png) [Page](docs/x.md#y) [elsewhere](https://x.org) [here](#part)"
    there = hatch_build.for_index(text, "https://x.org/o/r", "1.2.3")
    assert there == (
        "![curve](https://x.org/o/r/raw/v1.2.3/a/b.png) [Page](https://x.org/o/r/blob/v1.2.3/docs/x.md#y) "
        "[elsewhere](https://x.org) [here](#part)"
    )
    assert hatch_build.for_index(text, "", "1.2.3") == " Page [elsewhere](https://x.org) [here](#part)"


def test_every_link_of_readme_is_a_file():
    targets = [target for _, _, target in hatch_build.RELATIVE.findall((ROOT / "README.md").read_text())]
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target.partition("#")[0]).exists()] == []


def test_the_citation_is_of_this_version_and_address():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", __version__)
    assert cited["license"] == project()["project"]["license"]
    assert cited["authors"] == project()["project"]["authors"]
    address = project()["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
    assert cited.get("repository-code", "") == address
    assert ("Source" in hatch_build.addresses(address)) == bool(address)


def test_the_changelog_begins_with_this_version():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == __version__


def test_a_tag_of_this_commit_names_this_version():
    git = ["git", "tag", "--points-at", "HEAD", "v*"]
    tags = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{__version__}"}
