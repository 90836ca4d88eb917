"""How to probe: a configuration, or an agent card's, made fit for Stable-Baselines3."""

from dataclasses import replace

from rlsparse.errors import UsageError
from rlsparse.explore.explorler import ExploRLer
from rlsparse.explore.probe import Episodes, Racing
from rlsparse.learner.kinds import kind_of
from rlsparse.run.cards import agent
from rlsparse.run.recipe import Recipe, check, from_dict

DEFAULT_CARD = "explorler-ppo"


def configuration(
    explore: ExploRLer | str | None, budget_fraction: float | None, env_id: str | None, num_envs: int, use_sde: bool
) -> ExploRLer:
    """Return the configuration; raises UsageError for settings that are wrong, or that need our own rollout.

    A budget fraction of 0 is allowed here: it gives the control that only keeps records.
    """
    if not isinstance(explore, ExploRLer):
        explore = _of_card(explore or DEFAULT_CARD, env_id)
    if budget_fraction is not None:
        at_the_end = explore.finish and 0 < budget_fraction < 1  # then it is the share of the last steps
        start = 1.0 - budget_fraction if at_the_end else explore.start
        explore = replace(explore, budget_fraction=budget_fraction, start=start)
    probe = explore.probe
    if not isinstance(probe, Episodes | Racing):
        raise UsageError(
            f"the probe {kind_of(type(probe))} needs our own rollout: with Stable-Baselines3 use Episodes or Racing"
        )
    if probe.stochastic and use_sde:
        raise UsageError("stochastic probes draw independent noise, which gSDE does not: use stochastic=False")
    probed = explore if budget_fraction != 0 else replace(explore, budget_fraction=1.0)
    check(Recipe(env_id or "any", num_envs=num_envs, explore=probed))
    return explore


def _of_card(name: str, env_id: str | None) -> ExploRLer:
    """The [recipe.explore] of a card, as it is for that environment."""
    env = env_id or "any"
    recipe = from_dict({"env": env, **agent(name).recipe_for(env)}, name)
    if recipe.explore is None:
        raise UsageError(f"the agent card {name} says nothing of probing: it has no [recipe.explore]")
    return recipe.explore
