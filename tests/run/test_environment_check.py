"""`rlsparse envs --check` tells what an environment is like, and warns of the usual mistakes."""

from pathlib import Path

import pytest

from rlsparse.run import environment_check, listing
from rlsparse.sim.task import Task, concatenate

SWING_UP = Path(__file__).resolve().parents[2] / "examples" / "swing_up"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(environment_check, "STEPS", 20)


class Flawed(Task):
    """Observes a constant and a large number, is paid 5,000 always, and ends at the second step."""

    xml_file = str(SWING_UP / "cartpole.xml")
    paid: float = 5_000.0

    def observe(self, d):
        return concatenate(d.qpos, d.qvel * 0, d.qpos[:, :1] * 0 + 2_000)

    def reward(self, d, velocity, action):
        return self.paid + 0.0 * velocity, d.time > 0.015

    def reset_noise(self, rng, qpos, qvel):
        return qpos + rng.uniform(-0.1, 0.1, 2), qvel


def warnings(name):
    return [line.removeprefix("warning: ") for line in environment_check.checked(name) if line.startswith("warning")]


def test_a_sound_task_gets_no_warning_and_its_sizes_are_told(capsys):
    listing.main(["envs", "--check", f"{SWING_UP / 'swing_up.py'}:SwingUp"])
    sizes, speed, random = capsys.readouterr().out.splitlines()
    assert sizes == "swing_up.py:SwingUp: 5 observations; 1 action, -1 to 1; episodes of at most 500 steps"
    assert "64 at once; physics takes" in speed
    assert "no episode ends within 20 steps" in random


def test_it_may_be_tried_with_other_arguments(capsys):
    name = f"{SWING_UP / 'swing_up.py'}:SwingUp"
    listing.main(["envs", "--check", name, "--env-kwargs.history", "3"])
    assert capsys.readouterr().out.startswith("swing_up.py:SwingUp: 15 observations")
    for arguments, message in {
        ("--check", name, "--env-kwargs.histroy", "3"): "did you mean history",
        ("--env-kwargs.history", "3"): "--check ENV names it",
    }.items():
        with pytest.raises(SystemExit):
            listing.main(["envs", *arguments])
        assert message in capsys.readouterr().err


def test_usual_mistakes_are_warned_of():
    assert warnings(f"{__name__}:Flawed") == [
        "observations that never change: numbers 2, 3, 4 of 5",
        "observations beyond 1,000: numbers 4 of 5; bound or scale them",
        "the reward is always 5000: random actions find nothing to learn from",
        "episodes end after 2.0 steps on average: is the start within the bounds of termination?",
    ]


def test_environments_of_gymnasium_are_tried_too():
    sizes, speed, random = environment_check.checked("Pendulum-v1")
    assert sizes == "Pendulum-v1: 3 observations; 1 action, -2 to 2; episodes of at most 200 steps"
    assert speed.endswith("1 at once")
    assert random.startswith("random actions: a step's reward is")


def test_a_name_that_nobody_knows_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        listing.main(["envs", "--check", "Hoper"])
    assert left.value.code == 2
    assert "did you mean Hopper-v5?" in capsys.readouterr().err
