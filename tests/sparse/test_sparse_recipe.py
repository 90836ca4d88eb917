"""Sparse networks in recipes, cards and on the command line; every mistake is told before training."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from rlsparse import train
from rlsparse.errors import UsageError
from rlsparse.learner.kinds import kind_of, kinds
from rlsparse.learner.network import ActorCritic
from rlsparse.run.plan import warnings
from rlsparse.run.recipe import Recipe, check, from_toml, to_toml
from rlsparse.sparse.ast import AST
from rlsparse.sparse.config import Rule, Sparse
from rlsparse.sparse.dcil import DCIL
from rlsparse.sparse.rules import SET, Magnitude, RigL, Static

RECIPE = Recipe("Pendulum-v1")
share = st.floats(0, 1, exclude_max=True)
drawn = {
    bool: st.booleans(),
    int: st.integers(1, 20),
    float: st.floats(0.01, 0.99),
    float | None: st.none() | share,
}


def some(cls, **fixed):
    hints = {f.name: get_type_hints(cls)[f.name] for f in fields(cls) if f.name not in fixed}
    return st.builds(
        cls,
        **{
            name: st.sampled_from(get_args(hint)) if get_origin(hint) is Literal else drawn[hint]
            for name, hint in hints.items()
        },
        **fixed,
    )


@pytest.mark.parametrize("rule", kinds(Rule))
def test_a_recipe_equals_the_one_read_from_its_document(rule):
    densities = {"actor_densities": st.just((0.5, 1.0, 0.25)), "critic_densities": st.just(())}
    start = {"start": st.just(0.0)} if rule in ("magnitude", "dcil", "ast") else {}
    drop_by = {"drop_by": st.just("magnitude")} if rule in ("static", "dcil", "ast") else {}
    if rule == "ast":
        start["sparser"], densities["actor_densities"] = st.just((0.995, 0.999)), st.just(())
        densities["sparsity"] = st.floats(0, 0.99)

    settings = {**densities, **drop_by, "actor_sparsity": st.none(), "max_kl": st.none()}

    @given(some(Sparse, rule=some(kinds(Rule)[rule], **start), **settings))
    def equal(sparse):
        recipe = replace(RECIPE, sparse=sparse)
        check(recipe)
        text = to_toml(recipe)
        assert f'[sparse.rule]\nkind = "{rule}"\n' in text
        assert from_toml(text, "recipe.toml") == recipe

    equal()


def test_rules_are_named_as_they_are_known():
    assert kinds(Rule) == {"rigl": RigL, "set": SET, "static": Static, "magnitude": Magnitude, "dcil": DCIL, "ast": AST}
    assert kind_of(RigL) == "rigl"


BAD = [
    (Sparse(1.0), "--sparsity is 1.0: expected a number from 0 on, below 1"),
    (Sparse(-0.1), "--sparsity is -0.1: expected a number from 0 on, below 1"),
    (Sparse(float("nan")), "--sparsity is nan: expected"),
    (Sparse(actor_sparsity=90.0), "--sparse.actor-sparsity is 90.0: expected a number from 0 on, below 1"),
    (Sparse(critic_sparsity=1.0), "--sparse.critic-sparsity is 1.0: expected"),
    (Sparse(actor_densities=(0.5, 0.0, 1.0)), "--sparse.actor-densities is 0.5 0.0 1.0: expected numbers above 0, at"),
    (
        Sparse(critic_densities=(0.5, 0.5)),
        "--sparse.critic-densities gives 2 densities, but --policy.critic-hidden makes 3 layers: expected one for each",
    ),
    (
        Sparse(actor_densities=(0.5, 0.5, 0.5), actor_sparsity=0.5),
        "--sparse.actor-densities and --sparse.actor-sparsity both say how much of the actor is there: use one of them",
    ),
    (
        Sparse(rule=Static(), drop_by="kl"),
        "--sparse.drop-by kl weighs what each weight does, and needs a rule that drops by more than size, which "
        "--sparse static does not give: use --sparse rigl, set or magnitude, or --sparse.drop-by magnitude",
    ),
    (Sparse(rate_power=1.5), "--sparse.rate-power is 1.5: expected a number from 0 to 1"),
    (Sparse(rule=DCIL(), drop_by="kl"), "--sparse.drop-by kl weighs what each weight does"),
    (Sparse(rule=AST(), drop_by="kl"), "--sparse.drop-by kl weighs what each weight does"),
    (
        Sparse(rule=AST(sparser=())),
        "--sparse.rule.sparser is nothing: expected one or more sparsities, rising, above the actor's 0.9 and below 1",
    ),
    (Sparse(0.5, rule=AST(sparser=(0.9, 0.8))), "--sparse.rule.sparser is 0.9 0.8: expected one or more"),
    (Sparse(0.5, rule=AST(sparser=(0.9, 1.0))), "--sparse.rule.sparser is 0.9 1.0: expected one or more"),
    (Sparse(0.5, actor_sparsity=0.95, rule=AST()), "--sparse.rule.sparser is 0.95 0.98: expected one or more"),
    (
        Sparse(rule=AST(), actor_densities=(0.5, 0.5, 0.5)),
        "--sparse.actor-densities does not go with ast: use --sparse.budget and sparsities",
    ),
    (
        Sparse(0.5, rule=AST(sparser=tuple(0.6 + i / 100 for i in range(32)))),
        "--sparse.rule.sparser makes 33 networks that take turns, but --algorithm.minibatches is 32: expected at least",
    ),
    (Sparse(rule=DCIL(0.8, 0.8)), "--sparse.rule.start 0.8 is not before --sparse.rule.end 0.8: pruning"),
    (Sparse(max_kl=0.0), "--sparse.max-kl is 0.0: expected a positive number"),
    (
        Sparse(rule=Magnitude(0.8, 0.8)),
        "--sparse.rule.start 0.8 is not before --sparse.rule.end 0.8: pruning needs a part of the budget in between",
    ),
]


@pytest.mark.parametrize(("sparse", "message"), BAD, ids=lambda x: x if isinstance(x, str) else "")
def test_what_cannot_be_is_refused_in_one_line(sparse, message):
    with pytest.raises(UsageError) as error:
        check(replace(RECIPE, sparse=sparse))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


# The command line


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)

    def call(*arguments):
        try:
            train.main([*tiny.FLAGS, *arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def planned(run, flags):
    """The sparse networks of a dry run's recipe."""
    code, plan, err = run(*flags.split(), "--dry-run")
    assert (code, err) == (0, "")
    return from_toml(plan.partition("rollouts  ")[0], "plan").sparse


CARD = """
name = "mine"
description = "Sparse."
[recipe.sparse]
sparsity = 0.3
[recipe.sparse.rule]
kind = "set"
every = 7
"""


@pytest.mark.parametrize(
    ("flags", "sparse"),
    [
        ("", None),
        ("--sparse none", None),
        ("--sparse rigl", Sparse(rule=RigL())),
        ("--sparse static --sparsity 0.5", Sparse(0.5, rule=Static())),
        ("--sparsity=0.5 --sparse set --sparse.rule.every 2", Sparse(0.5, rule=SET(every=2))),
        (
            "--sparse magnitude --sparse.sparsity 0.5 --sparse.budget uniform",
            Sparse(0.5, budget="uniform", rule=Magnitude()),
        ),
        (
            "--sparse ast --sparsity 0.5 --sparse.rule.sparser 0.6 0.7 0.8 --sparse.rule.no-correct",
            Sparse(0.5, rule=AST(sparser=(0.6, 0.7, 0.8), correct=False)),
        ),
        ("--sparse dcil --sparse.rule.schedule constant", Sparse(rule=DCIL(schedule="constant"))),
        ("--sparse set --sparse.drop-by kl", Sparse(rule=SET(), drop_by="kl")),
        ("--sparse set --sparse.actor-densities 0.5 1", Sparse(actor_densities=(0.5, 1.0), rule=SET())),
        ("--agent mine", Sparse(0.3, rule=SET(every=7))),
        ("--agent mine --sparse none", None),
        ("--agent ppo --sparse mine", Sparse(0.3, rule=SET(every=7))),
        ("--agent mine --sparse set", Sparse(0.3, rule=SET(every=7))),
        ("--agent mine --sparse rigl", Sparse(0.3, rule=RigL())),
        ("--agent mine --sparsity 0.4", Sparse(0.4, rule=SET(every=7))),
    ],
)
def test_a_rule_is_chosen_by_name_or_with_a_card(flags, sparse, run):
    Path("mine").mkdir()
    Path("mine/card.toml").write_text(CARD)
    assert planned(run, flags.replace("mine", "./mine")) == sparse


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--sparsity 0.9", "--sparsity 0.9 needs --sparse, for example --sparse rigl"),
        ("--sparse none --sparsity 0.9", "--sparsity 0.9 needs --sparse, for example --sparse rigl"),
        ("--sparse.init masked", "--sparse.init needs --sparse, for example --sparse rigl"),
        ("--sparse set --sparsity 1.5", "--sparsity is 1.5: expected a number from 0 on, below 1"),
        ("--sparse set --sparsity much", "--sparsity much: expected a number"),
        (
            "--sparse set --sparsity 0.5 --sparse.sparsity 0.5",
            "--sparsity and --sparse.sparsity are the same: give one",
        ),
        ("--sparse set --sparse.drop-by size", "--sparse.drop-by size: expected one of magnitude, kl"),
        ("--sparse rgl", "--sparse rgl: unknown agent 'rgl' (rlsparse agents lists them); --sparse takes none, rigl, "),
        ("--sparse ppo", "--sparse ppo: the agent ppo has no [recipe.sparse]; --sparse takes none, rigl, set, static"),
        (
            "--sparse static --sparse.rule.drop 0.5",
            "unknown flag --sparse.rule.drop: --sparse.rule static has none, use rigl or set",
        ),
        ("--sparse", "--sparse needs a value"),
    ],
)
def test_a_mistake_is_told_in_one_line(flags, message, run):
    code, out, err = run(*flags.split(), "--dry-run")
    assert (code, out) == (2, "")
    assert err.startswith(f"rlsparse: {message}")
    assert err.count("\n") == 1


def test_a_sparse_run_is_named_after_its_rule_and_tells_its_sparsity(run):
    code, _, err = run("--sparse", "rigl", "--sparsity", "0.5", "--run-dir", "run")
    assert code == 0
    assert err.startswith("ppo+rigl on fake_envs:Point-v0")
    rows = Path("run/progress.csv").read_text().splitlines()
    assert "density,actor_weights,critic_weights,regrown,explored,dead_units" in rows[0]
    assert run("--run-dir", "dense")[0] == 0
    assert "density" not in Path("dense/progress.csv").read_text()


def test_the_plan_says_what_is_kept():
    text = Sparse(0.9).describe(ActorCritic().layout(17, 6))
    assert text.splitlines() == [
        "actor weights    558 of 5,568 kept; by layer 162 of 1,088, 256 of 4,096, 140 of 384",
        "critic weights   527 of 5,248 kept; by layer 180 of 1,088, 283 of 4,096, 64 of 64",
        "parameters kept  1,354 of 11,085, biases and action noise included",
    ]


def test_fewer_weights_than_units_are_warned_of(run, caplog):
    layout = ActorCritic().layout(17, 6)
    assert Sparse(0.9).dead_units(layout) is None
    assert not list(warnings(RECIPE, layout, 5))
    expected = "the sparse networks have dead units: actor.0.weight keeps 17 weights for 64 units"
    assert Sparse(0.99).dead_units(layout).startswith(expected)
    with caplog.at_level(logging.WARNING):
        assert run("--sparse", "set", "--sparsity", "0.95", "--dry-run")[0] == 0
    assert caplog.messages[0].startswith("the sparse networks have dead units: ")


def test_the_extra_is_named_that_makes_sparse_training_faster(run, caplog, monkeypatch):
    sparse, layout = replace(RECIPE, sparse=Sparse(0.9)), ActorCritic().layout(17, 6)
    assert not list(warnings(sparse, layout, 5))
    monkeypatch.setattr("rlsparse.sparse.packed_update.can_multiply", lambda: False)
    for recipe in (RECIPE, replace(sparse, simulator="warp"), replace(RECIPE, sparse=Sparse(0.9, rule=DCIL()))):
        assert not list(warnings(recipe, layout, 5))
    with caplog.at_level(logging.WARNING):
        assert run("--sparse", "set", "--dry-run")[0] == 0
    assert "pip install 'rlsparse[sparse]'" in caplog.messages[-1]
