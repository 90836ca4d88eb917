"""A run that begins with a trained policy: it acts, scales and values as that did; all else is as in any run."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_policy_file import parts

from rlsparse.advantage.group_relative import GroupRelative
from rlsparse.errors import Interrupted, RunDirectoryError, UsageError
from rlsparse.learner.network import ActorCritic
from rlsparse.run import from_python, policy_file
from rlsparse.run.flags import train_flags
from rlsparse.run.recipe import check
from rlsparse.run.warm_start import WarmStart, with_policy
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

TRAINED = tiny.recipe(num_seeds=2, seed=3)
LAYOUT = TRAINED.layout(2, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the seeds 3 and 4, to its end."""
    session = tiny.begin(tmp_path_factory.mktemp("trained") / "run", TRAINED)
    tiny.go_on(session)
    return session


@pytest.fixture
def path(trained):
    return trained.run.path / "policy.safetensors"


def warm(path, recipe=TRAINED, **init):
    """The recipe that begins with a policy file."""
    recipe = with_policy(recipe, str(path), policy_file.load)
    return replace(recipe, init=replace(recipe.init, **init))


def remarks(recipe, layout):
    """What is said of the beginning before the first step."""
    return list(recipe.beginning.remarks(recipe, layout, policy_file.load))


def begun(folder, recipe):
    """The learner of a session at its start."""
    session = tiny.begin(folder, recipe)
    session.run.release()
    return session.learner


def evaluations(run, seed):
    with open(run / "progress.csv") as file:
        return [row for row in csv.DictReader(file) if row["seed"] == str(seed)]


def test_the_first_evaluation_is_the_last_one_of_the_policy_to_the_last_bit(trained, path, tmp_path):
    run = tiny.train(tmp_path / "run", warm(path))
    for seed in TRAINED.seeds:
        last, first = evaluations(trained.run.path, seed)[-1], evaluations(run, seed)[0]
        assert (first["total_steps"], first["return_mean"]) == ("0", last["return_mean"])
        assert len(evaluations(run, seed)) == 4, "steps are counted from zero"


def test_normalisers_go_on_and_the_optimiser_begins_anew(trained, path, tmp_path):
    learner, before = begun(tmp_path / "run", warm(path)), trained.learner
    np.testing.assert_array_equal(learner.params, before.params)
    for name in ("mean", "var", "count"):
        np.testing.assert_array_equal(getattr(learner.return_moments, name), getattr(before.return_moments, name))
        np.testing.assert_allclose(getattr(learner.obs_moments, name), getattr(before.obs_moments, name), rtol=1e-6)
    np.testing.assert_array_equal(learner.obs_scale().mean, before.obs_scale().mean)
    np.testing.assert_array_equal(learner.obs_scale().inv_std, before.obs_scale().inv_std)
    assert not any(x.any() for x in learner.optimiser.state_dict().values())
    assert not learner.counters.total.any()


@pytest.mark.parametrize(
    ("seed", "num_seeds", "chosen", "expected"),
    [(3, 2, None, [3, 4]), (4, 2, None, [4, 4]), (0, 3, None, [3, 4, 3]), (7, 1, None, [4]), (0, 2, 4, [4, 4])],
)
def test_a_member_begins_with_the_policy_of_its_seed_or_of_its_seed_counted_around(
    seed, num_seeds, chosen, expected, trained, path, tmp_path
):
    learner = begun(tmp_path / "run", warm(path, replace(TRAINED, seed=seed, num_seeds=num_seeds), seed=chosen))
    np.testing.assert_array_equal(learner.params, trained.learner.params[[x - 3 for x in expected]])


def test_a_member_equals_its_solo_run(path, tmp_path):
    whole = policy_file.load(tiny.train(tmp_path / "whole", warm(path, replace(TRAINED, num_seeds=3))) / path.name)
    for member, seed in enumerate((3, 4, 5)):
        solo = warm(path, replace(TRAINED, seed=seed, num_seeds=1))
        alone = policy_file.load(tiny.train(tmp_path / str(seed), solo) / path.name)
        np.testing.assert_array_equal(alone.actors.params[0], whole.actors.params[member])
        for name, x in alone.statistics.items():
            np.testing.assert_array_equal(x[0], whole.statistics[name][member])


def test_stopped_and_resumed_without_the_policy_file_it_ends_the_same(path, tmp_path):
    copy = shutil.copy(path, tmp_path / "copy.safetensors")
    recipe = warm(copy)
    expected = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    asked = iter(range(10**6))
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run", recipe), lambda: next(asked) > 40)
    Path(copy).unlink()
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == expected


def test_killed_before_its_first_checkpoint_it_begins_anew_with_the_policy(path, tmp_path):
    expected = tiny.outcome(tiny.train(tmp_path / "whole", warm(path)))
    tiny.begin(tmp_path / "run", warm(path)).run.release()
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == expected


def test_action_noise_is_the_policy_s_or_what_is_asked_for(trained, path, tmp_path):
    own = LAYOUT.log_std(trained.learner.params)
    np.testing.assert_array_equal(LAYOUT.log_std(begun(tmp_path / "a", warm(path)).params), own)
    np.testing.assert_array_equal(LAYOUT.log_std(begun(tmp_path / "b", warm(path, log_std=-0.5)).params), own * 0 - 0.5)


# From dense to sparse, and back


@pytest.mark.parametrize("rule", [Static(), SET(), RigL()])
def test_sparse_networks_begin_with_the_largest_weights_as_they_are(rule, trained, path, tmp_path):
    sparse = Sparse(0.5, rule=rule)
    learner = begun(tmp_path / "run", warm(path, replace(TRAINED, sparse=sparse)))
    for slot, count in sparse.budgets(LAYOUT):
        for own, dense in zip(learner.params, trained.learner.params, strict=True):
            before, after = (x[slot.start : slot.stop] for x in (dense, own))
            assert np.count_nonzero(after) == count
            np.testing.assert_array_equal(after[after != 0], before[after != 0])
            assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()


def test_what_begins_dense_or_as_sparse_as_the_policy_changes_nothing(trained, path, tmp_path):
    pruned = begun(tmp_path / "a", warm(path, replace(TRAINED, sparse=Sparse(0.5, rule=Magnitude()))))
    np.testing.assert_array_equal(pruned.params, trained.learner.params)
    static = replace(TRAINED, sparse=Sparse(0.5, rule=Static()))
    file = tiny.train(tmp_path / "static", static) / path.name
    sparse = policy_file.load(file).actors.params
    np.testing.assert_array_equal(begun(tmp_path / "b", warm(file, static)).params, sparse)
    np.testing.assert_array_equal(begun(tmp_path / "c", warm(file)).params, sparse)


@pytest.mark.parametrize("rule", [Static(), SET(every=1), DCIL(), Magnitude()])
def test_sparse_training_goes_on_from_there_and_resumes_exactly(rule, path, tmp_path):
    recipe = warm(path, replace(TRAINED, sparse=Sparse(0.5, rule=rule)))
    expected = tiny.outcome(tiny.train(tmp_path / "whole", recipe))
    asked = iter(range(10**6))
    with pytest.raises(Interrupted):
        tiny.go_on(tiny.begin(tmp_path / "run", recipe), lambda: next(asked) > 60)
    assert tiny.outcome(tiny.resume(tmp_path / "run")) == expected


# What a policy lacks, and what does not fit


def test_without_a_critic_in_the_file_the_critic_begins_anew_and_that_is_said(path, tmp_path):
    group = replace(TRAINED, advantage=GroupRelative(group_size=2))
    file = tiny.train(tmp_path / "group", group) / path.name
    recipe = warm(file)
    (remark,) = remarks(recipe, LAYOUT)
    assert remark == f"--init {file}: it was trained without a critic, so the critic begins anew"
    learner, fresh = begun(tmp_path / "a", recipe), begun(tmp_path / "b", TRAINED)
    critic = LAYOUT.group("critic")
    np.testing.assert_array_equal(learner.params[:, critic], fresh.params[:, critic])
    np.testing.assert_array_equal(learner.params[:, LAYOUT.policy], policy_file.load(file).actors.params)


def test_a_critic_that_is_not_needed_is_left_out(trained, path, tmp_path):
    learner = begun(tmp_path / "run", warm(path, replace(TRAINED, advantage=GroupRelative(group_size=2))))
    np.testing.assert_array_equal(learner.params, trained.learner.params[:, LAYOUT.policy])


def test_files_of_earlier_versions_begin_with_a_count_that_is_assumed_and_said(path, tmp_path):
    recorded, arrays = parts(path)
    older = {name: x for name, x in arrays.items() if name not in policy_file.STATISTICS}
    file = tmp_path / "older.safetensors"
    file.write_bytes(policy_file._encode(recorded, older))
    (remark,) = remarks(warm(file), LAYOUT)
    assert remark.endswith("which begins anew; its normaliser counts as if it had seen 96 observations")
    learner = begun(tmp_path / "run", warm(file))
    assert (learner.obs_moments.count == 96).all()
    assert not learner.return_moments.count.any()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (ActorCritic((16,), (8,)), r"its actor is 2-8-1, the recipe's 2-16-1: use --policy.actor-hidden 8$"),
        (ActorCritic((8,), (8, 8)), r"its critic is 2-8-1, the recipe's 2-8-8-1: use --policy.critic-hidden 8$"),
        (ActorCritic((8,), (8,), activation="elu"), "it was trained with --policy.activation tanh: use the same here"),
        (ActorCritic((8,), (8,), layer_normalisation=True), "with --policy.no-layer-normalisation: use the same here"),
        (ActorCritic((8,), (8,), state_dependent_std=True), "with --policy.no-state-dependent-std: use the same here"),
        (ActorCritic((8,), (8,), normalise_observations=False), "it was trained with --policy.normalise-observations"),
    ],
)
def test_other_networks_are_refused_with_both_shapes(policy, message, path):
    recipe = replace(warm(path), policy=policy)
    with pytest.raises(UsageError, match=message):
        remarks(recipe, recipe.layout(2, 1))


def test_other_observations_are_refused(path):
    with pytest.raises(UsageError, match="its actor is 2-8-1, the recipe's 3-8-1: use a policy of an environment with"):
        remarks(warm(path), TRAINED.layout(3, 1))


def test_a_seed_that_the_file_does_not_hold_is_refused(path):
    with pytest.raises(UsageError, match=r"--init.seed 5: .* holds 3 to 4"):
        remarks(warm(path, seed=5), LAYOUT)


def test_a_file_that_has_changed_or_gone_is_refused(path, tmp_path):
    copy = Path(shutil.copy(path, tmp_path / "copy.safetensors"))
    recipe = warm(copy)
    shutil.copy(tiny.train(tmp_path / "other", tiny.recipe(seed=9)) / path.name, copy)
    with pytest.raises(
        UsageError, match="is not the policy that the recipe begins with, by its SHA-256: .* --init none"
    ):
        remarks(recipe, LAYOUT)
    copy.unlink()
    with pytest.raises(RunDirectoryError, match="^cannot read .*copy.safetensors: No such file"):
        remarks(recipe, LAYOUT)


def test_a_folder_that_a_recipe_names_is_not_searched(trained, path, tmp_path):
    for policy in ("/", str(trained.run.path), "runs"):
        with pytest.raises(RunDirectoryError, match="^cannot read "):
            begun(tmp_path / policy.strip("/").replace("/", "_"), warm(path, policy=policy))


@pytest.mark.parametrize("sha256", ["", "x" * 64, "a" * 63])
def test_a_digest_that_is_none_is_refused(sha256):
    with pytest.raises(UsageError, match="--init.sha256 is"):
        check(replace(TRAINED, init=WarmStart("ppo", sha256)))


# On the command line and in Python


def test_the_flag_gives_the_networks_of_the_policy_and_the_name_says_so(trained, path):
    run = trained.run.path
    agent, recipe, flags = train_flags(
        ["--env", TRAINED.env, "--init", str(run), "--init.seed", "4", "--total-steps", "9"]
    )
    assert (agent, recipe.policy, recipe.total_steps) == ("ppo+init", TRAINED.policy, 9)
    assert recipe.init == replace(warm(path).init, seed=4)
    assert from_python.recipe(TRAINED.env, None, "auto", {"init": run})[0] == "ppo+init"
    given = {"init": {"policy": run, "seed": 4}, "total_steps": 9}
    assert from_python.recipe(TRAINED.env, None, "auto", given) == (agent, recipe)


def test_a_shipped_policy_is_known_by_its_card(tmp_path):
    agent, recipe, _ = train_flags(["--env", "Hopper", "--init", "ppo", "--sparse", "rigl"])
    assert (agent, recipe.init.policy) == ("ppo+rigl+init", "ppo")
    assert not list(remarks(recipe, recipe.layout(11, 3)))  # it fits, and the file lacks nothing


def test_a_run_like_a_warm_started_one_begins_with_the_same_policy_unless_told_else(path, tmp_path):
    run = tmp_path / "run"
    tiny.begin(run, warm(path)).run.release()
    named = ["--like", str(run), "--env", TRAINED.env]
    assert train_flags(named)[:2] == ("ppo+clip+init", warm(path))
    assert train_flags([*named, "--init", "none"])[:2] == ("ppo+clip", TRAINED)


def test_flags_of_a_policy_that_is_not_named_are_refused():
    with pytest.raises(UsageError, match="--init.seed needs --init, for example --init runs"):
        train_flags(["--env", "Hopper", "--init.seed", "3"])
