"""Numbers of a task that change while it is trained in: what changes, when, for whom, and what is refused."""

import numpy as np
import pytest
import tiny

from rlsparse import loop, sim
from rlsparse.errors import EnvironmentFailure, Interrupted, UsageError
from rlsparse.run import directory as runs
from rlsparse.run.callbacks import Callback
from rlsparse.run.reporters import Reporters, callbacks_of
from rlsparse.run.session import open_session, restore
from rlsparse.run.stop import Stop
from rlsparse.sim.curriculum import for_each
from rlsparse.sim.curriculum_envs import GymCurriculumEnv, MujocoCurriculumEnv
from rlsparse.sim.tasks import TASKS


@pytest.fixture(autouse=True)
def do_not_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def change(env, members=1, **fields):
    env.set_task(for_each(fields, env.task_numbers(), members, env.num_envs))


def play(env, steps, rng):
    """Observations, rewards and ends of steps with random actions, the same for every group of two environments."""
    low, high = env.single_action_space.low, env.single_action_space.high
    seen = []
    for _ in range(steps):
        actions = np.tile(rng.uniform(low, high, (2, len(low))), (env.num_envs // 2, 1))
        seen.append(env.step(actions)[:4])
    return [np.stack(x) for x in zip(*seen, strict=True)]


# The MuJoCo tasks


def other(number):
    """Another value of a field; a range stays one."""
    return tuple(1.25 * x for x in number) if isinstance(number, tuple) else 1.25 * number


@pytest.mark.parametrize("env_id", TASKS)
def test_every_number_of_every_task_changes_at_once_as_if_the_task_had_been_made_so(env_id):
    """Of three members the middle one changes; it equals an environment with these options, the others one without."""
    together = MujocoCurriculumEnv(env_id, 6)
    present = together.task_numbers()
    options = {name: other(x) for name, x in present.items() if name != "reset_noise_scale"}
    own, plain = MujocoCurriculumEnv(env_id, 2, **options), MujocoCurriculumEnv(env_id, 2)
    together.reset(seed=[0, 1] * 3)
    for env in (own, plain):
        env.reset(seed=[0, 1])
    first = [play(env, 3, np.random.default_rng(0)) for env in (together, own, plain)]
    change(together, 3, **{name: [present[name], x, present[name]] for name, x in options.items()})
    after = [play(env, 12, np.random.default_rng(1)) for env in (together, own, plain)]
    for a, b in zip(first[0], first[2], strict=True):
        np.testing.assert_array_equal(a, np.concatenate([b] * 3, 1))
    for a, b, c in zip(*after, strict=True):
        np.testing.assert_array_equal(a, np.concatenate([c, b, c], 1))


def test_a_task_that_has_not_changed_is_not_divided():
    env = MujocoCurriculumEnv("Hopper-v5", 4)
    assert len(env._parts) == 1
    assert env._parts[0][1] is env.task
    change(env, 2, healthy_reward=[2.0, 3.0])
    assert len(env._parts) == 2
    change(env, 2, healthy_reward=[2.0, 2.0])
    assert len(env._parts) == 1


def test_noise_of_resets_is_that_of_the_environment_s_own_task():
    env = MujocoCurriculumEnv("Swimmer-v5", 4)
    change(env, 2, reset_noise_scale=[0.0, 0.1])
    env.reset(seed=0)
    assert not env.qpos[:2].any()
    assert env.qpos[2:].any(1).all()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"healthy_rewards": 1.0}, r"the task has no number healthy_rewards: did you mean healthy_reward\?"),
        ({"frame_skip": 2}, "the task has no number frame_skip: it has"),
        ({"xml_file": "hopper.xml"}, "the task has no number xml_file"),
        ({"healthy_reward": "much"}, "healthy_reward is much: expected a number, or so for each of 2 members"),
        ({"healthy_reward": [1, 2, 3]}, r"healthy_reward is \[1, 2, 3\]: expected a number"),
        ({"healthy_reward": np.nan}, "healthy_reward is nan: expected a number"),
        ({"healthy_z_range": 0.5}, "healthy_z_range is 0.5: expected 2 numbers"),
        ({"healthy_z_range": (2.0, 0.5)}, "expected two numbers, the lower one first"),
        ({"reset_noise_scale": -1}, "reset-noise-scale is -1.0: expected zero or a positive number"),
    ],
)
def test_what_the_task_does_not_take_is_refused_and_changes_nothing(fields, message):
    env = MujocoCurriculumEnv("Hopper-v5", 4)
    with pytest.raises(UsageError, match=message):
        change(env, 2, **fields)
    assert env._parts[0][1] is env.task
    assert not env._changes.names


# Other environments


def lengths(env):
    return [vars(x.unwrapped)["max_torque"] for x in env._envs]


def test_another_environment_changes_when_its_next_episode_begins():
    env = GymCurriculumEnv("Pendulum-v1", 2)
    env.reset(seed=0)
    change(env, 2, max_torque=[1.0, 3.0], dt=0.1)
    assert lengths(env) == [2.0, 2.0]
    env._truncated[0] = True  # only where an episode has ended
    env.reset(options={"reset_mask": np.array([True, False])})
    assert lengths(env) == [1.0, 2.0]
    env.reset()
    assert lengths(env) == [1.0, 3.0]
    assert env._envs[0].unwrapped.dt == 0.1


def test_a_number_keeps_its_type():
    env = GymCurriculumEnv("Pendulum-v1", 1)
    change(env, max_speed=4)
    env.reset(seed=0)
    assert type(env._envs[0].unwrapped.max_speed) is int
    with pytest.raises(UsageError, match="max_speed is 0.5: expected a whole number"):
        change(env, max_speed=0.5)
    with pytest.raises(UsageError, match=r"no number max_torques: did you mean max_torque\?"):
        change(env, max_torques=1)
    with pytest.raises(UsageError, match="the task has no number render_mode"):
        change(env, render_mode="human")


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Hopper-v5"])
def test_a_state_brings_back_what_the_running_episodes_and_the_next_ones_have(env_id):
    field = {"Pendulum-v1": "max_torque", "Hopper-v5": "healthy_reward"}[env_id]
    env, again = sim.make(env_id, 4), sim.make(env_id, 4)
    env.reset(seed=0)
    for values in ([1.0, 1.5], [0.5, 1.75], [1.25, 1.0]):
        change(env, 2, **{field: values})
        play(env, 110, np.random.default_rng(0))  # Pendulum's episodes have 200 steps
    again.set_state(env.get_state())
    for a, b in zip(*(play(x, 110, np.random.default_rng(1)) for x in (env, again)), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, x in env.get_state().items():
        np.testing.assert_array_equal(again.get_state()[name], x)


@pytest.mark.parametrize(
    "env_id, name, value, error",
    [
        ("Hopper-v5", "reset_noise_scale", np.inf, UsageError),
        ("Hopper-v5", "xml_file", 1.0, UsageError),
        ("Hopper-v5", "max_episode_steps", 5.0, LookupError),  # which is told as a state that does not fit
        ("Pendulum-v1", "step", 1.0, EnvironmentFailure),
        ("Pendulum-v1", "np_random", 1.0, EnvironmentFailure),
    ],
)
def test_a_state_that_somebody_made_sets_nothing_but_numbers_of_the_task(env_id, name, value, error):
    env = sim.make(env_id, 2)
    env.reset(seed=0)
    letters = np.frombuffer(name.encode(), np.uint8)
    made = {"task_names": np.tile(letters, (2, 1)), "task": np.full((2, 2, 1), value)}
    with pytest.raises(error):
        env.set_state(env.get_state() | made)


# Runs


class Ramp(Callback):
    """A number grows with the steps taken, for every member at its own rate."""

    def __init__(self, field, unit=1.0):
        self.field, self.unit = field, unit

    def on_iteration(self, training):
        share = training.counters.total / training.recipe.total_steps
        training.set_task(**{self.field: self.unit * (1 + share * (1 + np.array(training.seeds)))})

    def state_dict(self):
        return {}


HOPPER = tiny.recipe(env="Hopper-v5", num_seeds=2, total_steps=320, num_envs=2, rollout_length=32, eval_every=320)
PENDULUM = tiny.recipe(env="Pendulum-v1", num_seeds=2, total_steps=768, num_envs=2, rollout_length=64, eval_every=768)


def train(session, stop):
    try:
        with Reporters(session, quiet=True) as reporters:
            loop.train(session, reporters, stop)
    finally:
        session.run.release()
    return tiny.outcome(session.run.path)


def begin(path, recipe, *callbacks):
    session, stop = tiny.begin(path, recipe), Stop()
    session.callbacks = callbacks_of(callbacks, stop.ask)
    return session, stop


@pytest.mark.parametrize("recipe, field", [(HOPPER, "forward_reward_weight"), (PENDULUM, "max_torque")])
def test_a_resumed_curriculum_is_the_uninterrupted_one_bit_for_bit(recipe, field, tmp_path):
    """Stopped after four rollouts: Pendulum's running episodes began with other numbers than their next ones."""

    class Stops(Callback):
        def on_iteration(self, training):
            if training.total_steps == 4 * recipe.iteration_steps:
                training.stop()

        def state_dict(self):
            return {}

    whole = train(*begin(tmp_path / "whole", recipe, Ramp(field), Callback()))
    with pytest.raises(Interrupted):
        train(*begin(tmp_path / "run", recipe, Ramp(field), Stops()))
    run, _, _, device = runs.reopen(tmp_path / "run")
    session = open_session(recipe, run, device, callbacks_of([Ramp(field), Callback()], print))
    restore(session)
    resumed = train(session, tiny.never)
    assert whole == resumed


@pytest.mark.parametrize("recipe, field", [(HOPPER, "forward_reward_weight"), (PENDULUM, "max_torque")])
def test_a_member_with_its_own_curriculum_equals_its_solo_run(recipe, field, tmp_path):
    train(*begin(tmp_path / "both", recipe, Ramp(field)))
    both = runs.read_progress(tmp_path / "both" / "progress.csv")
    train(*begin(tmp_path / "solo", tiny.replace(recipe, seed=1, num_seeds=1), Ramp(field)))
    solo = runs.read_progress(tmp_path / "solo" / "progress.csv")
    for rows in (both, solo):
        for row in rows:
            del row["seconds"]
    np.testing.assert_array_equal([list(x.values()) for x in both if x["seed"] == 1], [list(x.values()) for x in solo])
