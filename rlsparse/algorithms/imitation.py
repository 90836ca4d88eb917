"""Put steps of the members' best episodes in the place of their rollouts, where these are to be cloned."""

from dataclasses import replace

import numpy as np

from rlsparse.algorithms.best_episodes import BestEpisodes
from rlsparse.learner.arrays import Array, namespace, to_device
from rlsparse.learner.gaussian import gaussian_log_prob
from rlsparse.learner.learner import Learner
from rlsparse.learner.network import action_mean
from rlsparse.learner.records import Batch
from rlsparse.learner.streams import generator


def switched(batch: Batch, best: BestEpisodes, learner: Learner) -> Batch:
    """Return what an update after the last rollout learns from; members that do not clone keep their samples.

    Cloned observations are normalised as the others are, and `log_prob` is that of the policy as it is. The critic
    keeps the rollout.
    """
    cloning = best.decide()
    own: dict[str, Array] = {name: getattr(batch, name) + 0 for name in ("obs", "action", "log_prob", "advantage")}
    if batch.weight is not None:
        own["weight"] = batch.weight + 0
    for member in np.flatnonzero(cloning).tolist():
        samples = _stored_steps(best, learner, member, batch.advantage.shape[1])
        for name, x in own.items():
            x[member] = samples.get(name, 1.0)
    xp = namespace(batch.advantage)
    cloned = xp.zeros_like(batch.advantage) + to_device(cloning.astype(np.float32), learner.device)[:, None] > 0
    return replace(batch, **own, cloned=cloned, critic_obs=batch.obs, critic_weight=batch.weight)


def _stored_steps(best: BestEpisodes, learner: Learner, member: int, count: int) -> dict[str, Array]:
    """Draw steps of a member's kept episodes: normalised observations, actions, and their log-density now, [count]."""
    stream = generator(learner.seeds[member], "cloning", int(best.clonings[member]))
    obs, action = best.sample(member, count, stream)
    obs = to_device(learner.obs_scale().only(member)(obs[None]), learner.device)
    action = to_device(action[None], learner.device)
    own, layout = learner.params[member : member + 1], learner.layout
    log_std = layout.log_std(own)[:, None, :]
    noise = (action - action_mean(layout, own, obs)) * namespace(own).exp(-log_std)
    return {"obs": obs[0], "action": action[0], "log_prob": gaussian_log_prob(noise, log_std)[0]}
