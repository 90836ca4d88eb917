"""Discounted sums of rewards and the advantages made of them: pure functions on time-major arrays."""

from rlsparse.arrays import Array, namespace


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    gae_lambda: float,
) -> tuple[Array, Array]:
    """Generalised advantage estimation; returns (advantages, returns), both [T, ...].

    All arguments are [T, ...]. `next_values` is V of the true successor, so that a truncated episode
    bootstraps from its own last observation and a terminated one from nothing:

        delta_t = r_t + gamma (1 - terminated_t) next_values_t - values_t
        A_t = delta_t + gamma gae_lambda (1 - (terminated_t or truncated_t)) A_{t+1}

    Returns are A + values. Raises ValueError if the shapes differ.
    Source: Schulman et al., arXiv 1506.02438, equation 16.
    """
    shapes = {x.shape for x in (rewards, values, next_values, terminated, truncated)}
    if len(shapes) != 1:
        raise ValueError(f"gae: all arrays must share one shape [T, ...], got {sorted(map(tuple, shapes))}")
    xp = namespace(rewards)
    deltas = rewards + gamma * xp.where(terminated, 0.0, next_values) - values
    decay = xp.where(terminated | truncated, 0.0, xp.full_like(rewards, gamma * gae_lambda))
    advantages = xp.empty_like(deltas)
    running = xp.zeros_like(deltas[0])
    for t in range(deltas.shape[0] - 1, -1, -1):
        running = deltas[t] + decay[t] * running
        advantages[t] = running
    return advantages, advantages + values


def running_returns(rewards: Array, ended: Array, start: Array, gamma: float) -> tuple[Array, Array]:
    """Discounted sum of past rewards at every step, and where the next rollout goes on.

    G_t = gamma G_{t-1} + r_t, beginning anew after an ended episode: the quantity whose deviation scales
    rewards. `rewards`, `ended` [T, ...], `start` [...]; returns ([T, ...], [...]).
    """
    xp = namespace(rewards)
    sums = xp.empty_like(rewards)
    running = start
    for t in range(rewards.shape[0]):
        running = gamma * running + rewards[t]
        sums[t] = running
        running = xp.where(ended[t], 0.0, running)
    return sums, running
