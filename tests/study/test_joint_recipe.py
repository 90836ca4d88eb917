"""Runs that differ in numbers train as one population; every member equals its solo run, bit for bit."""

import re
from dataclasses import is_dataclass, replace
from functools import cache
from typing import get_args, get_type_hints

import numpy as np
import pairs
import pytest
import tiny
from differing import SIZE, changed, varied
from tape import tape
from tensors import DEVICE

from rlsparse import loop
from rlsparse.algorithms.ppo import PPO
from rlsparse.explore.explorler import ExploRLer
from rlsparse.learner.network import ActorCritic
from rlsparse.run import session as sessions
from rlsparse.run.checkpoint import Checkpoint
from rlsparse.run.compatibility import components
from rlsparse.run.device import prepare
from rlsparse.run.recipe import Recipe
from rlsparse.sparse.config import Sparse
from rlsparse.sparse.packed_update import Packing
from rlsparse.sparse.rules import SET, Magnitude, RigL
from rlsparse.study.joint_recipe import joint, of_member, varying_fields
from rlsparse.study.members import cut

ITERATIONS = 3


def component_classes(cls=Recipe):
    """The class itself and those of all components that may lie within."""
    found = [cls]
    for hint in get_type_hints(cls).values():
        for option in (hint, *get_args(hint)):
            if isinstance(option, type) and is_dataclass(option):
                found += component_classes(option)
    return list(dict.fromkeys(found))


DECLARED = [(cls, name) for cls in component_classes() for name in varying_fields(cls)]
"""Every field of which its component says that it may differ between members."""

KIND = {
    cls: (family, name)
    for family, (_, kinds) in pairs.FLAGS.items()
    if isinstance(kinds, dict)
    for name, cls in kinds.items()
}
"""Family and name of each class that is chosen by its name."""
NEAR = {
    "ActorCritic": ("algorithm", "ppo"),
    "Scaffold": ("advantage", "group-relative"),
    "Sparse": ("sparse", "rigl"),
    "ExploRLer": ("proposal", "line"),
}
"""A kind whose recipe has a component of a class that is not chosen by its name."""

VALUES = {
    "GroupRelative.unseen": (0.5, 1.0),
    "Scaffold.success_return": (-0.3, -1.0),
    "Scaffold.exempt": (0.0, 0.6),
    "PPO.target_kl": (1e-4, 1.0),
    "CG.tolerance": (1e-5, 1.0),
    "Clip.clip_range_high": (1e-4, 0.3),
    "ActorCritic.log_std_min": (0.5, -0.5),
    "ActorCritic.log_std_max": (-0.5, -1.5),
    "HPT.success_return": (-2.0, 0.0),
    "ExploRLer.start": (0.0, 0.4),
    "ExploRLer.budget_fraction": (1.0, 0.05),
    "Sparse.max_kl": (1e-9, 1.0),
    "DCIL.start": (0.01, 0.4),
    "AST.start": (0.01, 0.4),
    **{f"{probe}.level": (1e-6, 0.999999) for probe in ("Episodes", "Racing", "InRollout", "Surrogate")},
}
"""Two values with which runs differ, where they do not with the usual one and half of it."""

SETTINGS = {
    "Scaffold": {"advantage.scaffold.after": 1, "advantage.scaffold.success_return": -0.3},
    "TRPO.backtrack_factor": {"algorithm.target_kl": 3.0},
    "EmptySpace": {"explore.num_anchors": 4},
    "SurrogateGradient": {"explore.num_anchors": 4, "explore.proposal.candidates": 4},
    "Episodes.level": {"explore.probe.episodes": 2, "explore.probe.accept": "evidence"},
    "Racing.level": {"explore.probe.accept": "evidence"},
    "Surrogate.level": {"explore.probe.accept": "evidence"},
    "InRollout.level": {"explore.probe.move": "best"},
    "DCIL.start": {"sparse.rule.schedule": "cubic"},
}
"""What a field, or all of a class, needs beside to make a difference."""


def told(of_fields, cls, name, otherwise):
    """What is said of a field, under the name of its class or of one that it inherits from, or of the whole class."""
    places = [*(f"{base.__name__}.{name}" for base in cls.__mro__), *(base.__name__ for base in cls.__mro__)]
    return next((of_fields[place] for place in places if place in of_fields), otherwise)


def pair(cls, name):
    """Two recipes that differ in one field of a component."""
    recipe = replace(pairs.verdict(KIND.get(cls) or NEAR[cls.__name__]).recipe, **SIZE)
    for place, value in told(SETTINGS, cls, name, {}).items():
        recipe = changed(recipe, place, value)
    where, component = next(x for x in components(recipe) if type(x[1]) is cls)
    usual = getattr(component, name)
    values = told(VALUES, cls, name, (usual, 0.5 * usual if usual else 0.5))
    return [changed(recipe, f"{where}.{name}", value) for value in values]


@cache
def ending(recipe, device="cpu"):
    """The state of a run after some iterations and probes; in place of evaluations it has the scores of probes."""
    prepare()
    learner, collector, explorer = sessions.begin(recipe, device)
    learner.record = None if device == "cpu" else tape
    scores = [[] for _ in learner.seeds]
    for _ in range(ITERATIONS):
        choices = [(np.arange(learner.members), loop.iterate(recipe, learner, collector, explorer).choice)]
        while (members := explorer.due()).size:
            choices.append((members, explorer.probe(members, lambda: False)))
        for members, choice in choices:
            for row, member in enumerate(members if choice else ()):
                scores[member].append(choice.score[row].tobytes())
    collector.env.close()
    arrays = {"learner": learner.state_dict(), "collector": collector.state_dict(), "explorer": explorer.state_dict()}
    return Checkpoint(arrays, {"evaluated_at": scores, "random": learner.random_state()})


def differences(recipes, device="cpu"):
    """Train recipes together and alone, hold that it makes no difference; return what differs between recipes."""
    together, first = ending(joint(recipes), device), 0
    members = sum(recipe.num_seeds for recipe in recipes)
    alone = [ending(recipe, device) for recipe in recipes]
    for recipe, own in zip(recipes, alone, strict=True):
        part = cut(together, slice(first, first + recipe.num_seeds), members)
        first += recipe.num_seeds
        assert part.values == own.values
        for group, arrays in own.arrays.items():
            for name, x in arrays.items():
                np.testing.assert_array_equal(part.arrays[group][name], x, f"{group} {name}")
    one, other = alone[0], alone[-1]
    return (one.values != other.values) + sum(
        not np.array_equal(x, other.arrays[group][name], equal_nan=True)
        for group, arrays in one.arrays.items()
        for name, x in arrays.items()
    )


@pytest.mark.parametrize("cls, name", DECLARED, ids=lambda x: getattr(x, "__name__", x))
def test_members_that_differ_in_a_number_are_bitwise_their_solo_runs(cls, name):
    assert differences(pair(cls, name)), "the field changes nothing"


@pytest.mark.parametrize(
    "kinds",
    [
        [("algorithm", "ppo"), ("proposal", "empty-space")],
        [("algorithm", "ppo"), ("optimiser", "adamp")],
        [("sparse", "rigl"), ("proposal", "gaussian")],
        [("sparse", "set")],
        [("sparse", "dcil"), ("advantage", "vtrace")],
        [("sparse", "set"), ("solver", "mfac")],
        [("objective", "hpt"), ("advantage", "td-lambda")],
        [("algorithm", "n-harpg"), ("proposal", "consensus")],
        [("advantage", "submodular"), ("objective", "sso")],
    ],
    ids=lambda kinds: "+".join(name for _, name in kinds),
)
def test_all_numbers_may_differ_at_once_between_runs_of_several_sizes(kinds):
    assert differences(of_several_sizes(replace(pairs.verdict(*kinds).recipe, **SIZE)))


def of_several_sizes(recipe):
    """Runs of one, three and one members, whose numbers all differ."""
    runs = (0, 1, 1.0), (1, 3, 0.7), (0, 1, 0.6)
    return [varied(replace(recipe, seed=seed, num_seeds=n), factor) for seed, n, factor in runs]


@pytest.mark.parametrize(
    "kind",
    [
        ("algorithm", "ppo"),
        ("objective", "sso"),
        pytest.param(("solver", "cg"), marks=pytest.mark.long),
        ("solver", "mfac"),
        ("advantage", "vtrace"),
    ]
    + [("sparse", "rigl"), ("sparse", "dcil"), ("proposal", "empty-space")],
    ids=lambda kind: kind[1],
)
def test_and_on_tensors_where_steps_are_recorded(kind, caplog):
    recipe = replace(pairs.verdict(kind).recipe, **SIZE)
    assert differences([recipe, varied(recipe, 0.7)], DEVICE)
    assert "unrecorded" not in caplog.text


def test_and_where_a_member_stops_early_on_tensors():
    recipe = changed(replace(pairs.verdict(("algorithm", "ppo")).recipe, **SIZE), "algorithm.target_kl", 1e-3)
    assert differences([recipe, varied(recipe, 0.7)], DEVICE)


@pytest.mark.parametrize("rule", [SET(every=1, end=1.0), RigL(every=1, end=1.0)])
def test_and_where_updates_are_of_present_weights_alone(rule):
    pytest.importorskip("numba")
    policy, sparse = ActorCritic((16, 16), (16, 16)), Sparse(0.8, rule=rule, max_kl=1e-4)
    recipe = replace(pairs.verdict(("sparse", "rigl")).recipe, **SIZE, policy=policy, sparse=sparse)
    learner, collector, _ = sessions.begin(recipe)
    collector.env.close()
    assert Packing(learner.sparsity.masks).layout(learner) is not None
    assert differences(of_several_sizes(recipe))


def test_and_where_members_come_to_differ_in_size():
    policy, sparse = ActorCritic((32, 32), (32, 32)), Sparse(0.9, rule=Magnitude(0.0, 0.2), max_kl=10.0)
    recipe = replace(pairs.verdict(("sparse", "rigl")).recipe, **SIZE, policy=policy, sparse=sparse)
    assert differences([recipe, changed(recipe, "sparse.max_kl", 1e-3)])


def test_the_page_on_sweeps_lists_all_of_them():
    section = (
        (tiny.ROOT / "docs" / "sweep.md").read_text().partition("## What is trained together")[2].partition("\n## ")[0]
    )
    assert {name for _, name in DECLARED} <= set(re.findall(r"`(\w+)`", section))


# The recipe itself


def test_a_joint_recipe_has_the_seeds_of_all_runs_and_numbers_only_where_they_differ():
    slow, fast = (Recipe("Hopper-v5", seed=3, num_seeds=2, algorithm=PPO(rate)) for rate in (1e-4, 1e-3))
    together = joint([slow, replace(fast, seed=0, num_seeds=1)])
    assert together.num_seeds == 3
    assert list(together.seeds) == [3, 4, 0]
    assert together.algorithm == replace(slow.algorithm, learning_rate=together.algorithm.learning_rate)
    assert together.algorithm.learning_rate.numbers == (1e-4, 1e-4, 1e-3)
    assert [of_member(together.algorithm, member) for member in range(3)] == [slow.algorithm] * 2 + [fast.algorithm]


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"algorithm": PPO(epochs=3)}, "algorithm.epochs may not differ between members that are trained together"),
        ({"algorithm": PPO(target_kl=0.1)}, "algorithm.target_kl may not differ .*: 0.1 and None"),
        ({"explore": ExploRLer()}, "explore may not differ .*: None and explorler"),
        ({"env_kwargs": {"frame_skip": 2}}, "env_kwargs may not differ"),
        ({"total_steps": 10}, "total_steps may not differ .*: 10 and 1000000"),
    ],
)
def test_runs_that_differ_otherwise_are_refused(changes, reason):
    usual = Recipe("Hopper-v5")
    with pytest.raises(ValueError, match=reason):
        joint([usual, replace(usual, **changes)])
