"""Discounted sums of rewards, and advantages computed from them: pure functions on time-major arrays."""

from rlsparse.learner.arrays import Array, namespace


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    gae_lambda: float | Array,
) -> tuple[Array, Array]:
    """Generalised advantage estimation; returns (advantages, returns), both [T, ...].

    All arguments are [T, ...]. `next_values` is V of the true successor, so that a truncated episode
    bootstraps from its own last observation and a terminated one from nothing:

        delta_t = r_t + gamma (1 - terminated_t) next_values_t - values_t
        A_t = delta_t + gamma gae_lambda (1 - (terminated_t or truncated_t)) A_{t+1}

    `gae_lambda` may differ between steps, [T, ...]. Returns are A + values. Raises ValueError if the shapes differ.
    Source: Schulman et al., arXiv 1506.02438, equation 16.
    """
    require_one_shape("gae", rewards, values, next_values, terminated, truncated)
    xp = namespace(rewards)
    deltas = rewards + gamma * xp.where(terminated, 0.0, next_values) - values
    advantages = backwards(deltas, decay_of(rewards, terminated | truncated, gamma * gae_lambda))
    return advantages, advantages + values


def n_step_returns(
    rewards: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: float,
    n: int,
    trace: Array | float = 1.0,
) -> Array:
    """Sums of at most n rewards and the value of the state after them, [T, ...].

    G_t = r_t + gamma r_{t+1} + ... + gamma^(k-1) r_{t+k-1} + gamma^k next_values_{t+k-1}, with k the least of n and
    the steps to the end of the episode or rollout; no value is added at a termination. All arrays are [T, ...]; raises
    ValueError if their shapes differ. `trace` [T, ...], at most 1, is how far the sum relies on what follows a step;
    for the rest it takes the value of the successor. Source: Sutton and Barto, Reinforcement Learning (2018), equation
    7.1 and, for the trace, 7.13.
    """
    require_one_shape("n_step_returns", rewards, next_values, terminated, truncated)
    xp = namespace(rewards)
    one_step = rewards + gamma * xp.where(terminated, 0.0, next_values)
    ended, returns, trace = (terminated | truncated)[:-1], one_step + 0, xp.zeros_like(rewards) + trace
    for _ in range(min(n, len(rewards)) - 1):
        following = trace[:-1] * returns[1:] + (1.0 - trace[:-1]) * next_values[:-1]
        returns[:-1] = xp.where(ended, one_step[:-1], rewards[:-1] + gamma * following)
    return returns


def discounted_to_go(rewards: Array, ended: Array, gamma: float) -> Array:
    """Discounted sums of the rewards from each step to the end of its episode or of the rollout, [T, ...].

    `ended` [T, ...] marks last steps of episodes. Raises ValueError if the shapes differ.
    """
    require_one_shape("discounted_to_go", rewards, ended)
    return backwards(rewards, decay_of(rewards, ended, gamma))


def unseen_share(terminated: Array, truncated: Array, gamma: float) -> Array:
    """Share of the discounted future after a cut, which `discounted_to_go` leaves out, [T, ...] float64.

    gamma^k, if after k more steps a time limit or the end of the rollout cuts the episode; 0 if it terminates before.
    """
    require_one_shape("unseen_share", terminated, truncated)
    xp = namespace(terminated)
    cut = truncated + xp.zeros_like(truncated)
    cut[-1] = True
    last = gamma * xp.where(cut & ~terminated, 1.0, xp.zeros_like(cut, dtype=xp.float64))
    return backwards(last, decay_of(last, terminated | cut, gamma))


def running_returns(rewards: Array, ended: Array, start: Array, gamma: float) -> tuple[Array, Array]:
    """Discounted sum of past rewards at every step, and the sums with which the next rollout continues.

    G_t = gamma G_{t-1} + r_t, starting from 0 after the end of an episode: the quantity whose deviation scales
    rewards. `rewards`, `ended` [T, ...], `start` [...]; returns ([T, ...], [...]).
    """
    xp = namespace(rewards)
    sums, decay = xp.empty_like(rewards), decay_of(rewards, ended, gamma)
    running, factor = start, gamma
    for t in range(len(rewards)):
        running = factor * running + rewards[t]
        sums[t], factor = running, decay[t]
    return sums, xp.where(ended[-1], 0.0, running)


def decay_of(like: Array, ended: Array, factor: float) -> Array:
    """Return the factor, or 0 where an episode ended, in the precision of `like`, [T, ...]."""
    xp = namespace(like)
    return xp.where(ended, 0.0, xp.zeros_like(like) + factor)


def backwards(terms: Array, decay: Array) -> Array:
    """Return x_t = terms_t + decay_t x_{t+1}, backwards from x_T = 0; [T, ...]."""
    xp = namespace(terms)
    sums, running = xp.empty_like(terms), xp.zeros_like(terms[0])
    for t in range(len(terms) - 1, -1, -1):
        running = terms[t] + decay[t] * running
        sums[t] = running
    return sums


def require_one_shape(name: str, *arrays: Array) -> None:
    """Raise ValueError unless the arrays have one shape."""
    shapes = {x.shape for x in arrays}
    if len(shapes) != 1:
        raise ValueError(f"{name}: all arrays must share one shape [T, ...], got {sorted(map(tuple, shapes))}")
