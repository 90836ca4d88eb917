"""Which agent a command line begins with: on a GPU, the one made for it."""

import pytest

from rlsparse.explore.racing import Racing
from rlsparse.run import cards
from rlsparse.run.choose import ON_GPU, chosen_recipe, gpu_agent
from rlsparse.run.recipe import check
from rlsparse.sim.tasks import TASKS

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


GPU_CARDS = [name for name in cards.agents() if name.endswith(ON_GPU)]


@pytest.mark.parametrize("env", TASKS)
@pytest.mark.parametrize("agent", GPU_CARDS)
def test_cards_for_a_gpu_go_with_every_task_there_and_have_a_budget_of_their_own(agent, env):
    _, recipe = chosen_recipe({"env": env, "agent": agent})
    check(recipe)
    assert recipe.simulator == "warp"
    assert recipe.total_steps == 100_000_000
    assert recipe.iterations > 1000


def test_a_probe_on_a_gpu_has_256_candidates_of_16_episodes_in_one_call_and_two_fit_the_budget():
    for name in ("explorler-ppo-gpu", "explorler-trpo-gpu"):
        explore = chosen_recipe({"env": "HalfCheetah", "agent": name})[1].explore
        assert explore.proposal.count(explore.num_anchors) == 256
        assert isinstance(explore.probe, Racing)
        assert explore.probe.episodes == (16,)
        probe_steps = 1000 * explore.probe.episodes_for(256, 1)
        assert 2 * probe_steps < (1 - explore.start) * 100_000_000 < 3 * probe_steps


def test_what_a_gpu_could_do_is_known_where_there_is_a_card_for_it():
    assert gpu_agent(chosen_recipe(CHEETAH)[1]) == ("ppo-gpu", 4096)
    assert gpu_agent(chosen_recipe({**CHEETAH, "algorithm": "trpo"})[1]) == ("trpo-gpu", 4096)
    assert gpu_agent(chosen_recipe({**CHEETAH, "algorithm": "n-pg-igt"})[1]) is None
    assert gpu_agent(chosen_recipe({"env": "Pendulum-v1"})[1]) is None
