"""Modules that the command line names, and code of others that prints, moves or fails."""

import os
import sys
from pathlib import Path

import gymnasium
import pytest
import tiny

from rlsparse.errors import UsageError
from rlsparse.run import cards
from rlsparse.run.foreign import COMMAND, contained, import_named

OWN = """
import gymnasium
print("imported")
for name in ("Walker-v0", "Runner-v2"):
    gymnasium.register(name, entry_point="fake_envs:Point")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory that Python does not search by itself; what is imported from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules, registry = set(sys.modules), set(gymnasium.registry)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in set(gymnasium.registry) - registry:
        del gymnasium.registry[name]


def test_a_module_in_the_working_directory_is_found(folder):
    (folder / "own_envs.py").write_text(OWN)
    assert cards.resolve_environment("own_envs:Walker-v0") == "own_envs:Walker-v0"
    (folder / "package").mkdir()
    (folder / "package" / "envs.py").write_text(OWN)
    assert cards.resolve_environment("package.envs:Walker-v0") == "package.envs:Walker-v0"


def test_the_working_directory_is_searched_for_what_lies_there_alone(folder):
    (folder / "own_envs.py").write_text(OWN)
    before = list(sys.path)
    import_named("fake_envs")
    assert sys.path == before
    import_named("own_envs.py")
    assert sys.path == before
    import_named("own_envs")
    assert sys.path == [str(folder), *before]


def test_a_class_that_is_mistyped_is_suggested_and_no_task_of_gymnasium(folder):
    (folder / "arm.py").write_text("import gymnasium\nclass Arm(gymnasium.Env): pass\n")
    with pytest.raises(UsageError, match=r"^unknown environment 'arm.py:Arn': did you mean .*arm.py:Arm\?$"):
        cards.resolve_environment("arm.py:Arn")
    with pytest.raises(
        UsageError, match=r"^unknown environment 'arm.py:Hoper': arm.py has no class and registers no id"
    ):
        cards.resolve_environment("arm.py:Hoper")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("arm.py", "unknown environment 'arm.py': name a class of the file too, as in arm.py:MyEnv"),
        (
            "arm",
            "unknown environment 'arm' (rlsparse envs lists them; a class of your own is named as in arm.py:MyEnv)",
        ),
        ("arm.Arm", "unknown environment 'arm.Arm' (rlsparse envs lists them; a class of your own is named as in "),
    ],
)
def test_a_file_without_its_class_is_told_how_classes_are_named(name, told, folder):
    (folder / "arm.py").touch()
    with pytest.raises(UsageError) as caught:
        cards.resolve_environment(name)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("name", ["Walker", "walker-v0", "Walker-v1", "walkr-v0"])
def test_a_name_that_is_nearly_one_of_the_module_is_suggested(name, folder):
    (folder / "own_envs.py").write_text(OWN)
    with pytest.raises(UsageError) as caught:
        cards.resolve_environment(f"own_envs:{name}")
    assert str(caught.value) == f"unknown environment 'own_envs:{name}': did you mean own_envs:Walker-v0?"


def test_a_name_like_none_of_the_module_says_so(folder):
    (folder / "own_envs.py").write_text(OWN)
    with pytest.raises(
        UsageError, match="^unknown environment 'own_envs:xyzzy': own_envs has no class and registers no id like it$"
    ):
        cards.resolve_environment("own_envs:xyzzy")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_package", "cannot import own_envs: No module named 'no_such_package'"),
        ("from os import no_such_name", "cannot import own_envs: cannot import name 'no_such_name' from 'os'"),
        ("raise RuntimeError('no licence\\n server')", "cannot import own_envs: RuntimeError: no licence server"),
        ("raise SystemExit(3)", "cannot import own_envs: SystemExit: 3"),
        ("undefined", "cannot import own_envs: NameError: name 'undefined' is not defined"),
        ("def f(:", "cannot import own_envs: SyntaxError: invalid syntax (own_envs.py, line 1)"),
    ],
)
def test_what_an_import_raises_is_told_in_one_line(source, told, folder):
    (folder / "own_envs.py").write_text(source)
    with pytest.raises(UsageError) as caught:
        cards.resolve_environment("own_envs:Walker-v0")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module", "cannot import no_such_module: No module named 'no_such_module'"),
        ("no.such.module", "cannot import no.such.module: No module named 'no'"),
        ("", "cannot import a module without a name: ValueError: Empty module name"),
        (".relative", "cannot import .relative: TypeError"),
        ("own_envs.py", "cannot import /.*/own_envs.py: there is no file /.*/own_envs.py$"),
    ],
)
def test_a_module_that_is_none_is_told(name, told, folder):
    with pytest.raises(UsageError, match=f"^{told}"):
        cards.resolve_environment(f"{name}:Walker-v0")


@pytest.fixture
def command():
    """The process is one of our commands, whose streams and working directory are ours."""
    before = COMMAND.set(True)
    yield
    COMMAND.reset(before)


def test_what_others_print_goes_to_stderr(capfd, command):
    with contained():
        print("by Python")
        os.write(1, b"by its descriptor\n")
        os.system("echo by a child")
    print("ours")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert sorted(err.splitlines()) == ["by Python", "by a child", "by its descriptor"]


def test_the_working_directory_is_afterwards_what_it_was(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError), contained():
        os.chdir("/")
        raise ZeroDivisionError
    assert Path.cwd() == tmp_path


def test_in_a_process_of_others_streams_and_working_directory_are_theirs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with contained():
        print("theirs")
        os.chdir("/")
    assert (capfd.readouterr().out, Path.cwd()) == ("theirs\n", Path("/"))


@pytest.mark.parametrize("module", ["rlsparse", "rlsparse.train"])
def test_the_command_itself_says_what_an_import_lacks(module, tmp_path):
    (tmp_path / "own_envs.py").write_text("import no_such_package")
    arguments = ["--env", "own_envs:Walker-v0"]
    done = tiny.command(*(["train"] if module == "rlsparse" else []), *arguments, cwd=tmp_path, module=module)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rlsparse: cannot import own_envs: No module named 'no_such_package'\n"
