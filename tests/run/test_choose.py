"""Components are chosen by name before their own flags are parsed, whatever the recipe is made of."""

import re
from dataclasses import dataclass, field, replace
from typing import Annotated

import pytest
import tyro

from rlsparse.errors import UsageError
from rlsparse.explore.racing import Racing
from rlsparse.run import cards, choose, command_line
from rlsparse.run.choose import chosen_recipe
from rlsparse.run.command_line import parse
from rlsparse.run.device import ON_GPU, gpu_agent
from rlsparse.run.recipe import check
from rlsparse.sim.tasks import TASKS


@dataclass(frozen=True)
class Leaf:
    size: int = 1


@dataclass(frozen=True)
class ThornyLeaf:
    thorns: int = 2
    size: int = 3


@dataclass(frozen=True)
class Branch:
    leaf: Leaf | ThornyLeaf = field(default_factory=Leaf)
    length: float = 1.0


@dataclass(frozen=True)
class Root:
    depth: float = 5.0


@dataclass(frozen=True)
class Tree:
    main_part: Branch | Root = field(default_factory=Branch)
    leaf: Leaf = field(default_factory=Leaf)
    age: int = 0
    fruit: Leaf | None = None


@dataclass(frozen=True)
class Flags:
    """Grow a tree."""

    tree: Annotated[Tree, tyro.conf.arg(name="")]


def grown(*arguments, tree=None):
    """A tree as the command line wants it, from the choice of its parts to their flags."""
    tree = choose.with_kinds(tree or Tree(), arguments)
    cls = choose.flags_with_kinds(Flags, tree)
    return parse(cls, arguments, prog="tree", default=cls(tree)).tree


@pytest.mark.parametrize(
    ("arguments", "main_part"),
    [
        ("", Branch()),
        ("--main-part root", Root()),
        ("--main-part=root --main-part.depth 2", Root(2.0)),
        ("--main-part.depth 2 --main-part root", Root(2.0)),
        ("--main-part root --main-part branch", Branch()),
        ("--main-part.leaf thorny-leaf", Branch(ThornyLeaf())),
        ("--main-part.leaf thorny-leaf --main-part.leaf.thorns 9 --main-part.length 4", Branch(ThornyLeaf(9), 4.0)),
        ("--main-part branch --main-part.leaf.size 8 --age 3", Branch(Leaf(8))),
    ],
)
def test_parts_are_of_the_kind_that_is_asked_for_with_their_own_flags(arguments, main_part):
    assert grown(*arguments.split()).main_part == main_part


def test_a_part_of_that_kind_already_keeps_its_values_another_begins_with_its_defaults():
    tree = Tree(Branch(ThornyLeaf(7), 9.0))
    assert grown("--main-part.leaf", "thorny-leaf", tree=tree).main_part == Branch(ThornyLeaf(7), 9.0)
    assert grown("--main-part.leaf", "leaf", tree=tree).main_part == Branch(Leaf(), 9.0)
    assert grown("--main-part", "branch", tree=tree).main_part == Branch(ThornyLeaf(7), 9.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--main-part bush", "--main-part bush: expected one of branch, root"),
        ("--main-part.leaf x --main-part.length 3", "--main-part.leaf x: expected one of leaf, thorny-leaf"),
        ("--main-part", "--main-part needs a value"),
        ("--main-part root --main-part.length 3", "unknown flag --main-part.length: did you mean --main-part"),
        ("--main-part root --main-part.leaf leaf", "unknown flag --main-part.leaf"),
        ("--leaf leaf", "unknown flag --leaf: did you mean"),
    ],
)
def test_what_cannot_be_chosen_is_told(arguments, message):
    with pytest.raises(UsageError) as error:
        grown(*arguments.split())
    assert str(error.value).startswith(message)


def test_help_shows_the_kinds_and_the_flags_of_the_chosen_ones(capsys):
    with pytest.raises(SystemExit):
        grown("--main-part.leaf", "thorny-leaf", "--help")
    out = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())  # however it is wrapped
    assert "Grow a tree." in out
    assert "--main-part {branch,root}" in out
    assert "--main-part.leaf {leaf,thorny-leaf}" in out
    assert "(default: thorny-leaf)" in out
    assert "--main-part.leaf.thorns INT" in out
    assert "depth" not in out
    assert "subcommand" not in out


def test_flags_of_a_part_that_is_not_there_are_refused_with_what_to_add():
    examples = {"fruit": "apple"}
    for arguments in (["--fruit.size", "3"], ["--age", "2", "--fruit.size=3"]):
        with pytest.raises(UsageError, match=r"^--fruit.size needs --fruit, for example --fruit apple$"):
            choose.refuse_flags_of_nothing(Tree(), examples, arguments)
        choose.refuse_flags_of_nothing(Tree(fruit=Leaf()), examples, arguments)
    choose.refuse_flags_of_nothing(Tree(), examples, ["--age", "2", "--fruits.size", "3"])


def test_the_last_value_of_a_flag_counts_and_one_without_is_left_to_the_parser():
    arguments = ["--a.b", "1", "--c=2", "--a.b", "3", "--d", "--e", "-1", "--a.bc", "4", "--ab", "5"]
    assert command_line.values(("a.b", "c", "d", "f", "a"), arguments) == {"a.b": "3", "c": "2"}


# Which agent a command line begins with: on a GPU, the one made for it

CHEETAH = {"env": "HalfCheetah"}
CUDA = {**CHEETAH, "device": "cuda"}


@pytest.mark.parametrize(
    "chosen, agent",
    [
        (CHEETAH, "ppo"),
        (CUDA, "ppo-gpu"),
        ({**CUDA, "device": "cuda:1"}, "ppo-gpu"),
        ({**CUDA, "algorithm": "ppo"}, "ppo-gpu"),
        ({**CUDA, "algorithm": "trpo"}, "trpo-gpu"),
        ({**CUDA, "explore": "explorler"}, "ppo-gpu+explorler"),
        ({**CUDA, "sparse": "rigl"}, "ppo-gpu+rigl"),
        ({**CUDA, "agent": "ppo"}, "ppo"),
        ({**CUDA, "simulator": "mujoco"}, "ppo"),
        ({**CHEETAH, "simulator": "warp"}, "ppo-gpu"),
        ({**CHEETAH, "simulator": "warp", "device": "cpu"}, "ppo"),
        ({**CHEETAH, "device": "cpu"}, "ppo"),
        ({"env": "Pendulum-v1", "device": "cuda"}, "ppo"),
        ({"env": "Pendulum-v1", "device": "cuda", "algorithm": "trpo"}, "trpo"),
    ],
)
def test_a_gpu_is_given_the_agent_made_for_it_unless_another_is_chosen(chosen, agent):
    name, recipe = chosen_recipe(chosen)
    assert name == agent
    assert recipe.simulator == ("warp" if agent.partition("+")[0].endswith(ON_GPU) else "mujoco")


@pytest.mark.parametrize("algorithm", ["ppo", "trpo"])
def test_probing_is_that_of_the_card_made_for_a_gpu(algorithm):
    _, recipe = chosen_recipe({**CUDA, "algorithm": algorithm, "explore": "explorler"})
    assert recipe == chosen_recipe({**CHEETAH, "agent": f"explorler-{algorithm}-gpu"})[1]


@pytest.mark.parametrize("algorithm", choose.ALGORITHMS)
def test_every_algorithm_probes_as_its_own_card_does_or_else_as_that_of_ppo(algorithm):
    _, recipe = chosen_recipe({**CHEETAH, "algorithm": algorithm, "explore": "explorler"})
    check(recipe)
    own = f"explorler-{algorithm if algorithm in ('ppo', 'trpo') else 'ppo'}"
    assert recipe.explore == chosen_recipe({**CHEETAH, "agent": own})[1].explore


GPU_CARDS = [name for name in cards.agents() if name.endswith(ON_GPU)]


@pytest.mark.parametrize("agent", GPU_CARDS)
def test_cards_for_a_gpu_go_with_every_task_there_and_have_a_budget_of_their_own(agent):
    for env in TASKS:
        _, recipe = chosen_recipe({"env": env, "agent": agent})
        check(recipe)
        assert recipe.simulator == "warp"
        assert recipe.total_steps == 100_000_000
        assert recipe.iterations > 1000


@pytest.mark.parametrize("num_envs", [8192, 16384])
def test_step_sizes_grow_with_the_square_root_of_minibatches(num_envs):
    """Source: Malladi et al., arXiv 2205.10287."""
    small, large = (chosen_recipe({**CHEETAH, "agent": f"ppo-gpu{x}"})[1] for x in ("", f"-{num_envs}"))
    assert large.num_envs == num_envs
    grown = large.algorithm.learning_rate / small.algorithm.learning_rate
    assert grown == pytest.approx((large.num_envs / small.num_envs) ** 0.5, rel=0.02)
    assert replace(large.algorithm, learning_rate=small.algorithm.learning_rate) == small.algorithm
    assert large.iterations > 300


def test_a_probe_on_a_gpu_has_256_candidates_of_16_episodes_in_one_call_and_two_fit_the_budget():
    for name in ("explorler-ppo-gpu", "explorler-trpo-gpu"):
        explore = chosen_recipe({"env": "HalfCheetah", "agent": name})[1].explore
        assert explore.proposal.count(explore.num_anchors) == 256
        assert isinstance(explore.probe, Racing)
        assert explore.probe.episodes == (16,)
        probe_steps = 1000 * explore.probe.episodes_for(256)
        assert 2 * probe_steps < (1 - explore.start) * 100_000_000 < 3 * probe_steps


def test_what_a_gpu_could_do_is_known_where_there_is_a_card_for_it():
    assert gpu_agent(chosen_recipe(CHEETAH)[1]) == ("ppo-gpu", 4096)
    assert gpu_agent(chosen_recipe({**CHEETAH, "algorithm": "trpo"})[1]) == ("trpo-gpu", 4096)
    assert gpu_agent(chosen_recipe({**CHEETAH, "algorithm": "n-pg-igt"})[1]) is None
    assert gpu_agent(chosen_recipe({"env": "Pendulum-v1"})[1]) is None
