"""Names of settings and seeds in the folder of a study: short, safe, and the same whatever the order."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rlsparse.errors import UsageError
from rlsparse.study.folders import ranges_of_seeds, setting_label, setting_text, value_text

SAFE = set(string.ascii_letters + string.digits + "_.,=+-")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (64, "64"),
        (True, "true"),
        (None, "none"),
        ((64, 64), "64x64"),
        ([], "empty"),
        ("td-lambda", "td-lambda"),
    ],
)
def test_a_value_is_told_as_it_is_written(value, text):
    assert value_text(value) == text


def test_a_setting_is_the_same_whatever_the_order_of_the_grid():
    a, b = ("algorithm.learning_rate", 1e-3), ("advantage.gamma", 0.99)
    assert setting_text(dict([a, b])) == setting_text(dict([b, a])) == "gamma=0.99,learning_rate=0.001"


def test_arguments_of_environments_are_safe_too_and_never_mistaken_for_fields():
    assert setting_text({"env_kwargs.healthy_reward": 1}) == "healthy_reward=1"
    assert setting_text({"env_kwargs.gamma": 1}) == "env_kwargs.gamma=1"
    assert "/" not in setting_text({"env_kwargs.../../x": 1})


def test_a_label_keeps_the_order_of_the_grid():
    setting = {"algorithm.learning_rate": 1e-3, "advantage.gamma": 0.99}
    assert setting_label(setting) == "learning_rate 0.001, gamma 0.99"


def test_a_long_setting_is_cut_and_told_apart_by_its_digest():
    names = ("algorithm.learning_rate", "algorithm.clip_range", "algorithm.entropy_coef", "algorithm.max_grad_norm")
    one, other = (setting_text({**dict.fromkeys(names, 0.123456789), "num_envs": n}) for n in (1, 2))
    assert one != other
    assert max(map(len, (one, other))) <= 100


values = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(allow_nan=False),
    some.text(),
    some.lists(some.integers(), max_size=3),
    some.dictionaries(some.text(), some.integers(), max_size=2),
)


@given(values)
def test_any_value_is_safe_as_part_of_a_file_s_name(value):
    text = value_text(value)
    assert len(text) <= 100 or isinstance(value, int | list)
    assert all(x in SAFE or x.isalnum() for x in text)
    assert text


@given(some.text(), some.text())
def test_different_texts_have_different_names(one, other):
    assert (value_text(one) == value_text(other)) == (one == other)


def run(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "recipe.toml").touch()


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        ([], range(5), [range(5)]),
        ([(0, 4)], range(5), [range(5)]),
        ([(0, 4)], range(10), [range(5), range(5, 10)]),
        ([(0, 4), (5, 9)], range(10), [range(5), range(5, 10)]),
        ([(0, 9)], range(5), [range(10)]),
        ([(3, 4), (7, 7)], range(10), [range(3), range(3, 5), range(5, 7), range(7, 8), range(8, 10)]),
        ([(100, 104)], range(5), [range(5)]),
        ([(3, 12)], range(5, 10), [range(3, 13)]),
    ],
)
def test_runs_that_are_there_keep_their_seeds(there, wanted, found, tmp_path):
    for first, last in there:
        run(tmp_path, f"seeds-{first}-{last}")
    assert ranges_of_seeds(tmp_path, wanted) == found


def test_a_folder_without_a_run_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "seeds-2-3").mkdir()
    (tmp_path / "seeds-9-3").mkdir()
    run(tmp_path, "notes")
    assert ranges_of_seeds(tmp_path, range(5)) == [range(5)]


def test_a_seed_in_two_runs_is_refused(tmp_path):
    run(tmp_path, "seeds-0-4")
    run(tmp_path, "seeds-3-9")
    with pytest.raises(UsageError, match="seeds-0-4 and seeds-3-9 have seeds in common"):
        ranges_of_seeds(tmp_path, range(10))
